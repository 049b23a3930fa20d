"""Real filesystems below a data directory: read-only, full, in memory, in a container's layer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cached.cli.doctor.checks import CHECKS
from cached.cli.doctor.run import told
from cached.cli.doctor.scene import View, open_scene
from cached.cli.finding import Finding
from tests.doctor.patient import bad, model, seen
from tests.system.daemon import Daemon
from tests.system.disks import Disk
from tests.system.waiting import eventually

MIB = 1 << 20


def look(home: Path, root: Path, **settings: object) -> list[Finding]:
    """What is said of a root where no daemon runs."""
    config = home / "cached.yaml"
    config.write_text(yaml.safe_dump({"root": str(root), **settings}))
    scene = open_scene(f"{home}/none/operator/cached.sock", config, "", {})
    (check,) = [each for each in CHECKS[View.NODE] if each.name == "disk"]
    return list(told(check, scene))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path / "ext4", "ext4", 64 * MIB) as disk:
        yield disk


def test_a_disk_becomes_read_only_under_a_daemon(disk: Disk, tmp_path: Path) -> None:
    settings = {"root": str(disk.path / "cached"), "capacity": "40MiB"}
    with Daemon(tmp_path / "node", models={"tiny": {"source": model(tmp_path)}}, settings=settings) as daemon:
        (told,) = seen(daemon, "disk")
        assert told.level == "ok"
        assert told.message.startswith("ext4 on /dev/loop")
        assert f" at {disk.path}, " in told.message
        daemon.kill9()
        subprocess.run(["mount", "-o", "remount,ro", disk.path], check=True)
        (message, *_) = bad(look(tmp_path, daemon.root))
        assert f"{daemon.root} is read-only (ext4 on " in message
        subprocess.run(["mount", "-o", "remount,rw", disk.path], check=True)
        assert bad(look(tmp_path, daemon.root)) == []


def test_others_fill_the_disk(disk: Disk, tmp_path: Path) -> None:
    settings = {"root": str(disk.path / "cached"), "capacity": "40MiB", "min_free": "10MiB"}
    with Daemon(tmp_path / "node", models={"tiny": {"source": model(tmp_path)}}, settings=settings) as daemon:
        (disk.path / "others").write_bytes(b"x" * (30 * MIB))
        (message,) = bad(seen(daemon, "disk"))
        assert message.startswith("capacity is 40.0 MiB, but others leave room for ")
        with (disk.path / "more").open("wb") as more:
            more.write(b"x" * (18 * MIB))
        (message,) = bad(seen(daemon, "disk"))
        assert "10.0 MiB must stay free (min_free): nothing can be fetched" in message
        eventually(lambda: any("min_free" in warning for warning in daemon.operator().status().warnings))
        assert bad(seen(daemon, "daemon")) == [], "it is told once"


def test_a_disk_without_room_for_files(disk: Disk, tmp_path: Path) -> None:
    root = disk.path / "cached"
    root.mkdir()
    for number in range(100_000):
        try:
            (root / f"{number}").touch()
        except OSError:
            break
    (message,) = bad(look(tmp_path, root, min_free=0))
    assert "has room for 0 more files, of " in message


def test_filesystems_that_do_not_last(tmp_path: Path) -> None:
    with Disk(tmp_path / "memory", "tmpfs", MIB) as memory:
        (message, *_) = bad(look(tmp_path, memory.path))
        assert f"{memory.path} lies in memory (tmpfs)" in message
        upper, work, layer = (memory.path / name for name in ("upper", "work", "layer"))
        for directory in (upper, work, layer):
            directory.mkdir()
        options = f"lowerdir={tmp_path},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", layer], check=True)
        try:
            (message, *_) = bad(look(tmp_path, layer))
            assert f"{layer} lies in a container's own layer" in message
        finally:
            subprocess.run(["umount", layer], check=True)


def test_kubelets_disk(tmp_path: Path) -> None:
    """Both lie on the same filesystem, of which a share is to stay free or is not."""
    (tmp_path / "root").mkdir()
    kubelet = {"csi": {"kubelet_root": str(tmp_path)}}
    (message,) = bad(look(tmp_path, tmp_path / "root", min_free="1%", **kubelet))
    assert message.startswith("kubelet's data lie on the same disk, of which min_free leaves ")
    assert bad(look(tmp_path, tmp_path / "root", min_free="20%", **kubelet)) == []
