"""Whole disks for tests: loop devices over sparse files, and what may be on them. They need root."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

_BLOCK = 1 << 16
_MD_AT = 4096
_MD_MAGIC = 0xA92B4EFC


class Loop:
    """A disk while the `with` block runs. The smallest that mkfs.xfs takes has 300 MiB."""

    def __init__(self, image: Path, size: int = 320 << 20) -> None:
        self.image = image
        self._size = size

    def __enter__(self) -> Self:
        if os.getuid() != 0:
            pytest.skip("loop devices need root")
        self.blank()
        done = subprocess.run(
            ["losetup", "--find", "--show", "--partscan", self.image],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no loop device can be had here: {done.stderr.strip()}")
        self.path = done.stdout.strip()
        self.name = self.path.removeprefix("/dev/")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["losetup", "--detach", self.path], check=True)

    def blank(self) -> None:
        """As it came from the factory, or from the cloud after a stop and a start."""
        with self.image.open("w+b") as image:
            image.truncate(self._size)
        if hasattr(self, "path"):
            subprocess.run(["blockdev", "--flushbufs", self.path], check=True)

    def run(self, *command: str) -> None:
        """Run a program such as mkfs.ext4 on the disk."""
        subprocess.run([*command, self.path], capture_output=True, check=True)

    def write(self, at: int, data: bytes) -> None:
        with open(self.path, "r+b") as disk:
            disk.seek(at)
            disk.write(data)
            disk.flush()
            os.fsync(disk.fileno())

    def partition(self) -> None:
        """One partition of 64 MiB, in the old way, which the kernel then reads."""
        entry = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 131072)
        self.write(446, entry + bytes(48) + b"\x55\xaa")
        subprocess.run(["blockdev", "--rereadpt", self.path], check=True)

    def md_member(self, name: str, uuid: bytes) -> None:
        """The superblock that mdadm writes on a member of an array; to assemble it takes a kernel with md."""
        block = bytearray(_md_superblock(name.encode(), uuid))
        words = struct.unpack(f"<{len(block) // 4}I", block)
        total = sum(words)
        struct.pack_into("<I", block, 216, (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF)
        self.write(_MD_AT, bytes(block))

    @property
    def digest(self) -> str:
        """Of every block on it that is not zero, and where it is."""
        subprocess.run(["blockdev", "--flushbufs", self.path], check=True)
        digest, at = hashlib.blake2b(), 0
        with self.image.open("rb") as image:
            while True:
                try:
                    at = os.lseek(image.fileno(), at, os.SEEK_DATA) // _BLOCK * _BLOCK
                except OSError:  # there is no more
                    return digest.hexdigest()
                block = os.pread(image.fileno(), _BLOCK, at)
                if block.strip(b"\0"):
                    digest.update(at.to_bytes(8) + block)
                at += _BLOCK


def _md_superblock(name: bytes, uuid: bytes) -> bytes:
    """Version 1.2, RAID 0 of two disks, this being the first; roles for two devices."""
    head = struct.pack("<IIII16s32sQIIQII", _MD_MAGIC, 1, 0, 0, uuid, name, 0, 0, 0, 0, 1024, 2)
    data = struct.pack("<QQQQII16s", 2048, 600_000, _MD_AT // 512, 0, 0, 0, os.urandom(16))
    return b"".join((head.ljust(128, b"\0"), data)).ljust(220, b"\0") + struct.pack("<I32sHH", 2, b"", 0, 1)
