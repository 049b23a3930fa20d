"""Requests out of a stream of bytes."""

from __future__ import annotations

import time
from typing import Final

from cached.serve.peer.data.channel import Channel
from cached.serve.peer.data.request import MOST_BYTES

_END: Final = b"\r\n\r\n"


class Inbox:
    """What has come over a channel and was not asked for yet: at most one request's head, and a little."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._here = bytearray()

    def wait(self, seconds: float) -> bool:
        """Whether another request begins within `seconds`; False when the other end is done.

        Raises TimeoutError, OSError.
        """
        if not self._here:
            self._here += self._channel.receive(MOST_BYTES, seconds)
        return bool(self._here)

    def take(self, seconds: float) -> bytes:
        """The head of the request that has begun, without the empty line; of a longer one MOST_BYTES.

        Raises OSError when it does not come within `seconds`.
        """
        due = time.monotonic() + seconds
        seen = 0
        while (end := self._here.find(_END, max(seen - len(_END), 0), MOST_BYTES)) < 0:
            if len(self._here) >= MOST_BYTES:
                return bytes(self._here)
            seen = len(self._here)
            more = self._channel.receive(MOST_BYTES - seen, due - time.monotonic())
            if not more:
                raise ConnectionError
            self._here += more
        head = bytes(self._here[:end])
        del self._here[: end + len(_END)]
        return head
