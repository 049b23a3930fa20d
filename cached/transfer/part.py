"""One chunk on its way through a buffer into its sink."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from cached.core.clock import Clock
from cached.core.errors import Denied, NotFound, SourceChanged
from cached.core.sink import Buffer, ChunkSink
from cached.kit.bucket import Bucket
from cached.kit.filepin import file_pin
from cached.transfer.address import Call
from cached.transfer.answer import Answer, Take, Verdict, Wanted, judge
from cached.transfer.channel import Channel
from cached.transfer.retry import Failed

_SLICE: Final = 1 << 20
_PACED_SLICE: Final = 1 << 16  # small, so that bytes held back to a rate come evenly

Judge = Callable[[Answer, Wanted, float], Verdict]


class Mismatch(Exception):
    """A chunk has another BLAKE3 than it should have. It was not stored."""


@dataclass(slots=True)
class Part:
    """Chunk `index` of the blob that `sink` makes, to be received into `buffer`. Methods block.

    expected: its BLAKE3 when it is known before; `blake3` is the one it has, once stored. rate: bytes per
    second to receive it at, at most; 0 for no bound.
    """

    sink: ChunkSink
    index: int
    buffer: Buffer
    expected: bytes | None = None
    rate: float = 0.0
    blake3: bytes = field(init=False, default=b"")

    def store(self) -> None:
        """Take the BLAKE3 while the bytes are still in the buffer, and hand both to the sink.

        Raises Mismatch instead when it is not the one expected.
        """
        self.blake3 = blake3(self.buffer.view).digest()
        if self.expected is not None and self.blake3 != self.expected:
            raise Mismatch
        self.sink.put(self.index, self.buffer, self.blake3)

    def pieces(self, clock: Clock, rest: Callable[[float], object]) -> Iterator[memoryview]:
        """The buffer's pieces in order, each when it may be received; `rest` waits for so many seconds."""
        view = self.buffer.view
        if not self.rate:
            yield view
            return
        bucket = Bucket(self.rate)
        for at in range(0, len(view), _PACED_SLICE):
            rest(max(0.0, bucket.ready_at - clock.monotonic()))
            piece = view[at : at + _PACED_SLICE]
            bucket.charge(len(piece), clock.monotonic())
            yield piece


def get_range(
    channel: Channel, call: Call, wanted: Wanted, part: Part, clock: Clock, judged: Judge = judge
) -> Verdict:
    """GET the bytes of `part`; they are stored when the verdict is Take."""
    verdict = begin(channel, call, wanted, clock, judged)
    if isinstance(verdict, Take):
        for piece in part.pieces(clock, channel.rest):
            channel.fill(piece)
        channel.finish()
        part.store()
    return verdict


def begin(channel: Channel, call: Call, wanted: Wanted, clock: Clock, judged: Judge = judge) -> Verdict:
    """GET; when the verdict is Take or Whole, the body waits to be received."""
    last = wanted.offset + wanted.length - 1
    answer = channel.ask(call, (wanted.offset, last) if wanted.ranged else None)
    return judged(answer, wanted, clock.now())


def receive(channel: Channel, part: Part, needed: bool) -> None:
    """Take the next chunk off a body that holds all of them; store it if it is `needed`."""
    channel.fill(part.buffer.view)
    if needed:
        part.store()


class FileReader:
    """Reads one chunk of a local file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cut = threading.Event()

    def cut(self) -> None:
        self._cut.set()

    def get(self, path: str, wanted: Wanted, part: Part) -> None:
        """Read the bytes of `part` and store them; the file must be the pinned one before and after.

        Raises NotFound, Denied, SourceChanged, or Failed when reading fails otherwise.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in its place must not hold us
            try:
                _check_pin(fd, wanted)
                offset = wanted.offset
                for piece in part.pieces(self._clock, self._cut.wait):
                    self._read(fd, wanted, offset, piece)
                    offset += len(piece)
                _check_pin(fd, wanted)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise NotFound(f"{wanted.label} is not there any more", hint="ask for the model again") from None
        except PermissionError:
            raise Denied(
                f"{wanted.label} may not be read by this daemon", hint="see the file's permissions"
            ) from None
        except OSError as error:
            raise Failed("network", f"reading failed: {error.strerror}") from None
        part.store()

    def _read(self, fd: int, wanted: Wanted, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            if self._cut.is_set():
                raise Failed("slow", "it took too long over all")
            count = os.preadv(fd, [view[done : done + _SLICE]], offset + done)
            if count == 0:
                raise _changed(wanted)
            done += count


def _check_pin(fd: int, wanted: Wanted) -> None:
    status = os.fstat(fd)
    if status.st_size != wanted.size or (wanted.etag and file_pin(status) != wanted.etag):
        raise _changed(wanted)


def _changed(wanted: Wanted) -> SourceChanged:
    return SourceChanged(f"{wanted.label} changed while it was fetched")
