"""Keeps this node's object as the gate wants it, for as long as the daemon runs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cached.core.clock import Clock
from cached.core.kubernetes import NodeObject, Unanswered
from cached.engine.gate import records
from cached.engine.gate.agenda import Agenda, Change, Pace, Read, Report, Rest, Step, Warm, Wish
from cached.engine.gate.decider import Decider, Outlook, Reason, Record
from cached.engine.views import GateState, GateView, ReadinessView
from cached.kit.pool import Pool
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GateOptions:
    """node: its name. deadline: in seconds, after which the gate opens though not all is warm."""

    node: str
    deadline: float
    wish: Wish


class GateKeeper:
    """Carries out an agenda. The API server may be away for as long as it likes: nobody else waits for it."""

    def __init__(
        self,
        options: GateOptions,
        node: NodeObject,
        record: Path,
        boot: str,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        """record: the file that tells the next daemon. boot: what names this boot of the machine."""
        self._options = options
        self._node = node
        self._record = record
        self._boot = boot
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self._pace = pace
        self._decider = Decider(options.deadline, boot, None, clock.monotonic())
        self._all_warm = False
        self._trouble = ""
        self._opened: Reason | None = None
        self._kept: Record | None = None
        self._unkept = False

    @property
    def view(self) -> GateView:
        opened = self._decider.record.opened
        return GateView(
            node=self._options.node,
            state=GateState(opened.value) if opened else GateState.CLOSED,
            opens_in=None if opened else self._decider.opens_in(self._clock.monotonic()),
            trouble=self._trouble,
        )

    def notices(self) -> Iterator[str]:
        """What an operator should know, in sentences."""
        if self._trouble:
            yield f"node {self._options.node} can be neither opened nor labelled: {self._trouble}"
        if self._opened is Reason.DEADLINE and not self._all_warm:
            yield (
                f"node {self._options.node} was opened by the deadline, and not all is warm:"
                " cachectl node ready says what is not"
            )

    async def run(
        self,
        readiness: Callable[[], ReadinessView],
        warm: Warm,
        serving: Callable[[], bool],
    ) -> None:
        """Forever. serving: whether the daemon tells others that it serves."""
        files = Pool("gate", 1)
        try:
            self._kept = await files.run(records.load, self._record)
            now = self._clock.monotonic()
            self._decider = Decider(self._options.deadline, self._boot, self._kept, now)
            self._show(self._decider.record.opened)
            agenda = Agenda(self._options.wish, self._decider, self._rng, self._pace, now)
            while True:
                outlook = _outlook(readiness(), serving())
                self._all_warm = outlook.warm
                step = agenda.next(self._clock.monotonic(), outlook, warm)
                self._tell_opening()
                await self._keep(files)
                await self._take(step, agenda)
                self._tell_trouble(agenda.trouble)
        finally:
            files.close()

    async def _take(self, step: Step, agenda: Agenda) -> None:
        try:
            match step:
                case Rest(seconds):
                    await asyncio.sleep(seconds)
                    return
                case Read():
                    seen = await self._node.read()
                case Change(labels, without_taint):
                    seen = await self._node.change(labels, without_taint)
                case Report(condition):
                    seen = await self._node.report(condition)
        except Unanswered as error:
            self._metrics.gate_failures.labels(reason="refused" if error.refused else "unanswered").inc()
            agenda.failed(error, self._clock.monotonic())
        else:
            agenda.saw(seen, self._clock.monotonic())

    async def _keep(self, files: Pool) -> None:
        """Write the record down for the next daemon. A full disk must not stop this one."""
        record = self._decider.record
        if record == self._kept:
            return
        try:
            await files.run(records.save, self._record, record)
        except OSError as error:
            if not self._unkept:
                log.warning(
                    "the gate's state cannot be kept for the next start; trying again",
                    extra={"path": str(self._record), "reason": error.strerror},
                )
            self._unkept = True
        else:
            self._kept, self._unkept = record, False

    def _tell_opening(self) -> None:
        opened = self._decider.record.opened
        if opened is self._opened:
            return
        self._show(opened)
        if opened is not None:
            tell = log.warning if opened is Reason.DEADLINE else log.info
            tell(
                "this node is open to pods",
                extra={
                    "node": self._options.node,
                    "reason": opened.value,
                    "detail": self._decider.verdict.why,
                },
            )

    def _tell_trouble(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        about = {"node": self._options.node}
        if trouble:
            log.warning(
                "this node's object is not as wanted; trying again", extra={**about, "reason": trouble}
            )
        else:
            log.info("this node's object is as wanted again", extra=about)

    def _show(self, opened: Reason | None) -> None:
        self._opened = opened
        self._metrics.gate_open.clear()
        self._metrics.gate_open.labels(reason=opened.value if opened else "waiting").set(opened is not None)


def _outlook(view: ReadinessView, serving: bool) -> Outlook:
    return Outlook(serving and view.serving, view.wanted, tuple(each.ref for each in view.missing))
