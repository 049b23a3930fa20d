"""The daemon's process, seen from outside: what it was started with, and where its files are."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_OURS: Final = "CACHED_"
_CREDENTIALS_OF_PEER: Final = struct.Struct("3i")
_PATIENCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """One that can be looked into.

    elsewhere: it has other files, as in a container. apart: it has a network of its own, as a pod has.
    """

    pid: int
    elsewhere: bool
    apart: bool = False

    @property
    def proc(self) -> Path:
        """Where the kernel tells of it."""
        return Path("/proc", str(self.pid))

    def seen(self, path: Path) -> Path:
        """Where what it calls `path` is found from here."""
        if not path.is_absolute():
            return self.proc / "cwd" / path
        return self.proc / "root" / path.relative_to("/") if self.elsewhere else path

    def environment(self) -> dict[str, str]:
        """Its CACHED variables; others may be secrets, and are left where they are. Raises OSError."""
        pairs = (self.proc / "environ").read_bytes().decode(errors="replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if pair.startswith(_OURS) and "=" in pair)

    def config(self) -> Path | None:
        """The file of settings that it was started with, as seen from here; None without one."""
        words = (self.proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
        said = config_of(words, self.environment())
        return self.seen(Path(said)) if said else None


def config_of(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """What a command line and its environment name as the file of settings; empty when nothing."""
    for at, word in enumerate(words):
        if word == "--config" and at + 1 < len(words):
            return words[at + 1]
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return environ.get("CACHED_CONFIG", "")


def listener(path: Path) -> Process | None:
    """Who listens at a socket; None when nobody does, or nobody that can be seen from here."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE)
        probe.connect(str(path))
        found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS_OF_PEER.size)
        pid, _, _ = _CREDENTIALS_OF_PEER.unpack(found)
        if pid:  # of another namespace of processes it is not told
            elsewhere = _differs(pid, "ns/mnt") or _differs(pid, "root")
            return Process(pid, elsewhere, apart=_differs(pid, "ns/net"))
    return None


def _differs(pid: int, what: str) -> bool:
    return not os.path.samestat(os.stat(f"/proc/{pid}/{what}"), os.stat(f"/proc/self/{what}"))
