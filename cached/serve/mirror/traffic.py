"""What is known of the blobs that are being sent, and of those that were in trouble lately. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from cached.core.digest import Digest

_MOST: Final = 256


class Traffic:
    """Times are monotonic, in seconds; those that are given never go back."""

    def __init__(self, trouble: float) -> None:
        """trouble: for how long a blob counts as troubled."""
        self._trouble = trouble
        self._streams: Counter[Digest] = Counter()
        self._moved: dict[Digest, float] = {}
        self._troubled: dict[Digest, float] = {}  # until when; soonest over first

    def enter(self, blob: Digest) -> None:
        """It is being sent to one more puller; pair with `leave`."""
        self._streams[blob] += 1

    def leave(self, blob: Digest) -> None:
        self._streams[blob] -= 1
        if not self._streams[blob]:
            del self._streams[blob]
            self._moved.pop(blob, None)

    def flows(self, blob: Digest) -> bool:
        """Whether it is being sent to anybody."""
        return blob in self._streams

    def moved(self, blob: Digest, now: float) -> None:
        """More bytes of a blob that is being sent are here."""
        self._moved[blob] = now

    def last_move(self, blob: Digest, begun: float) -> float:
        """When more of it was here last, for whomever; `begun` if not since."""
        return max(self._moved.get(blob, begun), begun)

    def upset(self, blob: Digest, now: float) -> None:
        """A puller of it was cut off since its bytes did not come."""
        self._troubled.pop(blob, None)
        self._troubled[blob] = now + self._trouble
        if len(self._troubled) > _MOST:
            del self._troubled[next(iter(self._troubled))]

    def troubled(self, blob: Digest, now: float) -> bool:
        """Whether it was in trouble lately: then nobody should wait for bytes that are not here."""
        return self._troubled.get(blob, now) > now
