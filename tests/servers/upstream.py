"""Where a faulty server gets its answers: another server, or files in memory."""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

_BLOCK = 1 << 18
_RANGE = re.compile(r"bytes=(\d+)-(\d*)\Z")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "upgrade"})


@dataclass
class Answer:
    """An answer with `length` bytes of body; `body` may be read once."""

    status: int
    headers: dict[str, str]
    length: int
    body: Iterator[bytes]


class Upstream(Protocol):
    """Called by many threads at once."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class Forward:
    """Asks the server at `endpoint`. The Host header goes on as it came, so that signatures hold."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        assert parts.scheme == "http"
        assert parts.hostname
        self._address = (parts.hostname, parts.port or 80)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name not in _HOP:
                    connection.putheader(name, value)
            if body or method in ("PUT", "POST"):
                connection.putheader("content-length", str(len(body)))
            connection.putheader("connection", "close")
            connection.endheaders(body)
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        if method == "HEAD":
            length = int(response.headers.get("content-length", 0))
            return Answer(response.status, kept, length, _stream(connection, response))
        if response.length is None:
            whole = b"".join(_stream(connection, response))
            return Answer(response.status, kept, len(whole), iter([whole]))
        return Answer(response.status, kept, response.length, _stream(connection, response))


def _stream(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read(_BLOCK):
            yield block
    finally:
        response.close()
        connection.close()


class Files:
    """Files in memory by path, such as `/model.bin`: HEAD and GET, ranges, ETag, If-Match.

    Change the mapping at any time; a request that has begun goes on with the bytes that it began with.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self._lock = threading.Lock()

    def put(self, path: str, data: bytes) -> str:
        """Add or replace a file; returns its ETag, quotes and all."""
        etag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
        with self._lock:
            self._files[path] = (data, etag)
        return etag

    def remove(self, path: str) -> None:
        with self._lock:
            del self._files[path]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with self._lock:
            data, etag = self._files.get(unquote(urlsplit(target).path), (None, ""))
        if data is None:
            return Answer(404, {}, 0, iter(()))
        if method not in ("GET", "HEAD"):
            return Answer(405, {}, 0, iter(()))
        said = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if headers.get("if-match", etag) != etag:
            return Answer(412, said, 0, iter(()))
        status, first, end = 200, 0, len(data)
        if wanted := _RANGE.match(headers.get("range", "")):
            first, end = int(wanted[1]), min(int(wanted[2] or end) + 1, end)
            if first >= end:
                return Answer(416, {**said, "Content-Range": f"bytes */{len(data)}"}, 0, iter(()))
            status, said["Content-Range"] = 206, f"bytes {first}-{end - 1}/{len(data)}"
        return Answer(status, said, end - first, _slices(data, first, end))


def _slices(data: bytes, first: int, end: int) -> Iterator[bytes]:
    for start in range(first, end, _BLOCK):
        yield data[start : min(start + _BLOCK, end)]
