"""A place to mount in, and mount namespaces that see what appears there. All of it needs root."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pytest

from cached.kit import mountinfo
from cached.kit.mountinfo import Mount
from cached.kit.mounts import may_mount

How = Literal["slave", "shared"]


class Playground:
    """A shared tmpfs at `path`. It goes with the test, and whatever was mounted below it does, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._receivers = ExitStack()

    def __enter__(self) -> Self:
        if os.getuid() != 0 or not may_mount():
            pytest.skip("mounting for this test needs root and CAP_SYS_ADMIN")
        self.path.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "playground", self.path)
        run("mount", "--make-shared", self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receivers.close()
        run("umount", "--recursive", "--lazy", self.path)

    def receiver(self, how: How) -> Receiver:
        """Another mount namespace: one that is told of mounts, or one that tells of its own as well."""
        return self._receivers.enter_context(Receiver(how))

    def mounts(self) -> list[Mount]:
        """What is mounted below it."""
        return [mount for mount in mountinfo.read() if self.path in Path(mount.point).parents]


class Receiver:
    """A mount namespace of its own, as a pod's container has it, with root inside."""

    def __init__(self, how: How) -> None:
        self._how = how

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            # `cat` tells that the namespace is there, and ends with this process.
            ["unshare", "--mount", "--propagation", self._how, "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(b"here\n")
        self._holder.stdin.flush()
        self._holder.stdout.readline()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.communicate()

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in there."""
        inside = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"]
        return subprocess.run([*inside, *command], capture_output=True, text=True, check=False)

    def sees(self, path: Path) -> str | None:
        """What a file holds, seen from in there."""
        done = self.run("cat", path)
        return done.stdout if done.returncode == 0 else None

    def cannot_write(self, directory: Path) -> bool:
        """Try all that root could do to a directory with a file `f`, and a directory `d` in it."""
        tries = [
            ["sh", "-c", f"echo x >> {directory}/f"],
            ["sh", "-c", f"echo x > {directory}/new"],
            ["rm", "-f", f"{directory}/f"],
            ["chmod", "777", f"{directory}/f"],
            ["touch", f"{directory}/d/new"],
            ["mv", f"{directory}/f", f"{directory}/g"],
        ]
        said = [self.run(*each) for each in tries]
        return all(each.returncode and "Read-only file system" in each.stderr for each in said)


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
