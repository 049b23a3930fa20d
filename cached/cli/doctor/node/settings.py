"""Whether the daemon's settings can be read, and are those that it runs with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import CachedError

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import StatusResponse

_RESTART: Final = (
    "systemctl restart cached, or kubectl rollout restart; with another one, cachectl doctor --config"
)
_PATIENCE: Final = 2.0


def look(scene: Scene) -> Iterator[Finding]:
    if scene.fault is not None:
        raise scene.fault
    written = scene.config.stat().st_mtime if scene.config else None
    yield from judge(scene, written, status_of(scene))


def judge(scene: Scene, written: float | None, status: StatusResponse | None) -> Iterator[Finding]:
    """written: when the file was, in Unix time. status: None while no daemon answers."""
    assert scene.settings is not None
    where = str(scene.config) if scene.config else "no file"
    if status is not None and status.root != str(scene.settings.root):
        yield Finding(
            "warning",
            where,
            f"the daemon runs with others: its root is {status.root}, not {scene.settings.root}",
            "name its own file with --config",
        )
    elif status is not None and written is not None and written > status.start_time.seconds + 1:
        yield Finding(
            "warning", where, "was changed after the daemon started, which has not read that", _RESTART
        )
    else:
        count = len(scene.variables)
        more = f" and {count} variable{'s' * (count > 1)} of its environment" if count else ""
        yield Finding("ok", where, f"{where}{more}")


def status_of(scene: Scene) -> StatusResponse | None:
    """What the daemon says of itself; None where it does not, which `sockets` tells."""
    try:
        with scene.operator() as operator:
            return operator.status(timeout=_PATIENCE)
    except CachedError:
        return None
