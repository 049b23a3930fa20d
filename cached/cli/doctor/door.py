"""A socket of the daemon, looked at and knocked at."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cached.client.address import diagnose
from cached.client.errors import TimedOut, Unreachable
from cached.core.errors import CachedError

if TYPE_CHECKING:
    from cached.client import OperatorClient

_PATIENCE: Final = 2.0
_ABSENT: Final = "see why: systemctl status cached; or the daemon's pod on this node, and its log"
_SILENT: Final = "see its log; its watchdog or kubelet restarts it, or do so by hand"


@dataclass(frozen=True, slots=True)
class Door:
    """mode: permissions; None where nothing is. serving: what the daemon says; None where it says nothing,
    and then fault has why."""

    path: Path
    mode: int | None = None
    serving: bool | None = None
    fault: CachedError | None = None


def knock(path: Path) -> Door:
    """Ask for health at once, with little patience."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return Door(path)
    try:
        with entered(path) as (_, serving):
            return Door(path, mode, serving)
    except CachedError as error:
        return Door(path, mode, fault=error)


@contextmanager
def entered(path: Path) -> Iterator[tuple[OperatorClient, bool]]:
    """A client of a daemon that answers, and whether that serves. Raises Unreachable or Denied, soon.

    A client waits for a daemon that is not there for as long as a call may last, which is too long here.
    """
    from cached.client import OperatorClient

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(str(path))
        except OSError:
            error = diagnose(path)
            raise (
                Unreachable(error.message, hint=_ABSENT) if isinstance(error, Unreachable) else error
            ) from None
    with OperatorClient(str(path)) as client:
        try:
            serving = client.serving(timeout=_PATIENCE)
        except (TimedOut, Unreachable):
            raise Unreachable(
                f"the daemon takes connections at {path}, and says nothing: it hangs, or lacks CPU",
                hint=_SILENT,
            ) from None
        yield client, serving
