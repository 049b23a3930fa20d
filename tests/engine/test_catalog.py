"""The catalog in force: what refs mean, and how it follows its file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cached.core.errors import CachedError, Denied, InvalidRequest, NotFound
from cached.core.ref import Ref
from cached.engine.catalog import LiveCatalog, Target
from cached.kit.clock import SystemClock
from cached.telemetry.metrics import Metrics

GOOD = """
models:
  plain: {source: s3://b/plain}
  fixed: {source: s3://b/fixed, revision: v1}
  free: {source: "s3://b/free/{revision}", revision: v2, pin: true, warm_at_start: true, namespaces: [a]}
  tree: {source: s3://b/tree, revision: "sha256:%s", exclude: ["*.bin"]}
""" % ("0" * 64)


class Bench:
    """A live catalog in a directory, and what it counted."""

    def __init__(self, directory: Path, allowed: tuple[str, ...] = ()) -> None:
        self.file = directory / "catalog.yaml"
        self.memory = directory / "run" / "catalog.last.yaml"
        self.memory.parent.mkdir(exist_ok=True)
        self.metrics = Metrics()
        self.catalog = LiveCatalog(self.file, allowed, self.memory, SystemClock(), self.metrics)

    def target(self, ref: str) -> Target:
        return self.catalog.target(Ref.parse(ref))

    def ok(self) -> float | None:
        return self.metrics.registry.get_sample_value("cached_catalog_ok")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def started(bench: Bench, text: str = GOOD) -> Bench:
    bench.file.write_text(text)
    await bench.catalog.start()
    return bench


@asynccontextmanager
async def following(bench: Bench) -> AsyncIterator[asyncio.Event]:
    changed = asyncio.Event()
    task = asyncio.create_task(bench.catalog.follow(changed.set))
    await asyncio.sleep(0.3)
    try:
        yield changed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_refs_mean(bench: Bench) -> None:
    await started(bench)
    assert bench.target("plain") == Target(
        "plain", "s3://b/plain", bench.target("plain").selection, declared=True
    )
    assert bench.target("fixed").key == bench.target("fixed@v1").key == "fixed@v1"
    assert bench.target("free").uri == "s3://b/free/v2"
    other = bench.target("free@v3")
    assert (other.uri, other.pin, other.warm_at_start) == ("s3://b/free/v3", False, False)
    demanded = bench.target("plain@sha256:" + "0" * 64)
    assert demanded.pinned_tree == "sha256:" + "0" * 64


async def test_a_part_of_a_model_and_a_view_of_it(bench: Bench) -> None:
    await started(bench)
    part = bench.target("free?include=*.json")
    assert (part.key, part.uri, part.namespaces) == ("free@v2?include=*.json", "s3://b/free/v2", ("a",))
    assert (part.pin, part.warm_at_start, part.share) == (False, False, True)
    assert part.origin != bench.target("free").origin
    assert part.selection.takes("a.json")
    assert not part.selection.takes("a.bin")
    hub = bench.target("tree?view=hub")
    assert (hub.view, hub.share, hub.pinned_tree) == ("hub", False, "")
    assert hub.plain.key == bench.target("tree").key
    assert hub.plain.pinned_tree == "sha256:" + "0" * 64
    assert not hub.selection.takes("a.bin")
    assert hub.origin not in (hub.plain.origin, part.origin)
    assert bench.catalog.shares(part.key, part.origin)
    assert not bench.catalog.shares(hub.key, hub.origin)


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("tree?include=*.json", InvalidRequest),
        ("none", NotFound),
        ("fixed@v2", NotFound),
        ("plain@v1", NotFound),
        ("free@sha256:" + "0" * 64, InvalidRequest),
        ("../x", InvalidRequest),
        ("s3://b/plain", Denied),
        ("file:///etc", Denied),
    ],
)
async def test_refs_that_mean_nothing(bench: Bench, ref: str, error: type[CachedError]) -> None:
    await started(bench)
    with pytest.raises(error):
        bench.target(ref)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("s3://open/a/b", True),
        ("s3://open", True),
        ("s3://opened/a", False),
        ("s3://open/../closed/a", False),
        ("s3://half/way/x", True),
        ("s3://half/wayward", False),
        ("file:///data/m", True),
        ("file:///data/../etc", False),
        ("file:///database", False),
    ],
)
async def test_allowed_prefixes(tmp_path: Path, uri: str, allowed: bool) -> None:
    bench = Bench(tmp_path, ("s3://open", "s3://half/way", "file:///data/"))
    if allowed:
        assert bench.target(uri).uri == uri
    else:
        with pytest.raises(Denied):
            bench.target(uri)


async def test_it_follows_a_rewrite(bench: Bench) -> None:
    await started(bench)
    async with following(bench) as changed:
        bench.file.write_text("models: {new: {source: 's3://b/new'}}")
        await asyncio.wait_for(changed.wait(), 5)
    assert bench.target("new").uri == "s3://b/new"
    with pytest.raises(NotFound):
        bench.target("plain")


async def test_it_follows_a_config_map(tmp_path: Path) -> None:
    """kubelet writes a new directory and swaps the `..data` symlink; the file itself is a symlink."""

    def swap(number: int, text: str) -> None:
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "catalog.yaml").write_text(text)
        (tmp_path / "..data_tmp").symlink_to(f"..{number}")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    bench = Bench(tmp_path)
    swap(1, GOOD)
    bench.file.symlink_to("..data/catalog.yaml")
    await bench.catalog.start()
    async with following(bench) as changed:
        swap(2, "models: {new: {source: 's3://b/new'}}")
        await asyncio.wait_for(changed.wait(), 5)
    assert bench.target("new").uri == "s3://b/new"


async def test_a_broken_file_keeps_the_last_good_one(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await started(bench)
    with caplog.at_level(logging.ERROR):
        bench.file.write_text("models: {plain: {sorce: x}}")
        assert not await bench.catalog.load()
        assert not await bench.catalog.load()
    assert bench.target("plain").uri == "s3://b/plain"
    assert "models.plain.sorce" in bench.catalog.view.error
    assert bench.ok() == 0
    assert len([line for line in caplog.records if "refused" in line.message]) == 1, (
        "said once, not each poll"
    )
    bench.file.write_text(GOOD)
    assert await bench.catalog.load()
    assert bench.catalog.view.error == ""
    assert bench.ok() == 1


async def test_a_file_that_is_gone_keeps_the_last_good_one(bench: Bench) -> None:
    await started(bench)
    bench.file.unlink()
    assert not await bench.catalog.load()
    assert bench.target("plain").uri == "s3://b/plain"
    assert "No such file" in bench.catalog.view.error


async def test_the_last_good_one_outlives_a_restart(tmp_path: Path) -> None:
    await started(Bench(tmp_path))
    again = await started(Bench(tmp_path), "models: [")
    assert again.target("plain").uri == "s3://b/plain"
    assert again.ok() == 0
    assert again.memory.stat().st_mode & 0o777 == 0o600


async def test_the_first_file_may_be_broken(bench: Bench) -> None:
    await started(bench, "models: [")
    assert bench.catalog.targets() == []
    assert bench.catalog.view.error


async def test_a_memory_that_cannot_be_written_is_no_reason_to_stop(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.memory.parent.rmdir()
    await started(bench)
    assert "cannot be remembered" in caplog.text
    assert bench.target("plain").uri == "s3://b/plain"
    bench.memory.parent.mkdir()
    assert not await bench.catalog.load()
    assert bench.memory.read_text() == GOOD
