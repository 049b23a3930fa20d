"""The least that can read a range request: what any transfer engine does, without its speed."""

from __future__ import annotations

import http.client
import os
from urllib.parse import unquote_to_bytes, urlsplit

from cached.core.errors import SourceChanged
from cached.core.source import RangeRequest
from cached.kit.filepin import file_pin


def read_range(request: RangeRequest, offset: int, length: int) -> bytes:
    """Blocks. Raises SourceChanged when what is there is not what was pinned; AssertionError otherwise."""
    if request.url.startswith("file://"):
        fd = os.open(unquote_to_bytes(request.url.removeprefix("file://")), os.O_RDONLY)
        try:
            if file_pin(os.fstat(fd)) != request.etag:
                raise SourceChanged("another file")
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)
    status, etag, body = get(request, {"Range": f"bytes={offset}-{offset + length - 1}"})
    if status in (404, 412) or (status == 206 and etag != request.etag):
        raise SourceChanged("another object")
    assert status == 206, (status, body)
    return body


def get(request: RangeRequest, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Status, ETag and body of the answer to `request` with `headers` beside its own."""
    parts = urlsplit(request.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={**request.headers, **headers})
        answer = connection.getresponse()
        return answer.status, answer.getheader("ETag", ""), answer.read()
    finally:
        connection.close()
