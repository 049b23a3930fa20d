"""An S3 server that lists whatever keys it is told to: what no honest server would take as a key, too."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.upstream import Answer

_DATA = b"hostile"
_ETAG = '"0123456789abcdef0123456789abcdef"'


class HostileListing:
    """Every key has the same seven bytes behind it; any signature will do."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.names: list[str] = []
        self.raw = False
        """Do not percent-encode keys, even when the client asks for it."""

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        query = parse_qs(urlsplit(target).query)
        if method == "GET" and "list-type" in query:
            listing = self._listing(encoded="encoding-type" in query and not self.raw).encode()
            return Answer(200, {"Content-Type": "application/xml"}, len(listing), iter([listing]))
        said = {"ETag": _ETAG, "Accept-Ranges": "bytes"}
        if "range" in headers:
            said["Content-Range"] = f"bytes 0-{len(_DATA) - 1}/{len(_DATA)}"
            return Answer(206, said, len(_DATA), iter([_DATA]))
        return Answer(200, said, len(_DATA), iter([_DATA]))

    def _listing(self, *, encoded: bool) -> str:
        def shown(name: str) -> str:
            key = self.prefix + name
            return quote(key, safe="/") if encoded else escape(key)

        contents = "".join(
            f"<Contents><Key>{shown(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(_ETAG)}</ETag><Size>{len(_DATA)}</Size></Contents>"
            for name in self.names
        )
        kind = "<EncodingType>url</EncodingType>" if encoded else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>'
            f"{kind}{contents}</ListBucketResult>"
        )
