"""Namespaces of mounts and processes that nothing outlives."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import psutil


class Enclosure:
    """Held by a first process that does nothing. Needs root.

    At `close`, or when the test run was killed, the kernel ends what runs in there, and the mounts that were
    made in there go, too. Shared mounts of this machine appear in there.
    """

    def __init__(self, *, within: Sequence[str] = (), tmpfs: str) -> None:
        """within: what goes before a command to enter other namespaces, which hold in here, too.

        tmpfs: a directory that is another, empty one in there.
        """
        prepare = 'mkdir -p "$0" && mount -t tmpfs none "$0" && echo ready && exec sleep infinity'
        unshare = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "slave",
        ]
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *within, *unshare, "sh", "-c", prepare, tmpfs],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            _, complaint = self._holder.communicate()
            raise RuntimeError(f"namespaces of mounts and processes cannot be had: {complaint}")
        self._first = psutil.Process(self._holder.pid).children()[0]

    @property
    def command(self) -> list[str]:
        """What goes before a command that shall run in there."""
        return ["nsenter", "--target", str(self._first.pid), "--mount", "--net", "--pid"]

    def close(self) -> None:
        """Returns when all processes have ended."""
        self._first.kill()
        self._holder.communicate()
