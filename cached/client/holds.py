"""The leases that a client keeps alive: when to renew which, and what an answer means. No I/O."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import Final

from cached.client.errors import Cancelled, DaemonFault, NotVisible, TimedOut, Unreachable
from cached.client.grant import Grant, LeaseGrant
from cached.core.errors import CachedError, Draining, NotFound

log = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.25
LONGEST_RETRY: Final = 30.0


class Hold:
    """One tree under a lease, as long as its model is held.

    gone: the daemon said that the lease does not exist, so the tree is acquired again.
    lost: nothing holds the tree at the moment, and the daemon had an answer why.
    """

    __slots__ = (
        "busy",
        "due",
        "failures",
        "gone",
        "grant",
        "holder",
        "lease",
        "lost",
        "on_lost",
        "ref",
        "ttl",
    )

    def __init__(self, ref: str, ttl: float | None, holder: str, grant: Grant) -> None:
        self.ref = ref
        self.ttl = ttl
        self.holder = holder
        self.grant = grant
        self.lease = grant.lease
        self.on_lost: Callable[[], object] | None = None
        self.due = 0.0
        self.failures = 0
        self.gone = False
        self.lost = False
        self.busy = False


class Verdict(Enum):
    """What a failure means for a hold."""

    RETRY = "retry"
    REACQUIRE = "reacquire"
    LOST = "lost"


class Book:
    """All holds of one client. Not safe for threads: its owner locks.

    A hold is renewed at a third of its time to live, give or take a tenth, so that two renewals may
    fail before it expires and the pods of a node do not renew in step.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._holds: set[Hold] = set()
        self._jitter = jitter

    def add(self, hold: Hold, now: float) -> None:
        self._holds.add(hold)
        self._plan(hold, now)

    def remove(self, hold: Hold) -> bool:
        """Whether it was there."""
        there = hold in self._holds
        self._holds.discard(hold)
        return there

    def clear(self) -> list[Hold]:
        """Forget all, and return them."""
        holds = list(self._holds)
        self._holds.clear()
        return holds

    def take_due(self, now: float) -> list[Hold]:
        """Holds to renew, or to acquire again when `gone`. Each is busy until `kept` or `failed`."""
        due = [hold for hold in self._holds if not hold.busy and hold.due <= now]
        for hold in due:
            hold.busy = True
        return due

    def next_due(self) -> float:
        """When to look again; infinity when nothing is planned."""
        return min((hold.due for hold in self._holds if not hold.busy), default=math.inf)

    def kept(self, hold: Hold, lease: LeaseGrant, now: float) -> bool:
        """The daemon granted time, or a new lease. False when the hold was given up meanwhile."""
        hold.lease = lease
        hold.busy = hold.gone = hold.lost = False
        hold.failures = 0
        self._plan(hold, now)
        return hold in self._holds

    def failed(self, hold: Hold, error: CachedError, now: float) -> Verdict | None:
        """Say what to make of `error`, and plan the next attempt, if there is to be one.

        None when the hold was given up meanwhile.
        """
        hold.busy = False
        if hold not in self._holds:
            return None
        if not hold.gone and isinstance(error, NotFound):
            hold.gone = True
            hold.due = now
            return Verdict.REACQUIRE
        pause = min(LONGEST_RETRY, hold.lease.ttl / 3, FIRST_RETRY * 2**hold.failures)
        hold.due = now + pause * (0.75 + 0.5 * self._jitter())
        hold.failures = min(hold.failures + 1, 20)
        if not hold.gone or isinstance(error, Unreachable | Draining | TimedOut | Cancelled):
            return Verdict.RETRY  # nothing is evicted by a daemon that does not run
        if not error.retryable:
            self._holds.discard(hold)
        elif hold.lost:
            return Verdict.RETRY
        hold.lost = True
        return Verdict.LOST

    def _plan(self, hold: Hold, now: float) -> None:
        hold.due = now + hold.lease.ttl / 3 * (0.9 + 0.2 * self._jitter())


def as_failure(error: Exception) -> CachedError:
    """A bug must not end the keeping of all leases without a word: log it, and try again."""
    if isinstance(error, CachedError):
        return error
    log.exception("Keeping a lease failed on a bug.", exc_info=error)
    return DaemonFault(f"{type(error).__name__} while keeping a lease")


def moved(hold: Hold, grant: Grant) -> CachedError | None:
    """Why a new grant is no substitute for the hold's tree; None when it is."""
    if grant.tree == hold.grant.tree and grant.path == hold.grant.path:
        return None
    return NotVisible(
        f"{hold.ref} is another tree now ({grant.tree}); {hold.grant.path} is no longer held",
        hint="acquire it again to read the new one",
    )


def tell(hold: Hold, verdict: Verdict | None, error: CachedError) -> None:
    """Log what happened to a hold, and tell its owner of a loss. Never raises."""
    about = {"ref": hold.ref, "tree": hold.grant.tree, "lease": hold.lease.id, "reason": str(error)}
    match verdict:
        case Verdict.RETRY:
            log.info("a lease could not be renewed yet; trying on", extra=about)
        case Verdict.REACQUIRE:
            log.info("a lease has expired; acquiring the same tree again", extra=about)
        case Verdict.LOST:
            log.error("a model is no longer held: its files may be evicted", extra=about)
            if hold.on_lost:
                try:
                    hold.on_lost()
                except Exception:
                    log.exception("The callback for a lost model failed.", extra=about)
