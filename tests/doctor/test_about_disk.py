"""What is said of a disk, by its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cached.cli.doctor.node.about_disk import Disk, Room, judge, missing
from cached.kit.mountinfo import Mount
from tests.doctor.found import bad, only

GIB = 1 << 30
ROOT = Path("/var/lib/cached")


def on(kind: str) -> Mount:
    return Mount(1, "/", "/var/lib/cached", frozenset(), shared=True, kind=kind, source="/dev/nvme1n1")


WELL = Disk(
    root=ROOT,
    mount=on("xfs"),
    size=1000 * GIB,
    free=400 * GIB,
    min_free=50 * GIB,
    files=1_000_000,
    files_free=900_000,
    read_only=False,
    direct=True,
    with_kubelet=False,
    capacity=900 * GIB,
    room=Room(used=550 * GIB, reserved=0, held=10 * GIB),
)


def test_a_good_disk_is_told_with_its_device() -> None:
    (finding,) = judge(WELL)
    assert (finding.level, finding.message) == (
        "ok", "xfs on /dev/nvme1n1 at /var/lib/cached, 400 GiB of it free",
    )  # fmt: skip
    for same in (
        replace(WELL, room=None, min_free=None),
        replace(WELL, free=100 * GIB, room=Room(0, 0, 0), capacity=None),
        replace(WELL, mount=None),
        replace(WELL, direct=None),
        replace(WELL, files=0, files_free=0),
        replace(WELL, with_kubelet=True, min_free=200 * GIB),
    ):
        assert bad(judge(same)) == []


@pytest.mark.parametrize("kind", ["nfs4", "ceph", "lustre", "9p", "virtiofs", "fuse.s3fs", "fuseblk", "cifs"])
def test_a_network_filesystem_is_no_place_for_a_cache(kind: str) -> None:
    level, message = only(judge(replace(WELL, mount=on(kind))))
    assert (level, "network filesystem" in message) == ("warning", True)


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"mount": on("overlay")}, "warning", "in a container's own layer"),
        ({"mount": on("tmpfs")}, "warning", "in memory"),
        ({"read_only": True}, "problem", "/var/lib/cached is read-only (xfs on /dev/nvme1n1"),
        ({"direct": False}, "warning", "knows no O_DIRECT"),
        ({"with_kubelet": True}, "warning", "from 150 GiB on kubelet collects images"),
        ({"files_free": 0}, "problem", "room for 0 more files, of 1000000"),
        ({"files_free": 9_999}, "warning", "room for 9999 more files"),
        ({"files": 5000, "files_free": 499}, "warning", "room for 499 more files"),
        ({"free": 40 * GIB}, "warning", "40.0 GiB free, 50.0 GiB must stay free"),
        ({"free": 40 * GIB, "room": None}, "warning", "must stay free"),
        ({"free": 0, "room": Room(20 * GIB, 0, 10 * GIB)}, "problem", "nothing can be fetched"),
        ({"free": 100 * GIB, "room": Room(0, 0, 0)}, "warning", "others leave room for 50.0 GiB"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it(change: dict[str, object], level: str, said: str) -> None:
    found = only(judge(replace(WELL, **change)))  # type: ignore[arg-type]
    assert found[0] == level
    assert said in found[1]


def test_several_faults_are_told_one_by_one_the_gravest_first() -> None:
    found = bad(judge(replace(WELL, mount=on("nfs"), read_only=True, direct=False, files_free=0)))
    assert [level for level, _ in found] == ["problem", "warning", "problem", "warning"]
    assert "read-only" in found[0][1]


def test_a_root_that_is_not_seen_is_missing_only_where_no_daemon_has_it() -> None:
    assert missing(ROOT, running=False).level == "problem"
    assert missing(ROOT, running=True).level == "skipped"
