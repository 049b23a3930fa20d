"""What every check begins with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cached.cli.containerd.wanted import USUAL
from cached.cli.doctor.door import entered
from cached.cli.doctor.process import Process, listener
from cached.cli.parts import daemons_part
from cached.client.address import VARIABLE, candidates
from cached.core.errors import CachedError

if TYPE_CHECKING:
    from cached.client import OperatorClient
    from cached.config.settings import Settings

_ENVIRONMENT: Final = Path("/etc/cached/environment")
_PREFIX: Final = "CACHED__"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class View(StrEnum):
    """From where it is looked: an operator's, or that of a pod that uses models."""

    NODE = "node"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Scene:
    """socket: the daemon's, of operators or of pods as the view is. model: one to look for from a pod.

    config: the file of settings, None without one. settings: None where they cannot be read, and then fault
    says why. variables: names of those of the environment that count for them. process: None where the daemon
    does not run, or cannot be looked into.
    """

    view: View
    socket: Path
    model: str = ""
    config: Path | None = None
    variables: tuple[str, ...] = ()
    settings: Settings | None = None
    fault: CachedError | None = None
    process: Process | None = None

    def seen(self, path: Path) -> Path:
        """Where what the daemon calls `path` is found from here."""
        return self.process.seen(path) if self.process else path

    def real(self, path: Path) -> Path:
        """The daemon's `path` without links, as far as they can be followed from here."""
        return path if self.process and self.process.elsewhere else path.resolve()

    @property
    def proc(self) -> Path:
        """Where the kernel tells of the daemon's process, or of this one where that is not seen."""
        return self.process.proc if self.process else Path("/proc/self")

    @contextmanager
    def operator(self) -> Iterator[OperatorClient]:
        """A client of the operators' socket. Raises Unreachable or Denied, soon."""
        with entered(self.socket) as (client, _):
            yield client


def view_of(said: str, *, configured: bool, operators: bool, pods: bool, account: bool) -> View:
    """said: the address that was given, empty without one. configured: a file of settings was named, or is in
    its usual place. operators, pods: such a socket is in its usual place. account: of Kubernetes.
    """
    if said:
        return View.NODE if configured or Path(said).parent.name == "operator" else View.POD
    if configured or operators:
        return View.NODE
    return View.POD if pods or account else View.NODE


def open_scene(address: str | None, config: Path | None, model: str, environ: Mapping[str, str]) -> Scene:
    """Find the daemon and its settings. Raises InvalidRequest for what is no address."""
    tried = candidates(address, operator=True, environ=environ)
    there = [path for path in tried if os.path.exists(path)]
    view = view_of(
        address or environ.get(VARIABLE, ""),
        configured=config is not None or USUAL.exists(),
        operators=any(path.parent.name == "operator" for path in there),
        pods=bool(there),
        account=SERVICE_ACCOUNT.exists(),
    )
    socket = next(iter(there), tried[0])
    if view is View.POD:
        return Scene(view, socket, model)
    if socket.parent.name == "pods":
        socket = socket.parent.parent / "operator" / socket.name
    scene = _with_settings(socket, config, environ)
    if scene.settings is not None and not there and len(tried) > 1:
        # Where the settings say, then; there may be a daemon, with variables of its own.
        socket = scene.settings.socket_directory / "operator" / "cached.sock"
        scene = _with_settings(socket, config, environ)
    return scene


def _with_settings(socket: Path, config: Path | None, environ: Mapping[str, str]) -> Scene:
    process = listener(socket)
    try:
        with daemons_part("read the daemon's settings"):
            from cached.config import settings
        try:
            variables = process.environment() if process else _of_unit()
            config = config or (process.config() if process else None)
        except OSError:  # of another user
            process, variables = None, _of_unit()
        if process is None:
            variables |= {name: value for name, value in environ.items() if name.startswith(_PREFIX)}
            config = config or (USUAL if USUAL.exists() else None)
        loaded = settings.load(config, variables)
    except CachedError as error:
        return Scene(View.NODE, socket, config=config, fault=error, process=process)
    counted = tuple(sorted(name for name in variables if name.startswith(_PREFIX)))
    return Scene(View.NODE, socket, "", config, counted, loaded, process=process)


def _of_unit() -> dict[str, str]:
    """What the systemd unit would give the daemon, of our variables."""
    try:
        lines = _ENVIRONMENT.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.strip().split("=", 1) for line in lines if line.strip().startswith(_PREFIX) and "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}
