"""What is known of the blobs that are being sent, and of those that were in trouble lately. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cached.core.digest import Digest

_MOST: Final = 256


@dataclass(slots=True, eq=False)
class Stream:
    """A blob that is being sent to one puller. offset: of the next byte to send."""

    blob: Digest
    offset: int


class Traffic:
    """Times are monotonic, in seconds; those that are given never go back."""

    def __init__(self, stall: float, trouble: float) -> None:
        """stall: for how long a blob flows of which no more arrives; trouble: for how long it is troubled."""
        self._stall = stall
        self._trouble = trouble
        self._streams: dict[Digest, list[Stream]] = {}
        self._moved: dict[Digest, float] = {}  # longest ago first
        self._troubled: dict[Digest, float] = {}  # until when; soonest over first
        self._unreadable: set[Digest] = set()  # of those

    def enter(self, stream: Stream) -> None:
        """It begins; pair with `leave`."""
        self._streams.setdefault(stream.blob, []).append(stream)

    def leave(self, stream: Stream) -> None:
        self._streams[stream.blob].remove(stream)
        if not self._streams[stream.blob]:
            del self._streams[stream.blob]

    def flows(self, blob: Digest, now: float) -> bool:
        """Whether it is being sent to anybody, or was until just now and without trouble."""
        lately = self._moved.get(blob, now - self._stall) > now - self._stall
        return blob in self._streams or (lately and not self.troubled(blob, now))

    def is_behind(self, stream: Stream) -> bool:
        """Whether another puller of the blob gets bytes that come before those of this one."""
        return any(other.offset < stream.offset for other in self._streams[stream.blob])

    def moved(self, blob: Digest, now: float) -> None:
        """More bytes of a blob that is being sent are here."""
        self._moved.pop(blob, None)
        self._moved[blob] = now
        if len(self._moved) > _MOST:
            del self._moved[next(iter(self._moved))]

    def last_move(self, blob: Digest, begun: float) -> float:
        """When more of it was here last, for whomever; `begun` if not since."""
        return max(self._moved.get(blob, begun), begun)

    def upset(self, blob: Digest, now: float, *, unreadable: bool) -> None:
        """A puller of it was cut off. unreadable: though its bytes are here."""
        self._forget(now)
        self._troubled.pop(blob, None)
        self._troubled[blob] = now + self._trouble
        if unreadable:
            self._unreadable.add(blob)
        if len(self._troubled) > _MOST:
            self._drop(next(iter(self._troubled)))

    def troubled(self, blob: Digest, now: float) -> bool:
        """Whether it was in trouble lately: then nobody should wait for bytes that are not here."""
        self._forget(now)
        return blob in self._troubled

    def unreadable(self, blob: Digest, now: float) -> bool:
        """Whether it is in trouble even if it is here."""
        self._forget(now)
        return blob in self._unreadable

    def _forget(self, now: float) -> None:
        for blob in [blob for blob, until in self._troubled.items() if until <= now]:
            self._drop(blob)

    def _drop(self, blob: Digest) -> None:
        del self._troubled[blob]
        self._unreadable.discard(blob)
