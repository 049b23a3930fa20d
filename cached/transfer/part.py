"""One chunk on its way through a buffer into its sink."""

from __future__ import annotations

import os
from dataclasses import dataclass

from blake3 import blake3

from cached.core.clock import Clock
from cached.core.errors import Denied, NotFound, SourceChanged
from cached.core.sink import Buffer, ChunkSink
from cached.kit.filepin import file_pin
from cached.transfer.address import Call
from cached.transfer.answer import Take, Verdict, Wanted, judge
from cached.transfer.channel import Channel
from cached.transfer.retry import Failed

_SLICE = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Chunk `index` of the blob that `sink` makes, to be received into `buffer`. Methods block."""

    sink: ChunkSink
    index: int
    buffer: Buffer

    def store(self) -> None:
        """Take the BLAKE3 while the bytes are still in the buffer, and hand both to the sink."""
        digest = blake3(self.buffer.view).digest()
        self.sink.put(self.index, self.buffer, digest)


def get_range(channel: Channel, call: Call, wanted: Wanted, part: Part, clock: Clock) -> Verdict:
    """GET the bytes of `part`; they are stored when the verdict is Take."""
    verdict = begin(channel, call, wanted, clock)
    if isinstance(verdict, Take):
        channel.fill(part.buffer.view)
        channel.finish()
        part.store()
    return verdict


def begin(channel: Channel, call: Call, wanted: Wanted, clock: Clock) -> Verdict:
    """GET; when the verdict is Take or Whole, the body waits to be received."""
    last = wanted.offset + wanted.length - 1
    answer = channel.ask(call, (wanted.offset, last) if wanted.ranged else None)
    return judge(answer, wanted, clock.now())


def receive(channel: Channel, part: Part, needed: bool) -> None:
    """Take the next chunk off a body that holds all of them; store it if it is `needed`."""
    channel.fill(part.buffer.view)
    if needed:
        part.store()


class FileReader:
    """Reads one chunk of a local file."""

    def __init__(self) -> None:
        self._cut = False

    def cut(self) -> None:
        self._cut = True

    def get(self, path: str, wanted: Wanted, part: Part) -> None:
        """Read the bytes of `part` and store them; the file must be the pinned one before and after.

        Raises NotFound, Denied, SourceChanged, or Failed when reading fails otherwise.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in its place must not hold us
            try:
                _check_pin(fd, wanted)
                self._read(fd, wanted, part.buffer.view)
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

    def _read(self, fd: int, wanted: Wanted, view: memoryview) -> None:
        done = 0
        while done < len(view):
            if self._cut:
                raise Failed("slow", "it took too long over all")
            count = os.preadv(fd, [view[done : done + _SLICE]], wanted.offset + done)
            if count == 0:
                raise _changed(wanted)
            done += count


def _check_pin(fd: int, wanted: Wanted) -> None:
    status = os.fstat(fd)
    if status.st_size != wanted.size or (wanted.etag and file_pin(status) != wanted.etag):
        raise _changed(wanted)


def _changed(wanted: Wanted) -> SourceChanged:
    return SourceChanged(f"{wanted.label} changed while it was fetched")
