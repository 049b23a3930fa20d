"""The request in force for one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from cached.core.clock import Clock
from cached.core.errors import SourceUnavailable
from cached.core.source import RangeRequest
from cached.transfer.answer import Refused
from cached.transfer.retry import Failed

# A request is opened anew this many seconds before it expires, or after nine tenths of a shorter life.
_SKEW: Final = 60.0

Opener = Callable[[], Awaitable[RangeRequest]]


class Opened:
    """Opens when first needed, and anew when the request expires or is refused; once for all who ask."""

    def __init__(self, opener: Opener, clock: Clock) -> None:
        self._opener = opener
        self._clock = clock
        self._request: RangeRequest | None = None
        self._use_until = float("inf")
        self._renewed = False
        self._lock = asyncio.Lock()

    @property
    def host(self) -> str:
        """Where the request in force leads first; empty before there is one."""
        return urlsplit(self._request.url).netloc if self._request else ""

    async def current(self) -> RangeRequest:
        """A request to use now. Raises what the opener raises, but Failed for SourceUnavailable."""
        async with self._lock:
            now = self._clock.now()
            if self._request is None or now >= self._use_until:
                try:
                    self._request = await self._opener()
                except SourceUnavailable as error:
                    raise Failed("open", error.message) from None
                expires_at = self._request.expires_at
                self._use_until = float("inf") if expires_at is None else _use_until(expires_at, now)
            return self._request

    def worked(self) -> None:
        """The source has served what was asked for."""
        self._renewed = False

    def refused(self, request: RangeRequest, refusal: Refused) -> None:
        """The source refused `request`: the next `current` opens anew if it has expired.

        Raises the refusal's error if it has not, or if the source refuses a new one too.
        """
        if request is not self._request:
            return  # somebody else has seen to it
        expired = refusal.expired or self._clock.now() >= self._use_until
        if self._renewed or not expired:
            raise refusal.error
        self._renewed = True
        self._request = None


def _use_until(expires_at: float, now: float) -> float:
    return expires_at - min(_SKEW, max(0.0, expires_at - now) / 10)
