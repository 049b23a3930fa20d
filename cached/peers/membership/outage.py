"""A time in which nobody says who the members are."""

from __future__ import annotations

import logging

from cached.core.clock import Clock

log = logging.getLogger(__name__)


class Outage:
    """Logs once when it begins and once when it is over, however often it is noticed."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._since: float | None = None

    def noticed(self, why: str) -> None:
        """Nobody answers, or not usefully; `why` holds no credential."""
        if self._since is None:
            self._since = self._clock.monotonic()
            log.warning(
                "it is unknown who the members are; those known last are kept",
                extra={"source": self._source, "reason": why},
            )

    def over(self) -> None:
        """There is an answer."""
        if self._since is not None:
            seconds = round(self._clock.monotonic() - self._since, 1)
            self._since = None
            log.info(
                "it is known again who the members are", extra={"source": self._source, "seconds": seconds}
            )
