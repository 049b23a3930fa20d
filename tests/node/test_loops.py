"""Real disks, seen by libblkid and written by mkfs.xfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cached.cli.node.look import look
from cached.cli.node.plan import Plan, plan
from cached.cli.node.prepare import do
from cached.cli.node.steps import Run
from cached.cli.node.wish import Wish
from cached.core.errors import DiskFault, InUse
from tests.node.loops import Loop

UUID = "0b0c2f8c-9d2b-4d8e-8a55-3b7f0f1c9a01"
ARRAY = bytes(range(16))


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    if missing := [tool for tool in ("mkfs.xfs", "mkfs.ext4", "wipefs") if shutil.which(tool) is None]:
        pytest.skip(f"no {', '.join(missing)}: make packages installs xfsprogs, e2fsprogs and util-linux")
    with Loop(tmp_path / "image") as loop:
        yield loop


def planned(*loops: Loop) -> Plan:
    wish = Wish(Path("/nowhere/cached"), disks=tuple(loop.name for loop in loops))
    return plan(look(wish), wish, UUID)


def makes(plan: Plan) -> list[Run]:
    return [step for step in plan.steps if isinstance(step, Run) and step.writes_to]


def label(loop: Loop) -> str:
    done = subprocess.run(
        ["blkid", "-p", "-o", "export", loop.path], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())["LABEL"]


def test_a_blank_disk_gets_a_filesystem_once(loop: Loop) -> None:
    (make,) = makes(planned(loop))
    do(make)
    assert label(loop) == "cached"
    before = loop.digest
    again = planned(loop)
    assert makes(again) == []
    assert [
        f"/dev/disk/by-uuid/{UUID}" in step.text for step in again.steps if not isinstance(step, Run)
    ] == [True]
    assert loop.digest == before


def test_a_filesystem_of_ours_that_is_mounted_elsewhere_is_left_so(loop: Loop, tmp_path: Path) -> None:
    (make,) = makes(planned(loop))
    do(make)
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", f"UUID={UUID}", mount], check=True)
    try:
        (mount / "model").write_bytes(b"weights")
        with pytest.raises(InUse, match=f"is labelled cached, but is mounted at {mount}"):
            planned(loop)
        assert (mount / "model").read_bytes() == b"weights"
    finally:
        subprocess.run(["umount", mount], check=True)


def ext4(loop: Loop) -> None:
    loop.run("mkfs.ext4", "-q", "-L", "data")


def foreign_xfs(loop: Loop) -> None:
    loop.run("mkfs.xfs", "-q", "-L", "data")


def swap(loop: Loop) -> None:
    loop.run("mkswap")


def partitioned(loop: Loop) -> None:
    loop.partition()


def foreign_array(loop: Loop) -> None:
    loop.md_member("host:data", ARRAY)


def ours_and_something_else(loop: Loop) -> None:
    loop.run("mkfs.xfs", "-q", "-L", "cached")
    loop.write(510, b"\x55\xaa")
    loop.md_member("host:data", ARRAY)


@pytest.mark.parametrize(
    ("fill", "carries"),
    [
        (ext4, "ext4 labelled data"),
        (foreign_xfs, "xfs labelled data"),
        (swap, "swap"),
        (partitioned, "(partitions|dos)"),  # not every kernel knows these
        (foreign_array, "linux_raid_member labelled host:data"),
        (ours_and_something_else, "linux_raid_member labelled host:data"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_disk_that_carries_something_is_refused_and_stays_as_it_is(
    loop: Loop, fill: object, carries: str
) -> None:
    assert callable(fill)
    fill(loop)
    before = loop.digest
    with pytest.raises(InUse, match=f"{loop.path} carries .*{carries}"):
        planned(loop)
    assert loop.digest == before


def test_a_disk_that_somebody_has_for_himself_is_refused(loop: Loop) -> None:
    held = os.open(loop.path, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(InUse, match="is in use by somebody"):
            planned(loop)
    finally:
        os.close(held)


def test_what_appears_on_a_disk_in_the_last_moment_is_not_written_over(loop: Loop) -> None:
    (make,) = makes(planned(loop))
    ext4(loop)
    before = loop.digest
    with pytest.raises(DiskFault, match="appears to contain an existing filesystem"):
        do(make)
    assert loop.digest == before


def test_a_member_of_an_array_of_ours_is_known_by_its_superblock(loop: Loop) -> None:
    loop.md_member("host:cached", ARRAY)
    (assemble,) = planned(loop).steps
    assert isinstance(assemble, Run)
    uuid = "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert assemble.command == ("mdadm", "--assemble", "/dev/md/cached", f"--uuid={uuid}", loop.path)
