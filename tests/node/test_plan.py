"""What is planned for the disks of many kinds of nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached.cli.node.disk import Disk, Signature
from cached.cli.node.found import Mount
from cached.cli.node.steps import Run
from cached.cli.node.wish import Wish
from cached.core.errors import InUse, NotFound
from tests.node.machine import BOOT_DISK, EBS, ROOT, Machine, local

EXT4 = Signature("ext4", "data", "11")
OURS = Signature("xfs", "cached", "22")
ANY = ("*",)


def commands(machine: Machine) -> list[str]:
    return [step.how for step in machine.plan().steps]


def refusal(machine: Machine) -> str:
    with pytest.raises(InUse) as raised:
        machine.plan()
    return str(raised.value)


def test_one_blank_disk_becomes_a_filesystem() -> None:
    machine = Machine(BOOT_DISK, local("nvme1n1"))
    assert commands(machine) == [
        "mkfs.xfs -q -K -L cached -m uuid=uuid-0 /dev/nvme1n1",
        "/run/systemd/system/var-lib-cached.mount",
        "systemctl daemon-reload",
        "systemctl start var-lib-cached.mount",
    ]


def test_several_blank_disks_become_one_striped_filesystem() -> None:
    machine = Machine(BOOT_DISK, *(local(f"nvme{n}n1") for n in range(1, 5)))
    assert commands(machine)[:2] == [
        "mdadm --create /dev/md/cached --name=cached --level=0 --raid-devices=4 "
        "/dev/nvme1n1 /dev/nvme2n1 /dev/nvme3n1 /dev/nvme4n1",
        "mkfs.xfs -q -K -L cached -m uuid=uuid-0 -l su=8b /dev/md/cached",
    ]


@pytest.mark.parametrize(
    ("model", "is_local"),
    [
        ("Amazon EC2 NVMe Instance Storage", True),
        ("nvme_card", True),
        ("nvme_card0", True),
        ("nvme_card15", True),
        ("Microsoft NVMe Direct Disk", True),
        ("Microsoft NVMe Direct Disk v2", True),
        ("nvme_card-pd", False),
        ("Amazon Elastic Block Store", False),
        ("MSFT NVMe Accelerator v1.0", False),
        ("SAMSUNG MZQL23T8HCLS-00A07", False),
        ("", False),
    ],
)
def test_local_disks_are_known_by_their_models(model: str, is_local: bool) -> None:
    machine = Machine(BOOT_DISK, local("nvme1n1", model=model))
    assert bool(machine.plan().steps) is is_local


def test_other_models_may_be_named() -> None:
    machine = Machine(local("nvme1n1", model="SAMSUNG MZQL23T8"), wish=Wish(ROOT, ("SAMSUNG MZ*",)))
    assert machine.plan().steps


@pytest.mark.parametrize(
    "model", [EBS, "nvme_card-pd", "MSFT NVMe Accelerator v1.0", "PersistentDisk", "Virtual Disk"]
)
def test_no_glob_makes_a_network_disk_local(model: str) -> None:
    machine = Machine(local("nvme1n1", model=model), wish=Wish(ROOT, ANY))
    assert machine.plan().settled.startswith("there are no local disks")


@pytest.mark.parametrize("transport", ["tcp", "rdma", "fc", "loop"])
def test_nvme_over_fabrics_is_not_local(transport: str) -> None:
    machine = Machine(local("nvme1n1", transport=transport), wish=Wish(ROOT, ANY))
    assert not machine.plan().steps
    assert machine.plan().left == (
        ("/dev/nvme1n1", f"is a network disk (Amazon EC2 NVMe Instance Storage, {transport})"),
    )


def test_no_glob_takes_a_device_without_hardware() -> None:
    machine = Machine(local("zram0", model="", transport="", virtual=True), wish=Wish(ROOT, ANY))
    assert machine.plan().settled.startswith("there are no local disks")
    assert machine.plan().left == ()


def test_a_node_without_local_disks_keeps_its_cache_where_it_is() -> None:
    plan = Machine(BOOT_DISK).plan()
    assert plan.settled == f"there are no local disks: {ROOT} stays on /dev/nvme0n1p1, mounted at /"
    assert plan.left == (("/dev/nvme0n1", f"is a network disk ({EBS}, pcie)"),)


def test_a_disk_that_was_named_is_taken_whatever_its_model() -> None:
    machine = Machine(
        BOOT_DISK, local("sdb", model=EBS, transport=""), local("sdc"), wish=Wish(ROOT, disks=("sdb",))
    )
    assert commands(machine)[0].endswith(" /dev/sdb")
    assert ("/dev/sdc", "is not among those that were named") in machine.plan().left


def test_a_disk_that_was_named_must_be_there() -> None:
    with pytest.raises(NotFound, match="nvme9n1"):
        Machine(local("nvme1n1"), wish=Wish(ROOT, disks=("nvme9n1", "nvme1n1"))).plan()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"signatures": (EXT4,)}, "carries ext4 labelled data"),
        ({"signatures": (Signature("gpt"), Signature("PMBR"))}, "carries gpt, PMBR"),
        ({"signatures": None}, "carries something unknown"),
        ({"partitions": ("nvme1n1p1",)}, "carries partitions (nvme1n1p1)"),
        ({"mounted_at": ("/mnt/data",)}, "is mounted at /mnt/data"),
        ({"holders": ("dm-3",)}, "is part of dm-3"),
        ({"swap": True}, "is used as swap"),
        ({"claimed": True}, "is in use by somebody"),
        ({"read_only": True}, "is read-only"),
        ({"size": 0}, "has no size"),
    ],
)
class TestADiskThatMayNotBeWrittenTo:
    def test_is_refused_where_there_is_no_other(self, more: dict[str, object], reason: str) -> None:
        assert f"/dev/nvme1n1 {reason}" in refusal(Machine(BOOT_DISK, local("nvme1n1", **more)))

    def test_is_left_alone_where_there_are_blank_ones(self, more: dict[str, object], reason: str) -> None:
        plan = Machine(local("nvme1n1", **more), local("nvme2n1")).plan()
        assert plan.left == (("/dev/nvme1n1", reason),)
        assert [step.writes_to for step in plan.steps if isinstance(step, Run)] == [("nvme2n1",), (), ()]

    def test_is_refused_when_named_beside_blank_ones(self, more: dict[str, object], reason: str) -> None:
        wish = Wish(ROOT, disks=("nvme1n1", "nvme2n1"))
        said = refusal(Machine(local("nvme1n1", **more), local("nvme2n1"), wish=wish))
        assert f"/dev/nvme1n1 {reason}" in said
        assert "nvme2n1" not in said


def test_our_filesystem_is_mounted_again() -> None:
    machine = Machine(BOOT_DISK, local("nvme1n1", OURS), local("nvme2n1"))
    assert commands(machine) == [
        "/run/systemd/system/var-lib-cached.mount",
        "systemctl daemon-reload",
        "systemctl start var-lib-cached.mount",
    ]
    assert ("/dev/nvme2n1", "is not needed") in machine.plan().left


@pytest.mark.parametrize(
    "signature",
    [
        Signature("xfs", "cached2", "1"),
        Signature("xfs", "", "1"),
        Signature("ext4", "cached", "1"),
        Signature("linux_raid_member", "host:data", "1"),
        Signature("linux_raid_member", "notcached", "1"),
        Signature("linux_raid_member", "", "1"),
    ],
)
def test_what_others_made_is_not_ours(signature: Signature) -> None:
    assert f"carries {signature.kind}" in refusal(Machine(local("nvme1n1", signature)))


def test_a_filesystem_of_ours_beside_another_signature_is_not_trusted() -> None:
    assert "carries xfs labelled cached, gpt" in refusal(Machine(local("nvme1n1", OURS, Signature("gpt"))))


def test_two_filesystems_of_ours_are_one_too_many() -> None:
    said = refusal(Machine(local("nvme1n1", OURS), local("nvme2n1", OURS)))
    assert "more than one is labelled cached: /dev/nvme1n1, /dev/nvme2n1" in said


def test_our_filesystem_mounted_elsewhere_is_told() -> None:
    said = refusal(Machine(local("nvme1n1", OURS, mounted_at=("/mnt",))))
    assert "/dev/nvme1n1 is labelled cached, but is mounted at /mnt" in said


@pytest.mark.parametrize("source", ["/dev/nvme1n1", "/dev/sdq"])
def test_what_is_mounted_at_the_root_stays(source: str) -> None:
    machine = Machine(local("nvme1n1"), mount=Mount(str(ROOT), source), taken=True)
    assert machine.plan().settled == f"{ROOT} is mounted already, from {source}"
    assert machine.plan().steps == ()


def test_a_root_on_an_array_that_others_made_of_local_disks_is_good_enough() -> None:
    """As EKS does it, kubelet and containerd included."""
    kubernetes = Signature("linux_raid_member", "host:kubernetes", "9")
    disks = [local(f"nvme{n}n1", kubernetes, holders=("md127",)) for n in (1, 2)]
    array = Disk(
        "md127", size=1, virtual=True, members=("nvme1n1", "nvme2n1"), mounted_at=("/mnt/k8s-disks/0",)
    )
    mount = Mount("/mnt/k8s-disks/0", "/dev/md127", frozenset({"nvme1n1", "nvme2n1"}))
    machine = Machine(
        BOOT_DISK, *disks, array, wish=Wish(Path("/mnt/k8s-disks/0/cached")), mount=mount, taken=True
    )
    assert "lies on local disks already: on /dev/md127" in machine.plan().settled


def test_a_root_that_holds_files_is_not_covered() -> None:
    said = refusal(Machine(BOOT_DISK, local("nvme1n1"), taken=True))
    assert f"{ROOT} holds files" in said


def test_an_array_that_is_there_is_mounted() -> None:
    machine = Machine(*(local(f"nvme{n}n1") for n in (1, 2)))
    machine.run()
    machine.reboot()
    assert commands(machine)[-1] == "systemctl start var-lib-cached.mount"
    assert machine.plan().left == ()


def test_an_array_that_udev_has_not_assembled_is() -> None:
    machine = Machine(*(local(f"nvme{n}n1") for n in (1, 2)))
    machine.run()
    machine.reboot(assembles=False)
    assert commands(machine) == ["mdadm --assemble /dev/md/cached --uuid=array-0 /dev/nvme1n1 /dev/nvme2n1"]
    assert machine.plan().again
    assert machine.run().settled.startswith(f"{ROOT} is mounted already, from /dev/md0")


def test_an_array_that_lacks_a_disk_is_told_with_what_to_do() -> None:
    """RAID 0 holds nothing without one of its disks, but that one may only be late: no other is wiped."""
    machine = Machine(*(local(f"nvme{n}n1") for n in (1, 2, 3)))
    machine.run()
    machine.replace("nvme2n1")
    machine.reboot()
    said = refusal(machine)
    assert "/dev/md127 of ours lacks a disk" in said
    assert "mdadm --stop /dev/md127, then wipefs --all /dev/nvme1n1 /dev/nvme3n1" in said


def test_members_of_two_arrays_of_ours_are_not_mixed() -> None:
    one, two = (Signature("linux_raid_member", "a:cached", uuid) for uuid in "12")
    assert "different arrays of ours" in refusal(Machine(local("nvme1n1", one), local("nvme2n1", two)))


def test_an_array_with_a_disk_that_is_not_wanted_is_not_ours() -> None:
    member = Signature("linux_raid_member", "a:cached", "1")
    disks = [local("nvme1n1", member, holders=("md0",)), local("sdb", member, model=EBS, holders=("md0",))]
    array = Disk("md0", size=9, virtual=True, members=("nvme1n1", "sdb"), signatures=())
    assert "/dev/nvme1n1 is part of md0" in refusal(Machine(*disks, array))


def test_a_blank_array_of_others_is_theirs() -> None:
    """They have made it a moment ago, and are about to make something on it."""
    member = Signature("linux_raid_member", "a:data", "1")
    disks = [local(f"nvme{n}n1", member, holders=("md0",)) for n in (1, 2)]
    array = Disk("md0", size=9, virtual=True, members=("nvme1n1", "nvme2n1"), signatures=())
    assert "/dev/nvme1n1 is part of md0" in refusal(Machine(*disks, array))


def test_a_run_that_changes_nothing_says_so() -> None:
    machine = Machine(BOOT_DISK, local("nvme1n1"))
    machine.run()
    plan = machine.plan()
    assert (plan.steps, plan.settled) == ((), f"{ROOT} is mounted already, from /dev/nvme1n1")


def test_a_unit_that_is_there_is_not_written_again() -> None:
    machine = Machine(local("nvme1n1"))
    machine.run(steps=3)
    assert commands(machine) == ["systemctl start var-lib-cached.mount"]
