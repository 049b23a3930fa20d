"""What another member may ask of the data server. Whatever else is said is refused, not interpreted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cached.core.digest import Digest

MOST_BYTES: Final = 8 << 10  # of a head, with the empty line that ends it
_MOST_FIELDS: Final = 64

_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE: Final = bytes(range(0x20, 0x7F)) + b"\t"
_RANGE: Final = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{1,18})")


class Refused(Exception):
    """A request that is not answered as asked: status code, and a few words that never quote it.

    size: of the blob in bytes, where the range lies beyond it.
    """

    def __init__(self, status: int, why: str, size: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.size = size


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset` on; at least one."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Request:
    """GET of a range of a blob, or HEAD of one or of the whole. last: the connection ends after it."""

    head: bool
    blob: Digest
    span: Span | None
    last: bool


def parse(head: bytes) -> Request:
    """Read a request's head, without the empty line that ends it. Raises Refused: 400, 405 or 431.

    One spelling of each thing is taken, so that no two readers can understand a request differently. A
    request may have no body: what followed could be taken for another request.
    """
    if len(head) >= MOST_BYTES:
        raise Refused(431, "the header is too long")
    line, *lines = head.split(b"\r\n")
    method, target = _request_line(line)
    fields = _fields(lines)
    if method not in (b"GET", b"HEAD"):
        raise Refused(405, "only GET and HEAD here")
    if b"host" not in fields:
        raise Refused(400, "no Host")
    if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0" or b"expect" in fields:
        raise Refused(400, "a request here has no body")
    span = _span(fields[b"range"]) if b"range" in fields else None
    if span is None and method == b"GET":
        raise Refused(400, "name one range of bytes")
    last = b"close" in [option.strip().lower() for option in fields.get(b"connection", b"").split(b",")]
    return Request(method == b"HEAD", _blob(target), span, last)


def _request_line(line: bytes) -> tuple[bytes, bytes]:
    words = line.split(b" ")
    if len(words) != 3 or words[2] != b"HTTP/1.1" or not words[0] or words[0].translate(None, _TOKEN):
        raise Refused(400, "not a request of HTTP/1.1")
    return words[0], words[1]


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    if len(lines) > _MOST_FIELDS:
        raise Refused(431, "too many header fields")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN) or value.translate(None, _VISIBLE):
            raise Refused(400, "a malformed header field")
        if name.lower() in fields:
            raise Refused(400, "a header field twice")
        fields[name.lower()] = value.strip(b" \t")
    return fields


def _blob(target: bytes) -> Digest:
    """The blob at /v1/blobs/<algorithm>/<hex>, which is the one kind of path there is."""
    root, _, name = target.decode("latin-1").rpartition("/v1/blobs/")
    algorithm, _, digits = name.partition("/")
    blob = Digest.read(f"{algorithm}:{digits}")
    if root or blob is None:
        raise Refused(400, "not the path of a blob")
    return blob


def _span(said: bytes) -> Span:
    found = _RANGE.fullmatch(said)
    if found is None:
        raise Refused(400, "one range, as bytes=FIRST-LAST")
    first, last = int(found[1]), int(found[2])
    if last < first:
        raise Refused(400, "a range that ends before it begins")
    return Span(first, last - first + 1)
