"""A machine of values: node-init's steps change it as the programs that they name would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cached.cli.node.disk import LABEL, Disk, Signature
from cached.cli.node.found import Found, Mount
from cached.cli.node.mount_unit import unit_name, unit_path, unit_text
from cached.cli.node.plan import Plan, plan
from cached.cli.node.steps import Put, Run, Step
from cached.cli.node.wish import Wish

AWS = "Amazon EC2 NVMe Instance Storage"
EBS = "Amazon Elastic Block Store"
ROOT = Path("/var/lib/cached")
BOOT = Mount("/", "/dev/nvme0n1p1", frozenset({"nvme0n1"}))
BOOT_DISK = Disk(
    "nvme0n1", size=50 << 30, model=EBS, transport="pcie", partitions=("nvme0n1p1",), mounted_at=("/",)
)


def local(name: str, *signatures: Signature, **more: Any) -> Disk:
    """A local NVMe disk, blank and unused unless told otherwise."""
    return replace(Disk(name, size=1 << 40, model=AWS, transport="pcie", signatures=signatures), **more)


@dataclass(frozen=True)
class Array:
    """An array of ours: what lies on it outlives its being assembled."""

    members: tuple[str, ...]
    inside: tuple[Signature, ...] = ()


class Machine:
    """Writing to a disk that is not blank fails the test."""

    def __init__(
        self, *disks: Disk, wish: Wish | None = None, mount: Mount = BOOT, taken: bool = False
    ) -> None:
        self.disks = {disk.name: disk for disk in disks}
        self.wish = wish or Wish(ROOT)
        self.mount = self._booted = mount
        self.taken = taken
        self.unit = ""
        self.arrays: dict[str, Array] = {}
        self.assembled: dict[str, str] = {}
        self._made = 0

    @property
    def found(self) -> Found:
        return Found(tuple(self._seen()), self.mount, self.taken, self.unit)

    def _seen(self) -> Iterable[Disk]:
        for disk in self.disks.values():
            holders = tuple(md for md, uuid in self.assembled.items() if uuid == disk.array)
            yield replace(disk, holders=(*disk.holders, *holders), mounted_at=self._mounted(disk))
        for name, uuid in self.assembled.items():
            members = tuple(disk.name for disk in self.disks.values() if disk.array == uuid)
            array = self.arrays[uuid]
            whole = members == array.members
            size = sum(self.disks[member].size for member in members) if whole else 0
            md = Disk(
                name, size=size, virtual=True, members=members, signatures=array.inside if whole else ()
            )
            yield replace(md, mounted_at=self._mounted(md))

    def _mounted(self, disk: Disk) -> tuple[str, ...]:
        ours = self.mount.source == disk.path and self.mount.point == str(self.wish.root)
        return (*disk.mounted_at, self.mount.point) if ours else disk.mounted_at

    def plan(self) -> Plan:
        return plan(self.found, self.wish, f"uuid-{self._made}")

    def run(self, steps: int = 99) -> Plan:
        """node-init, killed after so many steps; returns the last plan."""
        for _ in range(3):
            now = self.plan()
            for step in now.steps[:steps]:
                self.do(step)
            steps -= len(now.steps)
            if not now.steps or steps <= 0:
                return now
        last = self.plan()
        assert not last.steps, f"it never comes to an end: {last}"
        return last

    def reboot(self, *, assembles: bool = True) -> None:
        """At boot udev assembles arrays, mostly, whole or not; /run is empty."""
        self.mount, self.unit = self._booted, ""
        there = {disk.array for disk in self.disks.values() if disk.array}
        self.assembled = {f"md{127 - at}": uuid for at, uuid in enumerate(sorted(there))} if assembles else {}

    def replace(self, *names: str) -> None:
        """As a stop and a start do with instance storage: other disks, blank ones."""
        for name in names:
            self.disks[name] = replace(self.disks[name], signatures=())

    def do(self, step: Step) -> None:
        if isinstance(step, Put):
            assert step.path == unit_path(self.wish.root)
            self.unit = step.text
            return
        match step.command:
            case ("mkfs.xfs", "-q", "-K", "-L", "cached", "-m", uuid, *_, path):
                self._mkfs(step, path.removeprefix("/dev/"), uuid.removeprefix("uuid="))
            case ("mdadm", "--create", "/dev/md/cached", "--name=cached", "--level=0", count, *paths):
                assert count == f"--raid-devices={len(paths)}"
                self._create(step, [path.removeprefix("/dev/") for path in paths])
            case ("mdadm", "--assemble", "/dev/md/cached", given, *paths):
                uuid = given.removeprefix("--uuid=")
                assert tuple(paths) == tuple(f"/dev/{name}" for name in self.arrays[uuid].members)
                self.assembled["md0"] = uuid
            case ("systemctl", "daemon-reload"):
                assert self.unit
            case ("systemctl", "start", unit):
                assert unit == unit_name(self.wish.root)
                self._mount()
            case _:
                raise AssertionError(f"nobody knows what this does: {step.command}")

    def _disk(self, name: str) -> Disk:
        return next(disk for disk in self._seen() if disk.name == name)

    def _mkfs(self, step: Run, name: str, uuid: str) -> None:
        if name == "md/cached":
            name = "md0"
        else:
            assert step.writes_to == (name,)
        assert self._disk(name).blank, f"a filesystem is made over {self._disk(name)}"
        filesystem = (Signature("xfs", LABEL, uuid),)
        if name in self.assembled:
            array = self.assembled[name]
            self.arrays[array] = replace(self.arrays[array], inside=filesystem)
        else:
            self.disks[name] = replace(self.disks[name], signatures=filesystem)
        self._made += 1

    def _create(self, step: Run, names: Sequence[str]) -> None:
        assert step.writes_to == tuple(names)
        assert len(names) > 1
        uuid = f"array-{len(self.arrays)}"
        for name in names:
            assert self._disk(name).blank, f"an array is made over {self._disk(name)}"
            member = Signature("linux_raid_member", f"host:{LABEL}", uuid)
            self.disks[name] = replace(self.disks[name], signatures=(member,))
        self.arrays[uuid] = Array(tuple(names))
        self.assembled["md0"] = uuid

    def _mount(self) -> None:
        root = self.wish.root
        (disk,) = (d for d in self._seen() if d.filesystem and self.unit == unit_text(root, d.filesystem))
        self.mount = Mount(str(root), disk.path, frozenset(disk.members or {disk.name}))
