"""What is seen of disks in /sys and /proc. Nothing is probed here, since nothing is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached.cli.node.disk import Disk
from cached.cli.node.found import Found, Mount
from cached.cli.node.look import look
from cached.cli.node.wish import Wish
from tests.node.kernel import Kernel
from tests.node.machine import AWS, EBS


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A machine that was booted from the first partition of nvme0n1."""
    kernel = Kernel(tmp_path)
    kernel.nvme("nvme0n1", "259:0", EBS, parts=2)
    return kernel


def seen(kernel: Kernel, root: str = "/nowhere/cached") -> Found:
    return look(Wish(Path(root), models=()), kernel.places)


def disk(kernel: Kernel, name: str) -> Disk:
    (found,) = (each for each in seen(kernel).disks if each.name == name)
    return found


def test_a_boot_disk_is_seen_with_its_partitions_and_mounts(kernel: Kernel) -> None:
    assert disk(kernel, "nvme0n1") == Disk(
        "nvme0n1",
        size=1 << 20,
        model=EBS,
        transport="pcie",
        partitions=("nvme0n1p1", "nvme0n1p2"),
        mounted_at=("/",),
    )


def test_a_local_disk_is_seen_as_it_is(kernel: Kernel) -> None:
    kernel.nvme("nvme1n1", "259:5", AWS)
    assert disk(kernel, "nvme1n1") == Disk("nvme1n1", size=1 << 20, model=AWS, transport="pcie")


def test_of_a_disk_with_several_paths_the_paths_are_not_disks(kernel: Kernel) -> None:
    kernel.nvme_of_several_paths("nvme9n1", "259:50", AWS, "pcie", "pcie")
    assert disk(kernel, "nvme9n1") == Disk("nvme9n1", size=1 << 20, model=AWS, transport="pcie")
    assert [each.name for each in seen(kernel).disks] == ["nvme0n1", "nvme9n1"]


def test_a_disk_that_one_path_reaches_by_network_is_on_the_network(kernel: Kernel) -> None:
    kernel.nvme_of_several_paths("nvme9n1", "259:50", AWS, "pcie", "tcp")
    assert disk(kernel, "nvme9n1").transport == "tcp"


def test_an_array_and_its_members_know_each_other(kernel: Kernel) -> None:
    members = [kernel.nvme(f"nvme{n}n1", f"259:1{n}", AWS) for n in (1, 2)]
    kernel.virtual("md127", "9:127", *members)
    assert disk(kernel, "md127").members == ("nvme1n1", "nvme2n1")
    assert disk(kernel, "md127").virtual
    assert disk(kernel, "nvme1n1").holders == ("md127",)


def test_what_holds_a_partition_holds_the_disk(kernel: Kernel) -> None:
    part = kernel.nvme("nvme1n1", "259:10", AWS, parts=1) / "nvme1n1p1"
    kernel.virtual("dm-0", "252:0", part)
    assert disk(kernel, "nvme1n1").holders == ("dm-0",)


@pytest.mark.parametrize("path", ["/dev/nvme1n1", "/dev/nvme1n1p1"])
def test_swap_is_seen_on_a_disk_and_on_its_partition(kernel: Kernel, path: str) -> None:
    kernel.nvme("nvme1n1", "259:10", AWS, parts=1)
    kernel.swap(path)
    assert disk(kernel, "nvme1n1").swap
    assert not disk(kernel, "nvme0n1").swap


def test_a_mount_point_may_have_any_name(kernel: Kernel) -> None:
    kernel.nvme("nvme1n1", "259:10", AWS)
    kernel.mount(r"/mnt/a\040b\134c", "259:10", "/dev/nvme1n1")
    assert disk(kernel, "nvme1n1").mounted_at == ("/mnt/a b\\c",)


def test_the_root_lies_on_the_boot_disk(kernel: Kernel) -> None:
    assert seen(kernel).mount == Mount("/", "/dev/nvme0n1p1", frozenset({"nvme0n1"}))


def test_the_root_may_be_a_mount_point(kernel: Kernel) -> None:
    kernel.nvme("nvme1n1", "259:10", AWS)
    kernel.mount("/nowhere/cached", "259:10", "/dev/nvme1n1")
    assert seen(kernel).mount == Mount("/nowhere/cached", "/dev/nvme1n1", frozenset({"nvme1n1"}))


def test_of_two_mounts_at_one_place_the_last_counts(kernel: Kernel) -> None:
    kernel.nvme("nvme1n1", "259:10", AWS)
    kernel.mount("/nowhere", "259:1", "/dev/nvme0n1p1")
    kernel.mount("/nowhere", "259:10", "/dev/nvme1n1")
    assert seen(kernel).mount.source == "/dev/nvme1n1"


def test_a_name_that_only_begins_alike_is_another_place(kernel: Kernel) -> None:
    kernel.mount("/nowhere/cache", "259:1", "/dev/nvme0n1p1")
    assert seen(kernel).mount.point == "/"


def test_the_disks_beneath_an_array_on_partitions_are_found(kernel: Kernel) -> None:
    parts = [kernel.nvme(f"nvme{n}n1", f"259:{n}0", AWS, parts=1) / f"nvme{n}n1p1" for n in (1, 2)]
    array = kernel.virtual("md127", "9:127", *parts)
    kernel.virtual("dm-0", "252:0", array)
    kernel.mount("/nowhere", "252:0", "/dev/mapper/models")
    assert seen(kernel).mount.disks == {"nvme1n1", "nvme2n1"}


def test_a_filesystem_without_a_disk_has_none(kernel: Kernel) -> None:
    kernel.mount("/nowhere", "0:45", "tmpfs")
    assert seen(kernel).mount == Mount("/nowhere", "tmpfs")


@pytest.mark.parametrize("taken", [False, True])
def test_a_root_that_holds_something_is_taken(kernel: Kernel, tmp_path: Path, taken: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    if taken:
        (root / "index.db").touch()
    assert seen(kernel, str(root)).taken is taken


def test_what_is_not_wanted_is_not_probed(kernel: Kernel) -> None:
    """There is no /dev/nvme1n1 here: to open it would fail."""
    kernel.nvme("nvme1n1", "259:10", AWS)
    assert disk(kernel, "nvme1n1").signatures is None
