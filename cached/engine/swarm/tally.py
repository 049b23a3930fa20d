"""What this node got from each of the others, and who may be asked."""

from __future__ import annotations

from collections import Counter

from cached.swarm.health import Health


class Tally:
    """Counts by member's address, for operators; `health` is one for all swarms of this node."""

    def __init__(self) -> None:
        self.health = Health()
        self.received: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def keep(self, members: frozenset[str]) -> None:
        """Forget those that are not members any more."""
        for counts in (self.received, self.failures):
            for member in counts.keys() - members:
                del counts[member]
