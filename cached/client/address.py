"""Where the daemon listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cached.client.errors import Unreachable
from cached.core.errors import CachedError, Denied, InvalidRequest

VARIABLE: Final = "CACHED_ADDRESS"
MAX_PATH_BYTES: Final = 107
_SYSTEM: Final = Path("/run/cached")


def candidates(
    given: str | None = None, *, operator: bool = False, environ: Mapping[str, str] = os.environ
) -> tuple[Path, ...]:
    """The sockets to try, best first: `given`, else CACHED_ADDRESS, else where daemons put theirs.

    That is `/run/cached` for a daemon of the node, then the user's own cache directory; with `operator`
    the operators' sockets come before the pods'. Raises InvalidRequest for what is not a socket's path.
    """
    said = given or environ.get(VARIABLE)
    if said:
        return (_parse(said),)
    home = environ.get("XDG_CACHE_HOME")
    user = (Path(home) if home else Path.home() / ".cache") / "cached" / "run"
    doors = ("operator", "pods") if operator else ("pods",)
    return tuple(base / door / "cached.sock" for door in doors for base in (_SYSTEM, user))


def choose(paths: tuple[Path, ...]) -> Path:
    """The only one, or the first that exists. Raises Unreachable when none does: it may come yet."""
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        if os.path.exists(path):
            return path
    tried = " or ".join(map(str, paths))
    raise Unreachable(f"no daemon is reachable: there is no socket at {tried}", hint=_START)


def target(path: Path) -> str:
    """As grpc wants it."""
    return f"unix:{quote(str(path))}"


def diagnose(path: Path) -> CachedError:
    """Why a call did not get through: Denied when waiting will not help, else Unreachable."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return Unreachable(f"no daemon is reachable: there is no socket at {path}", hint=_START)
        except ConnectionRefusedError:
            return Unreachable(f"no daemon is reachable: nobody listens at {path}", hint=_START)
        except PermissionError:
            return Denied(
                f"the socket {path} may not be opened by this user",
                hint="run as the daemon's user, or set sockets.pods_mode in the daemon's configuration",
            )
        except OSError as error:
            return Unreachable(f"the daemon at {path} takes no connection: {error.strerror}", hint=_START)
    return Unreachable(
        f"the connection to the daemon at {path} broke", hint="try again; see the daemon's log"
    )


_START: Final = (
    "start cached on this node, or say where it listens with CACHED_ADDRESS; in a pod, mount the directory "
    "of the daemon's pods socket at the same path"
)


def _parse(said: str) -> Path:
    """`unix:/path`, `unix:///path` or `/path`."""
    path = said.removeprefix("unix:")
    if path.startswith("//"):
        path = path.removeprefix("//")
    if not path.startswith("/") or "\0" in path:
        raise InvalidRequest(
            f"not an address: {said[:200]!r}", hint="write unix: and the absolute path of the daemon's socket"
        )
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise InvalidRequest(
            f"the socket path {path} is longer than {MAX_PATH_BYTES} bytes", hint="use a shorter path"
        )
    return Path(path)
