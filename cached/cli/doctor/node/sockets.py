"""Whether the daemon's two sockets are there, as the settings want them, and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cached.cli.doctor.door import Door, knock
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

_LOG: Final = "see its log: journalctl -u cached, or kubectl logs"
_STATUS: Final = "see why: systemctl status cached, or kubectl describe and kubectl logs"


def look(scene: Scene) -> Iterator[Finding]:
    operators = knock(scene.socket)
    pods = knock(scene.socket.parent.parent / "pods" / "cached.sock")
    sockets = scene.settings.sockets if scene.settings else None
    yield from judge(
        operators,
        pods,
        operators_mode=sockets.operator_mode if sockets else None,
        pods_mode=sockets.pods_mode if sockets else None,
        entrance=_entrance(pods),
    )


def judge(
    operators: Door, pods: Door, *, operators_mode: int | None, pods_mode: int | None, entrance: bool
) -> Iterator[Finding]:
    """The modes are those that the settings want; None where they cannot be read. entrance: every user gets
    through the directories above the pods' socket."""
    if operators.mode is None and pods.mode is None:
        yield Finding(
            "problem", "operators", f"the daemon does not run: no socket at {operators.path}", _STATUS
        )
        return
    yield from _of_door("operators", operators, operators_mode)
    if operators.fault is None or type(operators.fault) is not type(pods.fault):  # once is enough
        yield from _of_door("pods", pods, pods_mode)
    if pods_mode is not None and pods_mode & 0o002 and pods.mode is not None and not entrance:
        yield Finding(
            "warning",
            "pods",
            f"sockets.pods_mode lets every user connect, but not every user gets to {pods.path}",
            f"chmod o+x the directories above it, up from {pods.path.parent}",
        )


def _of_door(name: str, door: Door, wanted: int | None) -> Iterator[Finding]:
    if door.mode is None:
        yield Finding("problem", name, f"there is no socket at {door.path}, but the other one is there", _LOG)
    elif door.fault is not None:
        yield Finding("problem", name, door.fault.message, door.fault.hint)
    elif not door.serving:
        yield Finding(
            "problem",
            name,
            f"the daemon at {door.path} does not serve: it starts, stops, or has no disk",
            _LOG,
        )
    elif wanted is not None and door.mode != wanted:
        yield Finding(
            "warning",
            name,
            f"{door.path} has mode {door.mode:04o}, the settings say {wanted:04o}",
            "somebody has changed it, or the settings since the start: restart the daemon",
        )
    else:
        yield Finding("ok", name, f"{door.path} serves")


def _entrance(pods: Door) -> bool:
    return all(above.stat().st_mode & 0o001 for above in pods.path.parents if above.exists())
