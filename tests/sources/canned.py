"""An S3 server that answers as written here, for answers that no honest server gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit

from tests.servers.upstream import Answer

_LISTING = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>
{parts}</ListBucketResult>"""
_CONTENTS = """<Contents><Key>{key}</Key><Size>{size}</Size><ETag>"{etag}"</ETag>
<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"""


def listing(keys: Iterable[str], *, raw: bool = False, size: int = 1) -> bytes:
    """The answer to ListObjectsV2; `raw` leaves the keys as they are, where the client asked for escapes."""
    parts = "".join(
        _CONTENTS.format(key=key if raw else quote(key), size=size, etag=f"e{number}")
        for number, key in enumerate(keys)
    )
    return _LISTING.format(parts=parts if raw else f"<EncodingType>url</EncodingType>{parts}").encode()


def error(code: str, **more: str) -> bytes:
    """An error as S3 writes it."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in {"Code": code, **more}.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


@dataclass
class Canned:
    """An upstream: `listing` with `status` to whoever lists, and one small object under every key.

    With a `region`, whoever signs for another is sent there as AWS does it.
    """

    listing: bytes
    status: int = 200
    region: str = ""
    head: Mapping[str, str] = field(default_factory=lambda: {"ETag": '"e0"'})

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        where = {"x-amz-bucket-region": self.region} if self.region else {}
        query = parse_qs(urlsplit(target).query)
        scope = headers.get("authorization", "") + "".join(query.get("X-Amz-Credential", ()))
        if self.region and f"/{self.region}/s3/" not in scope:
            return _said(301, where, error("PermanentRedirect", Endpoint="elsewhere"))
        if "list-type" in query:
            return _said(self.status, where, self.listing)
        return _said(200, dict(self.head), b"1")


def _said(status: int, headers: dict[str, str], body: bytes) -> Answer:
    return Answer(status, headers, len(body), iter([body]))
