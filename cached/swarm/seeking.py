"""Which coordinator a participant turns to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cached.core.digest import Digest
from cached.swarm.rendezvous import ranking

_NEVER: Final = float("inf")
_SHUN_FIRST, _SHUN_LONGEST = 4.0, 60.0
_AGAIN, _LOSSES = 3.0, 3  # one that is lost so often, each time within so many seconds, is given up


class Seeking:
    """The ranking of the members, who of them did not answer lately, and how the one chosen does.

    Times in seconds. A member that fails is passed over for 4 s, then twice as long each time, up to a
    minute. answer_by: when the one chosen must have said Welcome, or, `resting` since all failed lately, when
    one may be tried again. unanswered_since: when the first was chosen
    of those that did not answer; None while one does.
    """

    def __init__(self, tree: Digest, me: str, patience: float) -> None:
        """`patience`: how long one may take to say Welcome."""
        self.chosen: str | None = None
        self.welcomed = False
        self.resting = False
        self.answer_by = _NEVER
        self.unanswered_since: float | None = None
        self._tree = tree
        self._me = me
        self._patience = patience
        self._ranking = [me]
        self._shunned: dict[str, tuple[float, float]] = {}
        self._lost_at = 0.0
        self._losses = 0

    def members(self, addresses: Iterable[str]) -> None:
        """The members of now; this node is always one."""
        self._ranking = ranking(self._tree, [*addresses, self._me])
        known = set(self._ranking)
        self._shunned = {member: shun for member, shun in self._shunned.items() if member in known}

    def choose(self, now: float) -> str | None:
        """Turn to the first that is not shunned; None when all are, this node too: then rest."""
        first = self._first(now)
        self.welcomed = False
        self.resting = first is None
        if self.unanswered_since is None:
            self.unanswered_since = now
        if first is None:
            self.answer_by = min(until for until, _ in self._shunned.values())
        else:
            self.chosen = first
            self.answer_by = now + self._patience
        return first

    def answered(self) -> None:
        """The one chosen said Welcome."""
        assert self.chosen is not None
        self.good(self.chosen)
        self.welcomed = True
        self.resting = False
        self.answer_by = _NEVER
        self.unanswered_since = None

    def lost(self, now: float) -> bool:
        """Its stream ended; whether that is reason to give it up.

        Streams break for small reasons, and two coordinators are worse than one that stumbles.
        """
        self._losses = self._losses + 1 if now < self._lost_at + _AGAIN else 1
        self._lost_at = now
        return self._losses >= _LOSSES

    def shun(self, now: float, member: str) -> None:
        self._losses = 0
        if member not in self._ranking:  # it left meanwhile, and nobody waits for it
            return
        _, before = self._shunned.get(member, (0.0, _SHUN_FIRST / 2))
        seconds = min(2 * before, _SHUN_LONGEST)
        self._shunned[member] = now + seconds, seconds

    def good(self, member: str) -> None:
        self._shunned.pop(member, None)

    def has_better(self, now: float) -> bool:
        """Whether another than the one chosen is to be turned to now."""
        first = self._first(now)
        return first is not None and (self.resting or first != self.chosen)

    def to_knock(self, now: float) -> list[str]:
        """Those before the one chosen whose time has come to be asked whether they are back."""
        if self.chosen not in self._ranking:
            return []
        before = self._ranking[: self._ranking.index(self.chosen)]
        back = [member for member in before if not self._is_shunned(now, member)]
        for member in back:
            self.shun(now, member)
        return back

    def _first(self, now: float) -> str | None:
        return next((member for member in self._ranking if not self._is_shunned(now, member)), None)

    def _is_shunned(self, now: float, member: str) -> bool:
        return now < self._shunned.get(member, (0.0, 0.0))[0]
