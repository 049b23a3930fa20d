"""Moments in a daemon's work, seen from outside: on its disk, and in what it asks of its source."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers.faulty import FaultyServer

_LONGEST = 1.2

Seen = Callable[[], bool]


class Moments:
    """Waits for a moment in the life of the daemon at `root`, drawn from `rng`.

    Long steps are met by chance. Of short ones the traces on disk are watched, and a random instant after
    them is taken. A moment that does not come is over after a second or so.
    """

    def __init__(self, root: Path, server: FaultyServer, rng: random.Random) -> None:
        self._root = root
        self._server = server
        self._rng = rng

    def plan(self) -> tuple[str, Callable[[], None]]:
        """What the next moment is, for people, and how to wait for it; called before the work begins."""
        name, prepare = self._rng.choice(
            [
                ("some time", self._some_time),
                ("a request", self._request),
                ("a tree being built or removed", self._draft),
                ("a tree coming or going", self._publication),
                ("a blob coming into place", self._commit),
            ]
        )
        seen = prepare()
        after = self._rng.uniform(0, 0.004)

        def wait() -> None:
            deadline = time.monotonic() + _LONGEST
            while time.monotonic() < deadline and not seen():
                time.sleep(0.0001)
            time.sleep(after)

        return name, wait

    def _some_time(self) -> Seen:
        end = time.monotonic() + self._rng.uniform(0, 1.0)
        return lambda: time.monotonic() >= end

    def _request(self) -> Seen:
        count = self._rng.randrange(1, 25)
        return lambda: len(self._server.requests("*/*/*")) >= count

    def _draft(self) -> Seen:
        drafts = self._root / "stage" / "trees"
        return lambda: bool(os.listdir(drafts))

    def _publication(self) -> Seen:
        trees = self._root / "trees"
        before = os.listdir(trees)
        return lambda: os.listdir(trees) != before

    def _commit(self) -> Seen:
        """Its data has left the stage, its journal not yet."""
        stages = self._root / "stage"
        passed = self._rng.randrange(0, 4)
        met: set[str] = set()

        def seen() -> bool:
            for stage in os.listdir(stages):
                place = stages / stage
                if (place / "journal").exists() and not (place / "data").exists():
                    met.add(stage)
            return len(met) > passed

        return seen
