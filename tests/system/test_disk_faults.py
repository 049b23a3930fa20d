"""Disks that fail: read-only all of a sudden, dead, or with holes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cached.core.errors import CachedError, DiskFault
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, assert_same, make_content, upload
from tests.system.daemon import Daemon
from tests.system.disks import Disk
from tests.system.truth import look
from tests.system.waiting import eventually

WARM = make_content({"w.bin": 6 * MIB, "w.json": 10}, "warm")
COLD = make_content({"c.bin": 3 * MIB}, "cold")


def _daemon(start: Start, s3: S3Server, disk: Disk) -> Daemon:
    bucket = s3.make_bucket()
    upload(s3, bucket, "warm", WARM)
    upload(s3, bucket, "cold", COLD)
    daemon = start(
        {name: {"source": f"s3://{bucket}/{name}", "revision": "v1"} for name in ("warm", "cold")},
        settings={"root": str(disk.path / "cache"), "capacity": "1GiB"},
    )
    assert_same(daemon.client().acquire("warm", ttl=600).path, WARM)
    os.sync()
    return daemon


def _assert_well_after_repair(daemon: Daemon, disk: Disk) -> None:
    daemon.kill9()
    disk.repair()
    daemon.start()
    client = daemon.client()
    assert_same(client.acquire("warm").path, WARM)
    assert_same(client.acquire("cold").path, COLD)
    truth = look(daemon.root)
    status = daemon.operator().status()
    assert (status.space.used_bytes, status.space.reserved_bytes) == (truth.used, truth.reserved)
    assert status.warnings == []


def test_a_filesystem_that_turns_read_only(start: Start, s3: S3Server, tmp_path: Path) -> None:
    """As ext4 does on its own when it finds itself damaged."""
    with Disk(tmp_path / "d", "ext4", 96 * MIB) as disk:
        daemon = _daemon(start, s3, disk)
        client, operator = daemon.client(), daemon.operator()
        disk.abort()
        with pytest.raises(DiskFault) as refused:
            client.acquire("cold")
        assert "ead-only" in str(refused.value) + refused.value.hint
        assert str(daemon.root) not in str(refused.value), "pods need not know where"
        assert_same(client.acquire("warm").path, WARM)
        assert operator.serving()
        assert any("not recorded" in warning for warning in operator.status().warnings)
        daemon.cachectl("get", "cold", code=14)
        assert "Traceback" not in daemon.log
        assert daemon.terminate() == 0
        _assert_well_after_repair(daemon, disk)


def test_a_disk_that_dies(start: Start, s3: S3Server, tmp_path: Path) -> None:
    """Every call to the filesystem fails. It must be said, and the daemon must not lie about models."""
    with Disk(tmp_path / "d", "xfs", 320 * MIB) as disk:
        daemon = _daemon(start, s3, disk)
        client, operator = daemon.client(), daemon.operator()
        disk.shut_down()
        with pytest.raises(DiskFault):
            client.acquire("cold")
        with pytest.raises(CachedError):
            client.acquire("warm")
        eventually(lambda: not operator.serving())
        with pytest.raises(DiskFault, match="Input/output error") as refused:
            client.acquire("warm")
        assert "dmesg" in refused.value.hint
        assert any("disk is gone" in warning for warning in operator.status().warnings)
        assert daemon.metric("cached_disk_ok") == 0
        for command in (["verify"], ["evict", "warm"], ["warm", "cold"]):
            daemon.cachectl(*command, code=None)
        daemon.cachectl("health", code=12)
        daemon.cachectl("ls")
        assert daemon.logged("a part of the store is lost") == [], "no blob is to blame"
        assert daemon.terminate() == 0
        assert "input/output error" in daemon.log.lower()
        assert "Traceback" not in daemon.log
        _assert_well_after_repair(daemon, disk)


def test_a_block_that_cannot_be_read(start: Start, s3: S3Server, tmp_path: Path) -> None:
    """btrfs answers EIO where a block does not match its checksum: one file is bad, the rest is well."""
    with Disk(tmp_path / "d", "btrfs", 256 * MIB) as disk:
        daemon = _daemon(start, s3, disk)
        path = daemon.client().acquire("warm").path
        daemon.kill9()
        disk.spoil(WARM["w.bin"][5 * MIB : 5 * MIB + 4096])
        with pytest.raises(OSError, match="Input/output error"):
            (path / "w.bin").read_bytes()
        daemon.start()
        told = daemon.cachectl("verify", code=10)
        assert "warm@v1" in told.stdout + told.stderr
        assert not path.exists()
        assert len(list((daemon.root / "quarantine").iterdir())) == 1
        assert_same(daemon.client().acquire("warm").path, WARM)
        assert daemon.operator().status().space.used_bytes == look(daemon.root).used
