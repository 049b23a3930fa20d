"""One connection of another member: who it is, what it asks, what it gets."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address

from cached.core.digest import Digest
from cached.core.errors import CachedError
from cached.peers.identity import Identity
from cached.serve.peer.data import answer
from cached.serve.peer.data.channel import Channel
from cached.serve.peer.data.inbox import Inbox
from cached.serve.peer.data.parts import DataParts
from cached.serve.peer.data.request import Refused, Request, Span, parse

log = logging.getLogger(__name__)


class Connection:
    """Belongs to the thread that runs it, but for `cut` and the attributes, which any may use.

    address: the other end's IP address. idle_since: monotonic seconds, None while it is at work.
    """

    def __init__(self, channel: Channel, address: str, parts: DataParts) -> None:
        self.address = address
        self.idle_since: float | None = None
        self._channel = channel
        self._parts = parts

    def run(self) -> None:
        """Answer requests until either end has enough; never raises."""
        try:
            if self._parts.identity is None or self._is_member(self._parts.identity):
                inbox = Inbox(self._channel)
                while self._is_asked(inbox) and self._answer_next(inbox):
                    pass
        except OSError as error:  # the other end has gone, or was too slow
            log.debug("A connection ended early.", extra={"peer": self.address, "reason": str(error)})
        except Exception:
            log.exception("a connection of another member failed", extra={"peer": self.address})
        finally:
            self._channel.close()

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        self._channel.cut()

    def _is_member(self, identity: Identity) -> bool:
        try:
            names = self._channel.secure(identity.server_context(), self._parts.options.head)
        except ssl.SSLEOFError:
            raise  # it only looked whether somebody listens
        except ssl.SSLError as error:
            self._parts.refuse("identity")
            self._parts.complain(
                "A neighbour's TLS handshake failed.", self.address, error.reason or "unknown"
            )
            self._channel.linger()  # it may read why
            return False
        if is_node(identity, names, self.address):
            return True
        self._parts.refuse("identity")
        self._parts.complain(
            "A neighbour's certificate is not for where it comes from.", self.address, ", ".join(names)[:200]
        )
        return False

    def _is_asked(self, inbox: Inbox) -> bool:
        self.idle_since = time.monotonic()
        try:
            return inbox.wait(self._parts.options.idle)
        finally:
            self.idle_since = None

    def _answer_next(self, inbox: Inbox) -> bool:
        """Whether the connection can serve another request."""
        head = inbox.take(self._parts.options.head)
        try:
            request = parse(head)
        except Refused as refused:
            self._parts.refuse("malformed")
            self._say(answer.refusal(refused, last=True, head=head.startswith(b"HEAD ")))
            self._channel.linger()
            return False
        try:
            self._give(request)
        except Refused as refused:
            self._say(answer.refusal(refused, last=request.last, head=request.head))
        return not request.last

    def _give(self, request: Request) -> None:
        """Send what was asked for. Raises Refused while nothing has been sent."""
        span, last = request.span, request.last
        try:
            size = self._parts.shelf.size(request.blob)
            if size is None:
                raise self._refusal("missing", 404, "not here")
            if span is None:
                self._say(answer.whole(size, last=last))
                return
            fd = self._open(request.blob, span, size)
        except CachedError as error:  # the disk
            self._parts.complain("A blob cannot be read for a neighbour.", self.address, str(error))
            raise self._refusal("missing", 404, "not here") from None
        try:
            if request.head:
                self._say(answer.part(span, size, last=last))
            else:
                self._upload(fd, request.blob, span, answer.part(span, size, last=last))
        finally:
            os.close(fd)

    def _open(self, blob: Digest, span: Span, size: int) -> int:
        if span.offset + span.length > size:
            raise self._refusal("malformed", 416, "the blob is shorter", size)
        if span.length > self._parts.options.longest:
            raise self._refusal("malformed", 400, f"more than {self._parts.options.longest} bytes at once")
        fd = self._parts.shelf.open(blob, span.offset, span.length)
        if fd is None:
            raise self._refusal("missing", 404, "not here yet")
        return fd

    def _upload(self, fd: int, blob: Digest, span: Span, answer: bytes) -> None:
        if not self._parts.slots.enter(self.address, self._parts.options.patience):
            raise self._refusal("full", 503, "enough uploads are under way")
        try:
            begun = time.monotonic()
            self._say(answer)
            self._send(fd, span, begun)
        finally:
            self._parts.slots.leave(self.address)
        log.debug(
            "Sent a range.",
            extra={
                "peer": self.address,
                "blob": blob,
                "offset": span.offset,
                "bytes": span.length,
                "seconds": round(time.monotonic() - begun, 3),
            },
        )

    def _send(self, fd: int, span: Span, begun: float) -> None:
        """Send the bytes. Raises TimeoutError when the other end does not take them fast enough."""
        parts, options = self._parts, self._parts.options
        paced = 0.0
        done = 0
        while done < span.length:
            count = min(parts.pace.piece, span.length - done)
            paced += parts.pace.wait(count)
            due = begun + paced + options.stall + done / options.min_rate
            seconds = min(due - time.monotonic(), options.stall)
            self._channel.send_file(fd, span.offset + done, count, seconds)
            done += count
            parts.metrics.peer_sent.inc(count)
            parts.tally.add(self.address, count)

    def _say(self, answer: bytes) -> None:
        self._channel.send(answer, self._parts.options.stall)

    def _refusal(self, reason: str, status: int, why: str, size: int | None = None) -> Refused:
        self._parts.refuse(reason)
        return Refused(status, why, size)


def is_node(identity: Identity, names: Collection[str], address: str) -> bool:
    """Whether a certificate of our CA with these `names`, shown by who connects from `address`, is a node's.

    It is when it carries the name that all nodes share. Where each carries its own host, one with a DNS name
    is believed too: no address is claimed here that could be checked against it, and the CA vouches for
    nodes and nobody else. One that has only addresses must come from there.
    """
    if identity.vouches(names, address):
        return True
    by_own_host = identity.server_name(address) == address
    return by_own_host and not all(map(_is_address, names))


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False
