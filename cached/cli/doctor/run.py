"""Checks, each in a process of its own: none can hold up, spoil or end another, or the whole.

A thread would not do: one that hangs in a dead filesystem keeps its process from ending.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Check, Examined, Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.client.errors import Unreachable
from cached.core.errors import CachedError

_READ: Final = 1 << 16
_MORE: Final = "see `cachectl status`, and the daemon's log"
_BUG: Final = "please report it; the other checks have gone on"


def examine(checks: Sequence[Check], scene: Scene, most_seconds: float) -> Iterator[Examined]:
    """All of them at the same time, told in their order, each as soon as it and those before it are done.

    This process must have no threads yet. most_seconds: bounds every check's own time.
    """
    with selectors.DefaultSelector() as selector:
        begun = [_Work(check, scene, most_seconds) for check in checks]
        for work in begun:
            selector.register(work.pipe, selectors.EVENT_READ, work)
        under_way, untold = begun, deque(begun)
        try:
            while untold:
                if under_way:
                    left = min(work.deadline for work in under_way) - time.monotonic()
                    for key, _ in selector.select(max(0.0, left)):
                        key.data.read()
                for work in under_way:
                    if work.over or work.is_late():
                        selector.unregister(work.pipe)
                        work.end()
                under_way = [work for work in under_way if not work.over]
                while untold and untold[0].over:
                    yield untold.popleft().examined()
        finally:
            for work in under_way:
                work.end()


class _Work:
    """A check under way, as the process that waits for it sees it. over: nothing more is to be read."""

    def __init__(self, check: Check, scene: Scene, most_seconds: float) -> None:
        self._check = check
        self._seconds = min(check.seconds, most_seconds)
        self._told = b""
        self._late = False
        self._status: int | None = None
        self.over = False
        self.pipe, theirs = os.pipe()
        self.deadline = time.monotonic() + self._seconds
        self._pid = os.fork()
        if not self._pid:
            _work(check, scene, theirs)
        os.close(theirs)

    def read(self) -> None:
        data = os.read(self.pipe, _READ)
        self._told += data
        if not data:
            self.over = True
            _, self._status = os.waitpid(self._pid, 0)

    def is_late(self) -> bool:
        self._late = self.over = time.monotonic() >= self.deadline
        return self._late

    def end(self) -> None:
        """Whatever it does. One that does not die of it is left behind."""
        os.close(self.pipe)
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, os.WNOHANG)

    def examined(self) -> Examined:
        *lines, rest = self._told.split(b"\n")
        findings = [Finding(**json.loads(line)) for line in lines]
        name, (likely, hint) = self._check.name, self._check.silence
        if self._late:
            message = f"no answer within {self._seconds:g} s{f': {likely}' if likely else ''}"
            findings.append(Finding("problem", name, message, hint))
        elif self._status or rest:
            code = os.waitstatus_to_exitcode(self._status or 0)
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            findings.append(Finding("problem", name, f"the check itself {ended}", _BUG))
        return Examined(name, tuple(findings))


def _work(check: Check, scene: Scene, pipe: int) -> None:
    """Look, tell, and end this process: it is a copy of another, whose end is not to run here."""
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # whatever a library or a program of others writes, or asks
            os.dup2(nowhere, number)
        for finding in told(check, scene):
            os.write(pipe, json.dumps(asdict(finding)).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


def told(check: Check, scene: Scene) -> Iterator[Finding]:
    """What the check finds, whatever it raises."""
    try:
        yield from check.look(scene)
    except Skipped as reason:
        yield Finding("skipped", check.name, str(reason))
    except Unreachable:  # which `sockets` tells
        yield Finding("skipped", check.name, "the daemon does not answer")
    except CachedError as error:
        yield Finding("problem", check.name, error.message, error.hint or _MORE)
    except PermissionError as error:
        what = error.filename or "what it looks at"
        yield Finding("skipped", check.name, f"this user may not look at {what}; run it as root")
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        yield Finding("problem", check.name, f"{what}{error.strerror or type(error).__name__}", _MORE)
    except Exception as error:  # its text may hold anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        yield Finding(
            "problem", check.name, f"the check itself failed: {type(error).__name__} at {where}", _BUG
        )
