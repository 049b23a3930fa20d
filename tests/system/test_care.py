"""Bytes that rot, files that others delete, and what the daemon makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cached.core.errors import NotFound
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, assert_same, make_content, upload
from tests.system.daemon import Daemon, remove_tree
from tests.system.truth import look
from tests.system.waiting import eventually

CONTENT = make_content({"a.bin": 3 * MIB, "b.bin": 2 * MIB, "c.json": 10}, "care")
OTHER = make_content({"d.bin": MIB}, "care")
WARM, COLD = 3, 1


def _two_warm_models(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, scrub: dict[str, object] | None = None
) -> Daemon:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", CONTENT)
    upload(s3, bucket, "other", OTHER)
    models = {name: {"source": f"s3://{bucket}/{name}", "revision": "v1"} for name in ("m", "other")}
    daemon = start(models, server=s3.behind(faulty_s3.endpoint), settings={"scrub": scrub or {}})
    client = daemon.client()
    for name in models:
        client.acquire(name).release()
    faulty_s3.forget()
    return daemon


def _rot(path: Path, at: int) -> None:
    """Flip a bit behind everybody's back: size and times stay as they were."""
    before = path.stat()
    mode = before.st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
        file.flush()
        # Before it is closed: that is what inotify tells of.
        os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(mode)


def _assert_quarantined_and_fetched_again(daemon: Daemon, faulty_s3: FaultyServer) -> None:
    """a.bin was wrong: only it comes again."""
    eventually(lambda: len(list((daemon.root / "quarantine").iterdir())) == 1)
    assert_same(daemon.client().acquire("m").path, CONTENT)
    assert faulty_s3.sent("*/a.bin") == 3 * MIB
    assert faulty_s3.sent("*.bin") == 3 * MIB
    space = daemon.operator().status().space
    assert space.used_bytes == look(daemon.root).used


def test_the_scrub_finds_a_flipped_bit(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    daemon.terminate()
    _rot(path / "a.bin", 2 * MIB + 17)
    daemon.settings["scrub"] = {"rate": "100MiB", "interval": "1h"}
    daemon.start()
    operator = daemon.operator()
    eventually(lambda: operator.status().scrub.HasField("last_round_time"))
    status = operator.status()
    assert (status.scrub.corrupt_count, status.scrub.blob_count) == (1, 4)
    assert any("corrupt" in warning for warning in status.warnings)
    assert daemon.metric('cached_scrubbed_blobs_total{result="corrupt"}') == 1
    assert daemon.metric('cached_scrubbed_blobs_total{result="ok"}') == 3
    assert daemon.metric('cached_evictions_total{reason="corrupt"}') == 1
    assert not path.exists()
    assert operator.describe("m").artifact.state == COLD
    assert operator.describe("other").artifact.state == WARM
    _assert_quarantined_and_fetched_again(daemon, faulty_s3)


def test_verify_finds_a_flipped_bit(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    daemon.cachectl("verify")
    path = Path(daemon.operator().describe("m").artifact.path)
    _rot(path / "a.bin", 3 * MIB - 1)
    told = daemon.cachectl("verify", "m", "-o", "json", code=10)
    assert "m@v1" in told.stdout
    assert not path.exists()
    daemon.cachectl("verify")
    _assert_quarantined_and_fetched_again(daemon, faulty_s3)

    _rot(path / "b.bin", 0)
    _rot(path / "c.json", 9)
    told = daemon.cachectl("verify", "-o", "json", code=10)
    assert told.stdout.count('"blob"') == 2
    assert "m@v1" in told.stdout
    assert daemon.operator().describe("other").artifact.state == WARM
    assert_same(daemon.client().acquire("m").path, CONTENT)


def test_a_write_from_outside_is_noticed(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    """Root may write through a hardlink. The write itself is what gives it away, not the next scrub."""
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    with (path / "a.bin").open("r+b") as file:
        file.write(b"not what was fetched")
    eventually(lambda: not path.exists())
    _assert_quarantined_and_fetched_again(daemon, faulty_s3)


def test_verify_of_what_is_not_here(start: Start) -> None:
    daemon = start({"m": {"source": "s3://bucket/m"}})
    with pytest.raises(NotFound, match="m"):
        list(daemon.operator().verify("m"))


def test_a_deleted_blob_is_noticed(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    inode = (path / "a.bin").stat().st_ino
    next(blob for blob in daemon.root.glob("blobs/*/*/*") if blob.stat().st_ino == inode).unlink()
    eventually(lambda: daemon.operator().describe("m").artifact.state == COLD)
    assert daemon.metric('cached_evictions_total{reason="lost"}') == 1
    assert_same(daemon.client().acquire("m").path, CONTENT)
    assert faulty_s3.sent("*.bin") == 3 * MIB


def test_a_deleted_tree_is_noticed(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    remove_tree(path)
    eventually(lambda: daemon.operator().describe("m").artifact.state == COLD)
    again = daemon.client().acquire("m")
    assert_same(again.path, CONTENT)
    assert faulty_s3.sent("*.bin") == 0, "the blobs are still here"


def test_a_file_deleted_from_a_tree_is_noticed(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    path.chmod(0o755)
    (path / "c.json").unlink()
    eventually(lambda: daemon.operator().describe("m").artifact.state == COLD)
    assert_same(daemon.client().acquire("m").path, CONTENT)


def test_what_was_deleted_while_it_was_down(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    path = Path(daemon.operator().describe("m").artifact.path)
    other = Path(daemon.operator().describe("other").artifact.path)
    daemon.terminate()
    inode = (path / "b.bin").stat().st_ino
    next(blob for blob in daemon.root.glob("blobs/*/*/*") if blob.stat().st_ino == inode).unlink()
    remove_tree(other)
    (daemon.root / "blobs" / "sha256" / "00" / ("00" + "1" * 62)).write_bytes(b"nobody knows this one")
    daemon.start()
    client = daemon.client()
    assert_same(client.acquire("m").path, CONTENT)
    assert_same(client.acquire("other").path, OTHER)
    assert faulty_s3.sent("*.bin") == 2 * MIB
    truth = look(daemon.root)
    status = daemon.operator().status()
    assert (status.space.used_bytes, status.blob_count, status.tree_count) == (
        truth.used,
        len(truth.blobs),
        2,
    )
    assert truth.stray == ()


@pytest.mark.parametrize("spoil", ["garbage", "deleted", "truncated"])
def test_a_lost_index(start: Start, s3: S3Server, faulty_s3: FaultyServer, spoil: str) -> None:
    daemon = _two_warm_models(start, s3, faulty_s3)
    daemon.terminate()
    index = daemon.root / "index.db"
    for beside in daemon.root.glob("index.db-*"):
        beside.unlink()
    if spoil == "garbage":
        index.write_bytes(os.urandom(100_000))
    elif spoil == "truncated":
        os.truncate(index, index.stat().st_size // 2)
    else:
        index.unlink()
    daemon.start()
    assert_same(daemon.client().acquire("m").path, CONTENT)
    truth = look(daemon.root)
    assert daemon.operator().status().space.used_bytes == truth.used
    assert truth.stray == ()
