"""The reader of requests: one spelling of each thing, and everything else refused."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.serve.peer.data.request import Refused, Request, Span, parse

HEX = "0123456789abcdef" * 4
BLOB = Digest(f"sha256:{HEX}")
PATH = f"/v1/blobs/sha256/{HEX}"


def head(
    line: str = f"GET {PATH} HTTP/1.1", *fields: str, host: str = "Host: a", said: str = "Range: bytes=0-1"
) -> bytes:
    return "\r\n".join(filter(None, [line, host, said, *fields])).encode("latin-1")


def refused(data: bytes) -> int:
    with pytest.raises(Refused) as caught:
        parse(data)
    assert re.fullmatch("[a-zA-Z0-9./=, -]+", caught.value.why)
    assert caught.value.why.encode() not in data
    return caught.value.status


def test_what_is_understood() -> None:
    assert parse(head()) == Request(head=False, blob=BLOB, span=Span(0, 2), last=False)
    origin = head(f"HEAD /v1/blobs/origin/{HEX} HTTP/1.1", "CONNECTION: Keep-Alive, Close", said="")
    assert parse(origin) == Request(head=True, blob=Digest(f"origin:{HEX}"), span=None, last=True)
    assert parse(head(said="rAnGe:\t bytes=5-5  ")).span == Span(5, 1)
    assert parse(head(said="Range: bytes=000-007")).span == Span(0, 8)
    assert parse(head("GET " + PATH + " HTTP/1.1", "Content-Length: 0")).span == Span(0, 2)


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "/",
        "/v1/blobs/",
        PATH + "/",
        PATH + "?",
        PATH + "?a=b",
        PATH + "#a",
        PATH + "%00",
        PATH + "\0",
        PATH[:-1],
        PATH + "0",
        "/" + PATH,
        "/v1/blobs" + PATH,
        PATH.replace("/blobs/", "/blobs//"),
        PATH.replace("/blobs/", "/./blobs/"),
        PATH.replace("v1", "v2"),
        PATH.replace("v1", "V1"),
        PATH.replace("sha256", "SHA256"),
        PATH.replace("sha256", "md5"),
        PATH.replace("sha256", "sha256:" + HEX),
        PATH.replace("sha256/", "sha256:"),
        PATH.replace("a", "A"),
        PATH.replace("/v1", "/%76%31"),
        PATH[:-2] + "%66",
        PATH[:-1] + "\xe6",
        "/v1/blobs/sha256/" + "../" * 10 + "etc/passwd",
        "/v1/blobs/../../etc/passwd",
        "/v1/blobs/sha256/%2e%2e%2fetc%2fpasswd",
        "\\v1\\blobs\\sha256\\" + HEX,
        "http://node" + PATH,
        "https://elsewhere:1" + PATH,
        "node:443",
    ],
)
def test_there_is_one_kind_of_path(target: str) -> None:
    assert refused(head(f"GET {target} HTTP/1.1")) == 400


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "GET",
        f"GET {PATH}",
        f"GET {PATH} HTTP/1.0",
        f"GET {PATH} HTTP/0.9",
        f"GET {PATH} HTTP/2.0",
        f"GET {PATH} HTTP/1.10",
        f"GET {PATH} http/1.1",
        f"GET  {PATH} HTTP/1.1",
        f"GET\t{PATH}\tHTTP/1.1",
        f" GET {PATH} HTTP/1.1",
        f"GET {PATH} HTTP/1.1 ",
        f"GET {PATH} {PATH} HTTP/1.1",
        f"\r\nGET {PATH} HTTP/1.1",
        f"G\0T {PATH} HTTP/1.1",
        f"{{}} {PATH} HTTP/1.1",
        "PRI * HTTP/2.0",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_there_is_one_kind_of_request_line(line: str) -> None:
    assert refused(head(line)) == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "GETS"])
def test_other_methods(method: str) -> None:
    assert refused(head(f"{method} {PATH} HTTP/1.1")) == 405


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Range:",
        "Range: bytes=",
        "Range: bytes",
        "Range: bytes=-",
        "Range: bytes=-5",
        "Range: bytes=5-",
        "Range: bytes=5-4",
        "Range: bytes=-1-4",
        "Range: bytes=0--4",
        "Range: bytes=+0-4",
        "Range: bytes=0-+4",
        "Range: bytes=0-1,3-4",
        "Range: bytes=0-1,",
        "Range: bytes=0-1, 0-1",
        "Range: bytes=0 - 1",
        "Range: bytes= 0-1",
        "Range: bytes =0-1",
        "Range: bytes:0-1",
        "Range: Bytes=0-1",
        "Range: chunks=0-1",
        "Range: bytes=0x0-0x1",
        "Range: bytes=1e3-1e4",
        "Range: bytes=1_0-2_0",
        "Range: bytes=\xb2-\xb3",
        "Range: bytes=0-" + "9" * 19,
        "Range: bytes=0-" + "9" * 4000,
        "Range: bytes=0-1\r\nRange: bytes=0-1",
        "Range: bytes=0-1\r\nrange: bytes=2-3",
    ],
)
def test_there_is_one_kind_of_range(said: str) -> None:
    assert refused(head(said=said)) == 400


@pytest.mark.parametrize(
    "field",
    [
        "Content-Length: 1",
        "Content-Length: 0, 0",
        "Content-Length: +0",
        "Content-Length: 00",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length: 0\r\nContent-Length: 0",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "transfer-ENCODING: \tchunked",
        "Expect: 100-continue",
        "Expect:",
    ],
)
def test_a_request_with_a_body_is_none(field: str) -> None:
    assert refused(head(f"GET {PATH} HTTP/1.1", field)) == 400


@pytest.mark.parametrize(
    "field",
    [
        "X",
        ": a",
        " X: a",
        "X : a",
        "X\t: a",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X: a\rb",
        "X: a\nb",
        "X: a\0b",
        "X: a\x7fb",
        "X: \xe4",
        "\xe4: a",
        "X(: a",
        "Host: b",
        "X: a\r\nx: a",
    ],
)
def test_there_is_one_kind_of_field(field: str) -> None:
    assert refused(head(f"GET {PATH} HTTP/1.1", field)) == 400


def test_a_host_is_named_once() -> None:
    assert refused(head(host="")) == 400
    assert refused(head(host="Host: a\r\nHost: a")) == 400


def test_fields_have_a_number() -> None:
    assert parse(head(f"GET {PATH} HTTP/1.1", *(f"X-{n}: a" for n in range(62)))).span == Span(0, 2)
    assert refused(head(f"GET {PATH} HTTP/1.1", *(f"X-{n}: a" for n in range(63)))) == 431


@pytest.mark.parametrize("filler", [" ", "\t", ":", ",", "a", "/v1/blobs/", "close,", "0", "\r", "\r\n"])
def test_no_request_takes_long_to_read(filler: str) -> None:
    worst = filler * (8192 // len(filler))
    good = f"GET {PATH} HTTP/1.1"
    begun = time.process_time()
    for data in (
        worst.encode(),
        head(f"GET {worst} HTTP/1.1"),
        head(said=f"Range: {worst}"),
        head(good, f"X:{worst}"),
        head(good, f"{worst}: x"),
        head(good, f"Connection: {worst}"),
    ):
        with suppress(Refused):
            parse(data)
    assert time.process_time() - begun < 0.5


PIECES = [
    *(b"GET", b"HEAD", b" ", b"\r\n", b"\r", b"\n", b":", b"\0", b"HTTP/1.1", b"Host: a", PATH.encode()),
    *(b"/v1/blobs/", b"sha256/", HEX.encode(), b"..", b"%2e", b"Range: bytes=", b"0-1", b"-", b"9" * 20),
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5)).map(b"".join))
def test_whatever_is_read_is_a_request_or_refused(data: bytes) -> None:
    try:
        request = parse(data)
    except Refused:
        return
    assert Digest.read(request.blob) == request.blob
    assert request.head or request.span is not None


@given(st.data())
def test_of_a_request_that_is_damaged_nothing_else_is_understood(draw: st.DataObject) -> None:
    """One byte more, less or other: it is refused, or understood as a blob and a range that it spells out."""
    good = bytearray(head(f"GET {PATH} HTTP/1.1", said="Range: bytes=10-29"))
    at = draw.draw(st.integers(0, len(good) - 1))
    good[at : at + draw.draw(st.integers(0, 1))] = draw.draw(st.binary(max_size=1))
    try:
        request = parse(bytes(good))
    except Refused:
        return
    algorithm, digits = request.blob.split(":")
    assert f" /v1/blobs/{algorithm}/{digits} ".encode() in good
    if request.span is not None:
        first, last = request.span.offset, request.span.offset + request.span.length - 1
        assert re.search(rb"bytes=0*%d-0*%d\b" % (first, last), bytes(good))
