"""An API server with one node, as values: what an agenda's steps lead to, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from cached.core.kubernetes import Condition, NodeView, Unanswered
from cached.engine.gate.agenda import Agenda, Change, Pace, Read, Report, Rest, Step, Wish
from cached.engine.gate.decider import Decider, Outlook

TAINT = "cached.dev/not-ready"
FOREIGN = "nvidia.com/gpu"
CONDITION = "cached.dev/Ready"
PREFIX = "model.cached.dev/"
DEADLINE = 600.0
BOTH = Wish(TAINT, CONDITION, PREFIX, 3)

COLD = Outlook(serving=True, wanted=2, missing=("a",))
WARM = Outlook(serving=True, wanted=2)
AWAY = Outlook(serving=False, wanted=None)


def joined(uid: str = "uid-1") -> NodeView:
    """A node as it joins: tainted."""
    return NodeView(uid, frozenset({TAINT, FOREIGN}), {"zone": "a"}, {"Ready": READY})


READY = Condition("Ready", True, "KubeletReady", "")


class Cluster:
    """Takes steps one after the other. `asked` are those that were sent, with their times.

    A stubborn one undoes at once whatever it lets in.
    """

    def __init__(self, wish: Wish = BOTH, seed: int = 1, pace: Pace = Pace()) -> None:  # noqa: B008 - frozen
        self.wish = wish
        self.pace = pace
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.boot = "boot-1"
        self.node = joined()
        self.outlook = COLD
        self.warm: list[str] = []
        self.down: Unanswered | None = None
        self.may_change = True
        self.stubborn = False
        self.asked: list[tuple[float, Step]] = []
        self.begin(None)

    def begin(self, decider: Decider | None) -> None:
        """Start the daemon, with what the record of an earlier one says."""
        record = decider.record if decider is not None else None
        self.decider = Decider(DEADLINE, self.boot, record, self.now)
        self.agenda = Agenda(self.wish, self.decider, self.rng, self.pace, self.now)
        self.wake = self.now

    def run(self, seconds: float, look: Callable[[Step], None] = lambda step: None) -> list[Step]:
        """What was sent within so many seconds. `look` is called after each step, rests too."""
        until, before = self.now + seconds, len(self.asked)
        while self.wake <= until:
            self.now = self.wake
            look(self._step())
        self.now = until
        return [step for _, step in self.asked[before:]]

    def _step(self) -> Step:
        step = self.agenda.next(self.now, self.outlook, lambda: self.warm)
        if isinstance(step, Rest):
            assert step.seconds > 0
            self.wake = self.now + step.seconds
            return step
        self.asked.append((self.now, step))
        self.wake = self.now + 0.01
        error = self._error(step)
        if error is not None:
            self.agenda.failed(error, self.now)
        else:
            self.node = self.node if self.stubborn else after(self.node, step)
            self.agenda.saw(self.node, self.now)
        return step

    def _error(self, step: Step) -> Unanswered | None:
        if self.down is not None or isinstance(step, Read):
            return self.down
        if not self.may_change:
            return Unanswered("HTTP 403: no", refused=True)
        if self.node.uid != self.decider.record.node:
            return Unanswered("HTTP 422: the uid is another", refused=True)
        return None


def after(node: NodeView, step: Step) -> NodeView:
    """The object once the step was done."""
    match step:
        case Change(labels, without):
            return replace(node, labels=merged(node.labels, labels), taints=node.taints - {without})
        case Report(condition):
            return replace(node, conditions={**node.conditions, condition.type: condition})
    return node


def merged(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """As a merge patch does it."""
    both = {**labels, **changes}
    return {key: value for key, value in both.items() if value is not None}
