"""What to ask of the API server about this node, and when: pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cached.core.kubernetes import Condition, NodeView, Unanswered
from cached.engine.gate.decider import Decider, Outlook, Reason, Verdict
from cached.engine.gate.labels import changes

_LOOK_EVERY: Final = 1.0
"""Seconds between two decisions, while the gate is closed."""

_REASONS: Final = {None: "NotWarm", Reason.WARM: "Warm", Reason.DEADLINE: "DeadlinePassed"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the object is to say. taint: the key that is taken away when the gate opens, empty for none.

    condition: the type that tells whether it is open, empty for none. prefix: of the labels, at most `most`.
    """

    taint: str
    condition: str
    prefix: str
    most: int


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds: least and most of what is chosen at random, so that a thousand nodes that boot, get warm or
    read another catalog at one moment do not ask at one moment.

    opening: from the start, and from the decision. labels: between two changes of labels alone. reread:
    between two looks at the object. retry: first and longest pause after a failure. refused: the longest
    where rights are missing.
    """

    opening: tuple[float, float] = (0.0, 5.0)
    labels: tuple[float, float] = (30.0, 60.0)
    reread: tuple[float, float] = (600.0, 1200.0)
    retry: tuple[float, float] = (1.0, 60.0)
    refused: float = 600.0


@dataclass(frozen=True, slots=True)
class Read:
    """See NodeObject.read."""


@dataclass(frozen=True, slots=True)
class Change:
    """See NodeObject.change."""

    labels: dict[str, str | None]
    without_taint: str


@dataclass(frozen=True, slots=True)
class Report:
    """See NodeObject.report."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Rest:
    """Ask nothing for so many seconds."""

    seconds: float


Step = Read | Change | Report | Rest

Warm = Callable[[], Sequence[str]]
"""Models of the catalog that are warm, those that matter most first."""


class Agenda:
    """One step after the other: `next` names it, then `saw` or `failed` tells what came of it.

    The object is opened once: a taint that somebody puts on later stays, and so does a condition.
    """

    def __init__(self, wish: Wish, decider: Decider, rng: random.Random, pace: Pace, now: float) -> None:
        self._wish = wish
        self._decider = decider
        self._rng = rng
        self._pace = pace
        self._node: NodeView | None = None
        self._asked: Step = Rest(0)
        self._not_before = now + rng.uniform(*pace.opening)
        self._read_at = now
        self._labels_at = now + rng.uniform(*pace.labels)
        self._open_at: float | None = now
        self._pause = 0.0
        self.trouble = ""

    def next(self, now: float, outlook: Outlook, warm: Warm) -> Step:
        verdict = self._decider.look(now, outlook)
        self._asked = self._next(now, verdict, warm)
        return self._asked

    def saw(self, node: NodeView, now: float) -> None:
        """The last step was answered, and the object is like this now."""
        self._decider.meet(node.uid, now)
        if not _done(self._asked, node):
            self.failed(Unanswered("what was changed is undone at once; does a webhook do that?"), now)
            return
        self._node = node
        self._read_at = now + self._rng.uniform(*self._pace.reread)
        if not isinstance(self._asked, Read):  # which says nothing about rights to change it
            self._calm()

    def failed(self, error: Unanswered, now: float) -> None:
        """The last step was not answered, or not done."""
        first, most = self._pace.retry
        self._pause = min(max(first, 2 * self._pause), self._pace.refused if error.refused else most)
        pause = max(self._pause * self._rng.uniform(0.75, 1.25), error.after * self._rng.uniform(1.0, 1.5))
        self._not_before = now + pause
        self._node = None
        self.trouble = str(error)

    def _next(self, now: float, verdict: Verdict, warm: Warm) -> Step:
        soon = now + _LOOK_EVERY
        if now < self._not_before:
            return Rest(min(self._not_before, soon) - now)
        if self._node is None or now >= self._read_at:
            return Read()
        if self._decider.record.opened is None:
            step = self._opening(now, verdict, self._node, warm)
            if step is not None:
                return step
        if now >= self._labels_at:
            if labels := self._labels(self._node, warm):
                return Change(labels, "")
            self._labels_at = now + self._rng.uniform(*self._pace.labels)
        self._calm()
        wake = min(self._read_at, self._labels_at)
        return Rest((min(wake, soon) if self._decider.record.opened is None else wake) - now)

    def _opening(self, now: float, verdict: Verdict, node: NodeView, warm: Warm) -> Change | Report | None:
        """The next step to show the verdict; None when it is shown, or its time has not come."""
        if not verdict.open:
            self._open_at = None
        else:
            if self._open_at is None:
                self._open_at = now + self._rng.uniform(*self._pace.opening)
            if now < self._open_at:
                return None
            if self._wish.taint in node.taints:
                return Change(self._labels(node, warm), self._wish.taint)
        if self._wish.condition:
            condition = Condition(self._wish.condition, verdict.open, _REASONS[verdict.reason], verdict.why)
            if node.conditions.get(condition.type) != condition:
                return Report(condition)
        if verdict.open:
            self._decider.shown()
        return None

    def _labels(self, node: NodeView, warm: Warm) -> dict[str, str | None]:
        return changes(node.labels, self._wish.prefix, warm(), self._wish.most)

    def _calm(self) -> None:
        self._pause, self.trouble = 0.0, ""


def _done(step: Step, node: NodeView) -> bool:
    """Whether the object shows it."""
    match step:
        case Change(labels, taint):
            return taint not in node.taints and all(node.labels.get(key) == labels[key] for key in labels)
        case Report(condition):
            return node.conditions.get(condition.type) == condition
    return True
