"""The heads of the data server's answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from cached.serve.peer.data.request import Refused, Span

_RETRY_AFTER: Final = 1  # seconds


def whole(size: int, *, last: bool) -> bytes:
    """To a HEAD of a whole blob of `size` bytes."""
    return _head(200, size, ["Content-Type: application/octet-stream", "Accept-Ranges: bytes"], last=last)


def part(span: Span, size: int, *, last: bool) -> bytes:
    """Before the bytes of `span` of a blob of `size` bytes."""
    place = f"Content-Range: bytes {span.offset}-{span.offset + span.length - 1}/{size}"
    return _head(206, span.length, ["Content-Type: application/octet-stream", place], last=last)


def refusal(refused: Refused, *, last: bool, head: bool = False) -> bytes:
    """All of an answer that gives nothing; without its text to a HEAD."""
    status = refused.status
    text = f"{refused.why}\n".encode()
    fields = ["Content-Type: text/plain; charset=utf-8"]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        fields.append("Allow: GET, HEAD")
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        fields.append(f"Retry-After: {_RETRY_AFTER}")
    elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        fields.append(f"Content-Range: bytes */{refused.size}")
    return _head(status, len(text), fields, last=last) + (b"" if head else text)


def _head(status: int, length: int, fields: list[str], *, last: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {length}", *fields]
    if last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()
