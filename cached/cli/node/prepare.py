"""From a wish to a node that is as wished: look, plan, do, and look again."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cached.cli.node.look import look
from cached.cli.node.plan import Plan, plan
from cached.cli.node.steps import Run, Step
from cached.cli.node.tools import run
from cached.cli.node.wish import Wish
from cached.core.errors import CachedError, Denied, DiskFault
from cached.kit.durable import write_atomic

_LOCK: Final = Path("/run/cached-node-init.lock")
# Assembling what an earlier run has made, making a filesystem on it, and seeing that it is mounted.
_ROUNDS: Final = 3

Tell = Callable[[Step], None]


def planned(wish: Wish) -> Plan:
    """What would be done now."""
    return plan(look(wish), wish, str(uuid.uuid4()))


def prepare(wish: Wish, tell: Tell) -> Plan:
    """Do it: the first plan's reasons, with all the steps that were done.

    Raises what `plan` and `do` raise, and DiskFault when all is done and the mount is not there.
    """
    first = current = planned(wish)
    done: list[Step] = []
    for _ in range(_ROUNDS):
        if not current.steps:
            return Plan(tuple(done), first.settled, first.left)
        for step in current.steps:
            tell(step)
            do(step)
            done.append(step)
        current = planned(wish)
    raise DiskFault(
        f"{wish.root} is not mounted after all steps", hint="see what `cachectl node-init --dry-run` says"
    )


def do(step: Step, fault: type[CachedError] = DiskFault) -> None:
    """Do one step. Raises `fault` when it fails, NotConfigured where a program is missing."""
    if isinstance(step, Run):
        run(step.command, fault, step.hint)
        return
    try:
        step.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(step.path, step.text.encode())
    except OSError as error:
        raise fault(f"cannot write {step.path}: {error.strerror}") from None


@contextmanager
def alone() -> Iterator[None]:
    """One run at a time; another one is waited for. Raises Denied for anybody but root."""
    if os.geteuid() != 0:
        raise Denied("disks and units are root's", hint="run it as root, or look with --dry-run")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
