"""Whatever comes over the wire: refusals that are short, no bytes that were not asked for, and it goes on."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.serve.mirror.server import MirrorOptions
from tests.serve.mirror.house import Answer, Client, House, request, serving
from tests.serve.mirror.images import HOST, REPOSITORY
from tests.store.house import until

DATA = random.Random(3).randbytes(100_000)
BLOB = Digest.sha256(DATA)
MANIFEST_DATA = b'{"schemaVersion":2}'
MANIFEST = Digest.sha256(MANIFEST_DATA)
PATH = f"/v2/{REPOSITORY.name}/blobs/{BLOB}"
STATUSES = {200, 206, 304, 400, 401, 404, 405, 412, 416}
FIELDS = {
    *("Server", "Date", "Docker-Distribution-API-Version", "Content-Type", "Content-Length", "Connection"),
    *("Docker-Content-Digest", "ETag", "Accept-Ranges", "Content-Range", "OCI-Namespace", "Allow"),
}
ROUGH = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_PLACE = re.compile(r"bytes (\d+)-(\d+)/100000")


def prepare(house: House) -> None:
    house.images.add_blob(DATA)
    house.images.add_manifest(MANIFEST_DATA, "latest")


def lawful(answer: Answer) -> None:
    """What it gives is what its head says, and a refusal is short and quotes no more than that."""
    assert answer.status in STATUSES
    assert set(answer.fields) <= FIELDS
    if answer.status == 206:
        found = _PLACE.fullmatch(answer.fields["Content-Range"])
        assert found
        assert answer.body == DATA[int(found[1]) : int(found[2]) + 1]
    elif answer.status == 200:
        assert answer.body in (DATA, MANIFEST_DATA, b"{}", b"")
    elif answer.body:
        assert len(answer.body) < 2000
        assert json.loads(answer.body)["errors"]


async def attack(house: House, data: bytes) -> list[Answer]:
    """Say it and no more; all that is answered."""
    answers: list[Answer] = []
    async with await house.client() as client:
        client.send(data)
        await client.quiet(0.1)
        with suppress(asyncio.IncompleteReadError):
            for said in data.split(b"\r\n\r\n"):
                answers.append(await client.answer(head=said.startswith(b"HEAD ")))
                lawful(answers[-1])
    return answers


async def fine(house: House) -> bool:
    answer = await house.ask(PATH, "Range: bytes=7-77")
    return (answer.status, answer.body) == (206, DATA[7:78])


def in_loop(example: Callable[[], Awaitable[object]], loop: asyncio.AbstractEventLoop) -> None:
    """Run an example's coroutine in the loop of the test, from the thread that hypothesis has to itself."""
    asyncio.run_coroutine_threadsafe(_whole(example), loop).result(60)


async def _whole(example: Callable[[], Awaitable[object]]) -> None:
    await example()


NUMBERS = st.one_of(
    st.integers(-3, 200_000), st.sampled_from([99_999, 100_000, 2**31, 2**63, 2**64, 10**30])
).map(str)
RANGES = st.one_of(
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS),
    st.builds("bytes={}-".format, NUMBERS),
    st.builds("bytes=-{}".format, NUMBERS),
    st.builds("bytes={}-{},{}-{}".format, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20),
)
WORDS = [
    *("/", "v2", "blobs", "manifests", "tags", "list", "referrers", "uploads", "..", ".", "%2e%2e", "%2f"),
    *("%00", "\0", "team", "app", "latest", BLOB, BLOB.upper(), MANIFEST, "sha512:" + "0" * 128, "?ns=", "?"),
    *(HOST, "&ns=", "#", "%", "%zz", "http://evil", "\\", "etc/passwd", "\xe4", "origin:" + "0" * 64),
]
PATHS = st.one_of(
    st.sampled_from([PATH, "/v2/team/app/manifests/latest", f"/v2/team/app/manifests/{MANIFEST}?ns={HOST}"]),
    st.lists(st.sampled_from(WORDS), max_size=8).map("/".join),
    st.text(st.characters(max_codepoint=255), max_size=40),
)
FIELD = st.sampled_from(
    [
        *("Content-Length: 5", "Content-Length: 0", "Content-Length: 18446744073709551617"),
        *("Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Expect: 100-continue"),
        *(
            "Connection: close",
            "Connection: upgrade\r\nUpgrade: h2c",
            "Upgrade: websocket",
            "Range: bytes=0-0",
        ),
        *("If-Range: x", "If-Range: " + '"' * 99, "If-None-Match: *", "If-None-Match: " + '"a",' * 99),
        *("If-Match: *", "Accept: " + "a/b;q=" * 500, "Accept: \xff\xfe", "Accept-Encoding: gzip"),
        *(
            "Host: elsewhere",
            "X-Forwarded-For: 10.0.0.1",
            " folded",
            "X: " + "y" * 20_000,
            "Cookie: " + "a=b;" * 99,
        ),
        *("Authorization: Basic \xff", "Authorization: Bearer " + "t" * 12_000, "\r\nGET / HTTP/1.1"),
    ]
)
REQUESTS = st.builds(
    lambda method, path, version, fields, said, end: (
        "\r\n".join([f"{method} {path} {version}", "Host: a", *fields, f"Range: {said}"]) + end
    ).encode("latin-1"),
    st.sampled_from(["GET"] * 4 + ["HEAD", "POST", "PUT", "get", "", "\0", "CONNECT", "PRI"]),
    PATHS,
    st.sampled_from(["HTTP/1.1"] * 4 + ["HTTP/1.0", "HTTP/2.0", "", "x"]),
    st.lists(FIELD, max_size=2),
    RANGES,
    st.sampled_from(["\r\n\r\n"] * 4 + ["\n\n", "\r\n\r\nabcde", "\r\n\r\n0\r\n\r\n"]),
)


async def test_whatever_is_asked(tmp_path: Path) -> None:
    async with serving(tmp_path, MirrorOptions(idle=1.0)) as house:
        prepare(house)
        loop = asyncio.get_running_loop()

        @ROUGH
        @given(REQUESTS)
        def asked(data: bytes) -> None:
            in_loop(lambda: attack(house, data), loop)

        await asyncio.to_thread(asked)
        assert await fine(house)
        await until(lambda: house.images.reading == 0)


async def test_noise(tmp_path: Path) -> None:
    good = request(PATH, "Range: bytes=0-9") + request("/v2/team/app/manifests/latest", method="HEAD")
    async with serving(tmp_path, MirrorOptions(idle=1.0)) as house:
        prepare(house)
        loop = asyncio.get_running_loop()

        @ROUGH
        @given(st.integers(0, len(good) - 1), st.integers(0, 3), st.binary(max_size=4))
        def damaged(at: int, without: int, instead: bytes) -> None:
            in_loop(lambda: attack(house, good[:at] + instead + good[at + without :]), loop)

        @ROUGH
        @given(st.binary(min_size=1, max_size=300).map(lambda data: data + b"\r\n\r\n"))
        def noise(data: bytes) -> None:
            in_loop(lambda: attack(house, data), loop)

        await asyncio.to_thread(damaged)
        await asyncio.to_thread(noise)
        assert await fine(house)


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"WHATEVER /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (64 << 10) + b"\r\n\r\n",
        b"GET /v2/" + b"a" * (64 << 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    ],
    ids=["tls", "http2", "ssh", "method", "nul", "field", "path", "fields"],
)
async def test_what_is_no_request(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        prepare(house)
        client.send(said)
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (400, "UNSUPPORTED")
        with suppress(ConnectionError):
            assert await client.rest() == b""
        assert house.count("cached_mirror_requests_total", kind="other", code="400") == 1
        assert await fine(house)


async def test_tokens_may_be_long(tmp_path: Path) -> None:
    async with serving(tmp_path) as house:
        prepare(house)
        said = "Authorization: Bearer " + "t" * 15_000
        assert (await house.ask(PATH, said)).status == 200
        assert house.images.asked[0][1].authorization == said.partition(": ")[2]


@pytest.mark.parametrize(
    "said",
    [
        ["Content-Length: 44"],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: 44", "Transfer-Encoding: chunked"],
    ],
)
async def test_nothing_is_smuggled(tmp_path: Path, said: list[str]) -> None:
    """What is in a request's body is not read as another request, and gives nothing."""
    async with serving(tmp_path) as house, await house.client() as client:
        prepare(house)
        client.send(request("/v2/", *said) + request(PATH, "Range: bytes=0-9"))
        assert (await client.answer()).status == 400
        with suppress(ConnectionError):
            rest = await client.rest()
            assert DATA[:10] not in rest
        assert [what for what, _, _ in house.images.asked if what == "read"] == []


async def test_an_upload_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        client.send(request("/v2/team/app/blobs/uploads/", "Content-Length: 100000000", method="POST"))
        assert (await client.answer()).status == 405
        assert await client.rest() == b""


async def test_who_sends_a_request_byte_by_byte_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path, MirrorOptions(idle=0.5)) as house, await house.client() as client:
        prepare(house)
        begun = time.monotonic()
        with suppress(ConnectionError):
            for byte in request(PATH, "X: " + "y" * 1000):
                client.send(bytes([byte]))
                await client.writer.drain()
                await asyncio.sleep(0.01)
        with suppress(ConnectionError):
            assert await client.rest() == b""
        assert time.monotonic() - begun < 9
        assert await fine(house)


async def test_who_asks_nothing_is_left(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, MirrorOptions(idle=0.4)) as house,
        await house.client() as never,
        await house.client() as once,
    ):
        assert (await once.ask("/v2/")).status == 200
        assert await never.rest() == await once.rest() == b""


async def test_a_crowd_of_the_idle(tmp_path: Path) -> None:
    """Those who have been idle longest make room; those at work stay, and everybody new is served."""
    async with serving(tmp_path, MirrorOptions(connections=40)) as house, await house.client() as busy:
        prepare(house)
        data = bytes(3_000_000)
        blob = house.images.blobs[house.images.add_blob(data)]
        blob.here = 1000
        busy.ask_only(f"/v2/team/app/blobs/{Digest.sha256(data)}")
        await busy.head()
        idle: list[Client] = []
        for n in range(1000):
            idle.append(await house.client())
            if n % 50 == 0:
                assert (await idle[-1].ask("/v2/")).status == 200
        assert await fine(house)
        for client in idle[:950]:
            assert await client.rest() == b""
        blob.arrive(len(data))
        assert await busy.take(len(data)) == data
        for client in idle:
            client.close()
        await until(lambda: len(house.server._crowd._open) == 1)


async def test_when_all_are_at_work_nobody_new_waits(tmp_path: Path) -> None:
    async with serving(tmp_path, MirrorOptions(connections=3)) as house:
        house.images.delay = 0.7
        clients = [await house.client() for _ in range(3)]
        for client in clients:
            client.ask_only("/v2/team/app/manifests/latest")
        await until(lambda: len(house.images.asked) == 3)
        async with await house.client() as late:
            late.ask_only("/v2/")
            with suppress(ConnectionError):
                assert await late.rest() == b""
            assert house.server._crowd.working == 3
        for client in clients:
            assert (await client.answer()).status == 404
            client.close()


async def test_a_flood_of_pipelined_requests(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        prepare(house)
        client.send(request(PATH, "Range: bytes=5-9") * 500)
        for _ in range(500):
            assert (await client.answer()).body == DATA[5:10]
        client.send(request(PATH) * 500)
        await client.head()
        client.reset()
        await until(lambda: house.server._crowd.working == 0)
        assert await fine(house)


async def test_a_crowd_of_the_rude(tmp_path: Path) -> None:
    """Many at once who break off at any point; a puller in between is served well all the time."""
    async with serving(tmp_path, MirrorOptions(senders=2, idle=1.0)) as house:
        prepare(house)
        over = threading.Event()
        wholly = request(PATH)

        async def be_rude(seed: int) -> None:
            rng = random.Random(seed)
            while not over.is_set():
                client = await house.client()
                with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                    client.send(wholly[: rng.randint(0, len(wholly))])
                    await asyncio.sleep(rng.random() / 50)
                    async with asyncio.timeout(0.05):
                        await client.take(rng.randint(0, 100_000))
                client.reset() if rng.random() < 0.5 else client.close()

        async with asyncio.TaskGroup() as group:
            for seed in range(6):
                group.create_task(be_rude(seed))
            async with await house.client() as client:
                for first in range(0, 99_000, 1000):
                    answer = await client.ask(PATH, f"Range: bytes={first}-")
                    assert answer.body == DATA[first:]
            over.set()
        await until(lambda: house.images.reading == 0 and house.server._crowd.working == 0)
        assert await fine(house)
