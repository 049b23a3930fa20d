"""What /sys and /proc say on machines that are not at hand."""

from __future__ import annotations

from pathlib import Path

from cached.cli.node.look import Places

PCI = "pci0000:00/0000:00:1f.0"


class Kernel:
    """Writes the files that the kernel would show, below a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(sys=directory / "sys", proc=directory / "proc")
        self.places.proc.joinpath("self").mkdir(parents=True)
        self._mounts: list[str] = []
        (self.places.sys / "block").mkdir(parents=True)
        (self.places.sys / "dev/block").mkdir(parents=True)
        self.mount("/", "259:1", "/dev/nvme0n1p1")
        self.swap()

    def mount(self, point: str, number: str, source: str) -> None:
        identity = len(self._mounts) + 20
        self._mounts.append(
            f"{identity} 1 {number} / {point} rw,relatime shared:1 master:7 - ext4 {source} rw,discard"
        )
        (self.places.proc / "self/mountinfo").write_text("\n".join(self._mounts) + "\n")

    def swap(self, *paths: str) -> None:
        lines = ["Filename Type Size Used Priority", *(f"{path} partition 9 0 -2" for path in paths)]
        (self.places.proc / "swaps").write_text("\n".join(lines) + "\n")

    def nvme(self, name: str, number: str, model: str, *, transport: str = "pcie", parts: int = 0) -> Path:
        """A disk with one controller, and its partitions, which follow it in number."""
        controller = self.places.sys / "devices" / PCI / "nvme" / name.removesuffix("n1")
        self._write(controller, model=f"{model:<40}", transport=transport)
        return self._block(controller / name, number, device=controller, parts=parts)

    def nvme_of_several_paths(self, name: str, number: str, model: str, *transports: str) -> Path:
        """As with nvme_core.multipath: the disk is the subsystem's, and each path is a hidden disk."""
        subsystem = self.places.sys / "devices/virtual/nvme-subsystem/nvme-subsys0"
        self._write(subsystem, model=model)
        for at, transport in enumerate(transports):
            controller = self.places.sys / f"devices/pci{at}/nvme/nvme{at}"
            self._write(controller, transport=transport)
            (subsystem / f"nvme{at}").symlink_to(controller)
            path = self._block(controller / f"nvme0c{at}n1", f"259:9{at}", device=controller)
            self._write(path, hidden="1")
        return self._block(subsystem / name, number, device=subsystem)

    def virtual(self, name: str, number: str, *members: Path) -> Path:
        """Such as loop0, or md0 on its members."""
        device = self._block(self.places.sys / "devices/virtual/block" / name, number)
        for member in members:
            (device / "slaves" / member.name).symlink_to(member)
            (member / "holders" / name).symlink_to(device)
        return device

    def _block(self, path: Path, number: str, *, device: Path | None = None, parts: int = 0) -> Path:
        self._one(path, number)
        self._write(path, hidden="0")
        if device is not None:
            (path / "device").symlink_to(device)
        major, minor = number.split(":")
        for part in range(1, parts + 1):
            self._one(path / f"{path.name}p{part}", f"{major}:{int(minor) + part}")
            self._write(path / f"{path.name}p{part}", partition=str(part))
        (self.places.sys / "block" / path.name).symlink_to(path)
        return path

    def _one(self, path: Path, number: str) -> None:
        self._write(path, dev=number, size="2048", ro="0")
        for directory in ("holders", "slaves"):
            (path / directory).mkdir()
        (self.places.sys / "dev/block" / number).symlink_to(path)

    def _write(self, directory: Path, **attributes: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, value in attributes.items():
            (directory / name).write_text(f"{value}\n")
