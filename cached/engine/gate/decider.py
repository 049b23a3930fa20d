"""When the gate opens: pure, and never closed again but by another boot or another node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

_NAMED: Final = 5


class Reason(Enum):
    """Why a gate is open."""

    WARM = "warm"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the gate looks at. serving: whether the daemon does.

    wanted: how many models and images are to be warm; None while nobody knows which. missing: those that are
    not, by ref.
    """

    serving: bool
    wanted: int | None
    missing: Sequence[str] = ()

    @property
    def warm(self) -> bool:
        return self.wanted is not None and not self.missing


@dataclass(frozen=True, slots=True)
class Record:
    """What outlives the daemon. boot: of the machine. node: the object's uid, empty until it was seen.

    began: when the deadline began to run, in seconds of the machine's monotonic clock. opened: why, once the
    object says so.
    """

    boot: str
    node: str
    began: float
    opened: Reason | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Open for a reason, or closed without one. why: a sentence of its own."""

    reason: Reason | None
    why: str

    @property
    def open(self) -> bool:
        return self.reason is not None


class Decider:
    """Opens once all is warm, or at the deadline, but never before the daemon serves.

    The deadline runs from the first start after a boot, so that a daemon that is restarted time and again
    does not put it off. A new uid is a node that has joined anew, closed by whatever closes new nodes.
    """

    def __init__(self, deadline: float, boot: str, record: Record | None, now: float) -> None:
        """deadline: in seconds. now: of the monotonic clock, as everywhere here."""
        if record is None or record.boot != boot or record.began > now:
            record = Record(boot, "", now)
        self._deadline = deadline
        self.verdict = Verdict(None, "nothing was looked at yet")
        self.record = record
        if record.opened is not None:
            self.verdict = Verdict(record.opened, "opened before the daemon was restarted")

    def meet(self, uid: str, now: float) -> None:
        """The object was seen."""
        if self.record.node == uid:
            return
        if not self.record.node:
            self.record = replace(self.record, node=uid)
            return
        self.record = Record(self.record.boot, uid, now)
        self.verdict = Verdict(None, "the node has joined anew")

    def look(self, now: float, outlook: Outlook) -> Verdict:
        """Decide, unless it is decided."""
        if not self.verdict.open:
            self.verdict = self._decide(now, outlook)
        return self.verdict

    def opens_in(self, now: float) -> float:
        """Seconds to the deadline."""
        return max(0.0, self.record.began + self._deadline - now)

    def shown(self) -> None:
        """The object says that the gate is open."""
        self.record = replace(self.record, opened=self.verdict.reason)

    def _decide(self, now: float, outlook: Outlook) -> Verdict:
        if not outlook.serving:
            return Verdict(None, "the daemon does not serve")
        if outlook.warm:
            what = f"{outlook.wanted} of {outlook.wanted} models and images are warm"
            return Verdict(Reason.WARM, what if outlook.wanted else "nothing is to be warm")
        if self.opens_in(now) == 0:
            lack = _lack(outlook, "were")
            return Verdict(Reason.DEADLINE, f"the deadline of {self._deadline:.0f} s has passed, and {lack}")
        return Verdict(None, _lack(outlook, "are"))


def _lack(outlook: Outlook, verb: str) -> str:
    if outlook.wanted is None:
        return "no catalog was read that says what is to be warm"
    named = ", ".join(outlook.missing[:_NAMED])
    more = len(outlook.missing) - _NAMED
    named += f" and {more} more" if more > 0 else ""
    return f"{len(outlook.missing)} of {outlook.wanted} models and images {verb} not warm: {named}"
