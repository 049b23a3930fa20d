"""What an answer to a GET means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cached.core.errors import CachedError, Denied, NotConfigured, NotFound, SourceChanged, SourceUnavailable
from cached.kit.retry_after import retry_after
from cached.transfer.retry import Failed

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_THROTTLED: Final = frozenset({429, 503})
_PASSING: Final = frozenset({408, 425, 500, 502, 504})

# Codes of S3 servers that say more than the status does.
_EXPIRED: Final = frozenset(
    {"ExpiredToken", "RequestExpired", "ExpiredPresignRequest", "TokenRefreshRequired"}
)
_EXPIRED_TEXT: Final = b"Request has expired"
_SLOW_DOWN: Final = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
_REFUSED: Final = frozenset({"InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"})
_TIMED_OUT: Final = "RequestTimeout"

# Some S3 servers leave the encoding of the upload's own transport in place; the bytes are the plain ones.
_PLAIN: Final = frozenset({"", "identity", "aws-chunked"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: a range of a file of `size` bytes, or with `ranged` off all of it.

    label: what errors call the file. etag: what the answer's must equal, when known.
    """

    label: str
    offset: int
    length: int
    size: int
    etag: str = ""
    ranged: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers (names in lower case); `length` of the body, None when not said beforehand.

    body: the beginning of it, where the status is neither 200 nor 206.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Take:
    """The body is exactly what was asked for."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The server does not do ranges: the body is all of the file."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The file is read elsewhere."""

    location: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The request no longer signs for the reader, or never did. expired: it may be the former.

    A 401 always may be: registries say no more when a token has run out.
    """

    error: Denied
    expired: bool


Verdict = Take | Whole | Follow | Refused


def judge(answer: Answer, wanted: Wanted, now: float) -> Verdict:
    """Decide what to do with `answer`; `now` is Unix time.

    Raises Failed where another attempt may help; else NotFound, SourceChanged, NotConfigured or
    SourceUnavailable, for good.
    """
    if answer.status in (200, 206):
        _check_body(answer, wanted)
        return _judge_partial(answer, wanted) if answer.status == 206 else _judge_full(answer, wanted)
    if answer.status in _REDIRECTS:
        return _judge_redirect(answer, wanted)
    return _judge_failure(answer, wanted, now)


def _check_body(answer: Answer, wanted: Wanted) -> None:
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding not in _PLAIN:
        raise SourceUnavailable(
            f"{wanted.label} comes with Content-Encoding {encoding[:40]!r}: not the file's own bytes",
            hint="store it without a Content-Encoding, and let no proxy on the way add one",
        )
    etag = answer.headers.get("etag", "")
    if wanted.etag and etag and _opaque(etag) != _opaque(wanted.etag):
        raise SourceChanged(f"{wanted.label} changed while it was fetched: its ETag is another")


def _opaque(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _judge_partial(answer: Answer, wanted: Wanted) -> Verdict:
    said = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if not said or not wanted.ranged:
        raise Failed("protocol", "it answered 206 without a usable Content-Range")
    if said[3] != "*" and int(said[3]) != wanted.size:
        raise _resized(wanted, int(said[3]))
    if (int(said[1]), int(said[2])) != (wanted.offset, wanted.offset + wanted.length - 1):
        raise Failed("protocol", "it answered with another range than asked for")
    if answer.length != wanted.length:
        raise Failed("protocol", "the length of its answer is not that of the range")
    return Take()


def _judge_full(answer: Answer, wanted: Wanted) -> Verdict:
    if answer.length is None and "transfer-encoding" not in answer.headers:
        raise Failed("protocol", "it answered without a Content-Length")
    if answer.length is None:
        raise SourceUnavailable(
            f"{wanted.label} is served without ranges and without a Content-Length",
            hint="serve it from a server that does ranges; any object store does",
        )
    if answer.length != wanted.size:
        raise _resized(wanted, answer.length)
    return Take() if wanted.length == wanted.size else Whole()


def _resized(wanted: Wanted, size: int) -> SourceChanged:
    return SourceChanged(f"{wanted.label} changed while it was fetched: {wanted.size} bytes became {size}")


def _judge_redirect(answer: Answer, wanted: Wanted) -> Verdict:
    if location := answer.headers.get("location", ""):
        return Follow(location)
    region = answer.headers.get("x-amz-bucket-region", "")
    raise NotConfigured(
        f"{wanted.label} is served from another region" + (f": {region[:40]}" if region else ""),
        hint="set the bucket's region in the settings of its source",
    )


def _judge_failure(answer: Answer, wanted: Wanted, now: float) -> Verdict:
    code = code_of(answer.body)
    said = f"{answer.status} {code}".rstrip()
    expired = code in _EXPIRED or (code == "AccessDenied" and _EXPIRED_TEXT in answer.body)
    if answer.status in (401, 403) or expired or code in _REFUSED:
        return Refused(_denied(wanted, said, code), expired or answer.status == 401)
    if answer.status in _THROTTLED or code in _SLOW_DOWN:
        raise Failed("throttled", f"it answered {said}", _after(answer, now))
    if answer.status in _PASSING or code == _TIMED_OUT:
        raise Failed("status", f"it answered {said}", _after(answer, now))
    raise _final(answer.status, said, wanted)


def code_of(body: bytes) -> str:
    """The error code in an S3 server's XML, or nothing."""
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def _after(answer: Answer, now: float) -> float | None:
    value = answer.headers.get("retry-after")
    return None if value is None else retry_after(value, now)


def _denied(wanted: Wanted, said: str, code: str) -> Denied:
    if code == "RequestTimeTooSkewed":
        hint = "set this node's clock: it is too far from the source's"
    else:
        hint = "see that the credentials of the source are in force and may read this file"
    return Denied(f"{wanted.label}: the source answered {said}", hint=hint)


def _final(status: int, said: str, wanted: Wanted) -> CachedError:
    if status in (404, 410):
        return NotFound(
            f"{wanted.label} is not there: the source answered {said}",
            hint="it was there when it was resolved; ask for the model or the image again",
        )
    if status in (412, 416):
        return SourceChanged(f"{wanted.label} changed while it was fetched: the source answered {said}")
    return SourceUnavailable(
        f"{wanted.label}: the source answered {said}",
        hint="see the log of the source, or of a proxy on the way",
    )
