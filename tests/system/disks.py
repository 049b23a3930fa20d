"""Small filesystems of a test's own, and ways to break them. All of it needs root."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def need_root() -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a filesystem for this test needs root")


class Disk:
    """A filesystem at `path`, mounted while the `with` block runs: tmpfs, or another on a loop device.

    `image` is the file behind a loop device: the disk's own memory, so to speak.
    """

    def __init__(self, directory: Path, kind: str, size: int) -> None:
        self.kind = kind
        self.path = directory / "disk"
        self.image = directory / "image"
        self._size = size
        self._loop = ""
        self._mounted = False

    def __enter__(self) -> Self:
        need_root()
        self.path.mkdir(parents=True)
        try:
            if self.kind != "tmpfs":
                with self.image.open("wb") as image:
                    image.truncate(self._size)
                _run(f"mkfs.{self.kind}", "-q", self.image)
            self.mount()
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__(None, None, None)
            said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
            pytest.skip(f"no {self.kind} can be mounted here: {said}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmount()
        self.image.unlink(missing_ok=True)

    def mount(self) -> None:
        """Each time at another device: namespaces that other tests made may have a copy of the mount before,
        and the device would go on with the filesystem as it is there."""
        if self.kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", self.path)
        else:
            self._loop = _run("losetup", "--find", "--show", self.image)
            options = "nouuid" if self.kind == "xfs" else "defaults"
            _run("mount", "-t", self.kind, "-o", options, self._loop, self.path)
        self._mounted = True

    def unmount(self) -> None:
        """Take it away, also when somebody has files open there: then it goes when they are closed."""
        if self._mounted:
            subprocess.run(["sync", "--file-system", self.path], capture_output=True, check=False)
            _run("umount", "--lazy", self.path)
            self._mounted = False
        if self._loop:
            _run("losetup", "--detach", self._loop)
            self._loop = ""

    def repair(self) -> None:
        """What an operator does to a filesystem that shut itself down, once nobody uses it."""
        self.unmount()
        if self.kind == "ext4":
            subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, check=False)
        self.mount()

    def shut_down(self) -> None:
        """XFS: every call fails with EIO from now on, as after a fatal error of the disk."""
        _run("xfs_io", "-x", "-c", "shutdown -f", self.path)

    def abort(self) -> None:
        """ext4: the filesystem turns read-only, as it does when it finds itself damaged."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], capture_output=True, check=False)

    def spoil(self, block: bytes) -> None:
        """Change one byte of a file's block behind the filesystem's back."""
        self.unmount()
        with self.image.open("r+b") as image, mmap.mmap(image.fileno(), 0) as data:
            at = data.find(block)
            assert at >= 0, "the block is not on the disk"
            data[at] ^= 0xFF
        self.mount()

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, name: str, leave: int) -> Path:
        """Somebody else's file that leaves about `leave` bytes free."""
        path = self.path / name
        with path.open("wb") as file:
            file.write(b"others" * 10_000)
            file.flush()
            end, step = 65_536, 1 << 30
            while (step := min(step, (self.free - leave) // 4096 * 4096)) >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
                else:
                    end += step
        return path
