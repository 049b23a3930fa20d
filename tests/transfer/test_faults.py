"""What goes wrong at a source, and how a fetch comes out of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from cached.core.errors import CachedError, Denied, NoSpace, NotFound, SourceChanged, SourceUnavailable
from cached.core.source import RangeRequest
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Answer, Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(12 * CHUNK + 77)
SECRET = "X-Amz-Signature=secret"
HASTY = replace(QUICK, give_up_after=0.8, stall_timeout=0.3)


@dataclass
class Origin:
    """A faulty server of one file."""

    server: FaultyServer
    files: Files
    request: RangeRequest


@pytest.fixture
def one(origin: FaultyServer, files: Files) -> Origin:
    etag = files.put("/m.bin", DATA)
    return Origin(origin, files, RangeRequest(f"{origin.endpoint}/m.bin?{SECRET}", etag=etag))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(times=3, hang_up=True), "reset"),
        (Fault(times=3, cut=0), "reset"),
        (Fault(times=3, cut=CHUNK // 2), "reset"),
        (Fault(times=3, cut=CHUNK - 1), "reset"),
        (Fault(times=3, stall=0), "stall"),
        (Fault(times=3, stall=CHUNK // 2), "stall"),
        (Fault(times=3, status=500), "status"),
        (Fault(times=3, status=502), "status"),
        (Fault(times=3, status=503), "throttled"),
        (Fault(times=3, status=429, headers={"Retry-After": "0"}), "throttled"),
        (Fault(times=3, status=408), "status"),
        (Fault(times=3, headers={"Content-Range": f"bytes 1-{CHUNK}/{len(DATA)}"}), "protocol"),
        (Fault(times=3, headers={"Content-Range": "nonsense"}), "protocol"),
        (Fault(times=1, covering=5 * CHUNK, status=504), "status"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_passes_is_outlived(one: Origin, fault: Fault, kind: str) -> None:
    one.server.inject(fault)
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        await rig.fetch(sink, one.request)
        assert set(rig.errors()) <= {kind, "short"}
        assert sum(rig.errors().values()) == fault.times
        assert rig.received == len(DATA)
    assert sink.data == DATA


async def test_a_drip_is_not_put_up_with(one: Origin) -> None:
    one.server.inject(Fault(times=3, rate=50_000.0))
    sink = MemorySink(len(DATA))
    async with rigged(replace(QUICK, min_rate=1 << 17)) as rig:
        await rig.fetch(sink, one.request)
        assert rig.errors() == {"slow": 3}
    assert sink.data == DATA


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault(times=None, status=503), SourceUnavailable, "it answered 503"),
        (Fault(times=None, stall=100), SourceUnavailable, "nothing for 0.3 s"),
        (Fault(times=None, hang_up=True), SourceUnavailable, "broke the connection off"),
        (Fault(status=503, headers={"Retry-After": "900"}), SourceUnavailable, "asks for 900 s"),
        (Fault(status=403), Denied, "answered 403"),
        (Fault(times=None, status=401), Denied, "answered 401"),
        (Fault(status=404), NotFound, "answered 404"),
        (Fault(status=412), SourceChanged, "answered 412"),
        (Fault(status=416), SourceChanged, "answered 416"),
        (Fault(status=405), SourceUnavailable, "answered 405"),
        (Fault(headers={"ETag": '"other"'}), SourceChanged, "ETag is another"),
        (
            Fault(headers={"Content-Range": f"bytes 0-{CHUNK - 1}/{len(DATA) + 1}"}),
            SourceChanged,
            "bytes became",
        ),
        (Fault(headers={"Content-Encoding": "gzip"}), SourceUnavailable, "Content-Encoding 'gzip'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_does_not_pass_ends_the_fetch_and_says_why(
    one: Origin, fault: Fault, error: type[CachedError], says: str
) -> None:
    one.server.inject(fault)
    async with rigged(HASTY) as rig:
        began = time.monotonic()
        with pytest.raises(error) as raised:
            await rig.fetch(MemorySink(len(DATA)), one.request)
        assert time.monotonic() - began < 5.0
    assert "s3://b/m.bin" in str(raised.value)
    assert says in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_retry_after_holds_for_all_fetches_of_the_host(one: Origin) -> None:
    one.files.put("/n.bin", DATA)
    throttled = asyncio.Event()
    loop = asyncio.get_running_loop()
    said = Fault(
        path="/m.bin",
        status=429,
        headers={"Retry-After": "1"},
        before=lambda: loop.call_soon_threadsafe(throttled.set),
    )
    one.server.inject(said)
    async with rigged(replace(QUICK, connections=1)) as rig, asyncio.TaskGroup() as group:
        began = time.monotonic()
        group.create_task(rig.fetch(MemorySink(len(DATA)), one.request))
        await throttled.wait()
        await asyncio.sleep(0.1)
        other = replace(one.request, url=f"{one.server.endpoint}/n.bin", etag="")
        await rig.fetch(MemorySink(len(DATA)), other)
        assert 1.0 <= time.monotonic() - began < 4.0


async def test_retry_after_may_be_a_date(one: Origin) -> None:
    when = datetime.fromtimestamp(time.time() + 2, UTC)
    one.server.inject(Fault(status=503, headers={"Retry-After": format_datetime(when, usegmt=True)}))
    async with rigged() as rig:
        await rig.fetch(MemorySink(len(DATA)), one.request)
    assert time.time() >= int(when.timestamp())


async def test_a_file_that_changes_in_between_is_never_mixed(one: Origin) -> None:
    other = some_bytes(len(DATA), seed=2)
    one.server.inject(Fault(skip=5, before=lambda: one.files.put("/m.bin", other)))
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        with pytest.raises(SourceChanged):
            await rig.fetch(sink, one.request)
    for index in sink.order:
        assert sink.data[index * CHUNK : (index + 1) * CHUNK] == DATA[index * CHUNK : (index + 1) * CHUNK]


async def test_an_error_of_one_fetch_is_no_other_ones(one: Origin) -> None:
    one.files.put("/n.bin", DATA)
    one.server.inject(Fault(path="/m.bin", times=None, status=403, skip=2))
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        bad, good = await asyncio.gather(
            rig.fetch(MemorySink(len(DATA)), one.request),
            rig.fetch(sink, RangeRequest(f"{one.server.endpoint}/n.bin")),
            return_exceptions=True,
        )
    assert isinstance(bad, Denied)
    assert good is None
    assert sink.data == DATA


async def test_the_first_hard_error_stops_the_rest_of_the_fetch(one: Origin) -> None:
    one.server.inject(Fault(times=None, covering=0, status=403))
    one.server.inject(Fault(times=None, stall=10))
    async with rigged(replace(QUICK, stall_timeout=30.0)) as rig:
        began = time.monotonic()
        with pytest.raises(Denied):
            await rig.fetch(MemorySink(len(DATA)), one.request)
        assert time.monotonic() - began < 2.0, "it waited for lanes that stall"
    assert len(one.server.requests()) <= QUICK.connections


async def test_the_sinks_own_errors_pass_unchanged_and_are_not_retried(one: Origin) -> None:
    full = NoSpace("no room", needed=1, free=0, held=0)

    def refuse(index: int) -> None:
        if index == 3:
            raise full

    sink = MemorySink(len(DATA))
    sink.before = refuse
    async with rigged() as rig:
        with pytest.raises(NoSpace) as raised:
            await rig.fetch(sink, one.request)
        assert raised.value is full
        assert rig.errors() == {}


async def test_redirects_lead_on_without_the_readers_secrets(one: Origin, files: Files) -> None:
    with FaultyServer(files) as cdn:
        there = f"{cdn.endpoint}/m.bin?signed"
        one.server.inject(Fault(times=None, status=307, headers={"Location": there}))
        request = replace(one.request, headers={"Authorization": "Bearer secret"})
        sink = MemorySink(len(DATA))
        async with rigged() as rig:
            await rig.fetch(sink, request)
        assert sink.data == DATA
        assert all("authorization" in seen.headers for seen in one.server.requests())
        assert not any("authorization" in seen.headers for seen in cdn.requests())


async def test_redirects_in_a_circle_end(one: Origin) -> None:
    one.server.inject(Fault(times=None, status=302, headers={"Location": "/m.bin"}))
    async with rigged() as rig:
        with pytest.raises(SourceUnavailable, match="more than 3 redirects"):
            await rig.fetch(MemorySink(CHUNK), one.request)


class Refusing:
    """An upstream that answers in XML, as S3 does."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return Answer(self.status, {}, len(self.body), iter([self.body]))


async def test_the_code_of_an_s3_server_is_told() -> None:
    body = b"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId></Error>"
    with FaultyServer(Refusing(403, body)) as server:
        async with rigged() as rig:
            with pytest.raises(Denied, match="403 InvalidAccessKeyId") as raised:
                await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{server.endpoint}/m.bin?{SECRET}"))
    assert "AKID" not in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_nobody_listens() -> None:
    async with rigged(HASTY) as rig:
        with pytest.raises(SourceUnavailable, match=r"cannot connect to 127\.0\.0\.1:1: Connection refused"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest("http://127.0.0.1:1/m.bin"))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "a..b"])
async def test_a_name_that_does_not_resolve(host: str) -> None:
    async with rigged(HASTY) as rig:
        with pytest.raises(SourceUnavailable, match="does not resolve"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"http://{host}/m.bin"))


async def test_what_does_not_speak_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n" * 10)
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, rigged(HASTY) as rig:
        with pytest.raises(SourceUnavailable, match="does not answer in HTTP"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"http://127.0.0.1:{port}/"))


async def test_a_head_that_drips_is_cut() -> None:
    dripping = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dripping.append(asyncio.current_task())
        writer.write(b"HTTP/1.1 206 Partial Content\r\nX: ")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = replace(HASTY, stall_timeout=0.2, min_rate=CHUNK * 10)
    async with server:
        async with rigged(options) as rig:
            with pytest.raises(SourceUnavailable, match="took too long over all"):
                await rig.fetch(MemorySink(CHUNK), RangeRequest(f"http://127.0.0.1:{port}/"))
        await asyncio.gather(*filter(None, dripping))


async def test_progress_buys_time(one: Origin) -> None:
    """Failures for longer than `give_up_after` do no harm as long as chunks arrive in between."""
    for skip in range(1, 13):
        one.server.inject(Fault(skip=skip, status=500))
    options = replace(QUICK, connections=1, bandwidth=2 * len(DATA), give_up_after=0.5)
    sink = MemorySink(len(DATA))
    async with rigged(options) as rig:
        began = time.monotonic()
        await rig.fetch(sink, one.request)
        assert time.monotonic() - began > options.give_up_after
    assert sink.data == DATA


async def test_waiting_for_a_turn_is_no_failure_of_the_source(one: Origin) -> None:
    """A file that stood in line for longer than `give_up_after` gets its full time all the same."""
    one.files.put("/n.bin", DATA)
    one.server.inject(Fault(path="/n.bin", times=1, status=500))
    options = replace(QUICK, connections=1, bandwidth=len(DATA), give_up_after=0.5)
    async with rigged(options) as rig:
        first = asyncio.create_task(rig.fetch(MemorySink(len(DATA), len(DATA)), one.request))
        await asyncio.sleep(0.1)
        sink = MemorySink(len(DATA), len(DATA))
        await rig.fetch(sink, RangeRequest(f"{one.server.endpoint}/n.bin"))
        await first
    assert sink.data == DATA
