"""The faulty server does wrong exactly what it is told, or the tests built on it prove nothing."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.servers.upstream import Files

DATA = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def connection(origin: FaultyServer, files: Files) -> Iterator[http.client.HTTPConnection]:
    files.put("/m.bin", DATA)
    opened = http.client.HTTPConnection(urlsplit(origin.endpoint).netloc, timeout=5)
    yield opened
    opened.close()


def _get(connection: http.client.HTTPConnection, path: str = "/m.bin", **headers: str) -> tuple[int, bytes]:
    connection.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_without_a_fault_it_serves_ranges_and_counts_them(
    connection: http.client.HTTPConnection, origin: FaultyServer
) -> None:
    assert _get(connection) == (200, DATA)
    assert _get(connection, Range="bytes=5-9") == (206, DATA[5:10])
    assert _get(connection, Range=f"bytes=5-{len(DATA) + 9}") == (206, DATA[5:])
    assert _get(connection, Range=f"bytes={len(DATA)}-")[0] == 416
    assert _get(connection, If_Match='"other"')[0] == 412
    assert _get(connection, "/absent")[0] == 404
    assert len(origin.requests("/m.bin")) == 5
    assert origin.sent() == len(DATA) + 5 + len(DATA) - 5


def test_a_fault_strikes_after_skip_and_only_times_times(
    connection: http.client.HTTPConnection, origin: FaultyServer
) -> None:
    origin.inject(Fault(path="/m.*", status=503, headers={"Retry-After": "7"}, skip=1, times=2))
    assert [_get(connection)[0] for _ in range(4)] == [200, 503, 503, 200]


def test_a_fault_can_wait_for_the_range_that_holds_a_byte(
    connection: http.client.HTTPConnection, origin: FaultyServer
) -> None:
    origin.inject(Fault(covering=100, status=500))
    assert _get(connection, Range="bytes=0-99")[0] == 206
    assert _get(connection, Range="bytes=100-199")[0] == 500


def test_a_cut_body_never_looks_whole(connection: http.client.HTTPConnection, origin: FaultyServer) -> None:
    origin.inject(Fault(cut=1000))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        _get(connection)
    assert origin.requests()[0].sent == 1000


def test_hanging_up_gives_no_answer(connection: http.client.HTTPConnection, origin: FaultyServer) -> None:
    origin.inject(Fault(hang_up=True))
    with pytest.raises(ConnectionError):
        _get(connection)


def test_wrong_bytes_ignored_ranges_and_wrong_etags(
    connection: http.client.HTTPConnection, origin: FaultyServer
) -> None:
    origin.inject(Fault(flip=3))
    origin.inject(Fault(forget=frozenset({"range", "if-match"}), headers={"etag": '"new"'}))
    spoiled = _get(connection, Range="bytes=0-9")[1]
    assert [at for at in range(10) if spoiled[at] != DATA[at]] == [3]
    connection.request("GET", "/m.bin", headers={"Range": "bytes=0-9", "If-Match": '"x"'})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("ETag"), answer.read()) == (200, '"new"', DATA)


def test_stalls_and_drips_take_their_time(
    connection: http.client.HTTPConnection, origin: FaultyServer
) -> None:
    origin.inject(Fault(stall=10, pause=0.2))
    origin.inject(Fault(rate=5 * len(DATA)))
    for _ in range(2):
        began = time.monotonic()
        assert _get(connection) == (200, DATA)
        assert time.monotonic() - began >= 0.19


def test_a_stalled_answer_does_not_keep_the_server_from_closing(files: Files) -> None:
    files.put("/m.bin", DATA)
    with FaultyServer(files) as server:
        server.inject(Fault(stall=0))
        connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc, timeout=5)
        connection.request("GET", "/m.bin")
        connection.getresponse()
        began = time.monotonic()
    connection.close()
    assert time.monotonic() - began < 2


def test_something_can_happen_in_between(
    connection: http.client.HTTPConnection, origin: FaultyServer, files: Files
) -> None:
    origin.inject(Fault(before=lambda: files.put("/m.bin", b"new"), skip=1))
    assert _get(connection) == (200, DATA)
    assert _get(connection) == (200, b"new")


def test_signatures_hold_through_the_proxy(s3: S3Server, faulty_s3: FaultyServer) -> None:
    client = s3.behind(faulty_s3.endpoint).client
    bucket = s3.make_bucket()
    client.put_object(Bucket=bucket, Key="a b/ü.bin", Body=DATA)
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/ü.bin"})
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    assert _get(connection, f"{parts.path}?{parts.query}", Range="bytes=10-19") == (206, DATA[10:20])
    connection.close()
    assert faulty_s3.requests("*/ü.bin")[0].sent == 10
