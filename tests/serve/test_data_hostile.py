"""Whatever members or strangers say: no byte that is not verified and shared, and the server goes on."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cached.serve.peer.data.server import DataOptions
from tests.store.house import MIB, until

from .data_house import (
    PART,
    PART_CHUNKS,
    PART_DATA,
    SECRET,
    STRANGER,
    WHOLE,
    WHOLE_DATA,
    Answer,
    Client,
    House,
    request,
    serving,
)

STATUSES = {200, 206, 400, 404, 405, 416, 431, 503}
_PLACE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def lawful(answer: Answer, *, head: bool) -> None:
    """What it gives is verified and shared, and what it says is short."""
    assert answer.status in STATUSES
    assert set(answer.fields) <= {
        "Content-Length",
        "Content-Type",
        "Content-Range",
        "Accept-Ranges",
        "Allow",
        "Retry-After",
        "Connection",
    }
    if head:
        assert answer.body == b""
    elif answer.status == 206:
        found = _PLACE.fullmatch(answer.fields["Content-Range"])
        assert found
        first, last, size = map(int, found.groups())
        data = {len(WHOLE_DATA): WHOLE_DATA, len(PART_DATA): PART_DATA}[size]
        assert answer.body == data[first : last + 1]
        if data is PART_DATA:
            assert set(range(first // MIB, last // MIB + 1)) <= set(PART_CHUNKS)
    else:
        assert len(answer.body) < 100


def attack(house: House, data: bytes) -> list[Answer]:
    """Say it and no more; all that is answered."""
    answers = []
    with house.client() as client:
        try:
            client.send(data)
            client.done()
            for said in data.split(b"\r\n\r\n"):
                answers.append(client.answer(head=said.startswith(b"HEAD ")))
                lawful(answers[-1], head=said.startswith(b"HEAD "))
            assert client.is_over()
        except (EOFError, ConnectionError):
            assert not client.left
    return answers


def fine(house: House) -> bool:
    with house.client() as client:
        return client.ask(WHOLE, 7, 77).body == WHOLE_DATA[7:78]


NUMBERS = st.one_of(
    st.integers(-3, 5 * MIB),
    st.sampled_from([MIB - 1, MIB, len(WHOLE_DATA), len(PART_DATA), 2**31, 2**63 - 1, 2**64, 10**30]),
).map(str)
RANGES = st.one_of(
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS),
    st.builds("bytes={}-".format, NUMBERS),
    st.builds("bytes=-{}".format, NUMBERS),
    st.builds("bytes={}-{},{}-{}".format, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.text(st.characters(max_codepoint=255), max_size=20),
)
WORDS = [
    *("/", "v1", "blobs", "..", ".", "%2e%2e", "%2f", "%00", "\0", "sha256", "origin", "stage", "data"),
    *("etc/passwd", WHOLE.hex, WHOLE.hex.upper(), "http://node", "?", "#", ":"),
]
PATHS = st.one_of(
    st.sampled_from([WHOLE, PART, SECRET, STRANGER]).map(lambda blob: "/v1/blobs/" + blob.replace(":", "/")),
    st.lists(st.sampled_from(WORDS), max_size=8).map("/".join),
    st.text(st.characters(max_codepoint=255), max_size=40),
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        "Content-Length: 5",
        "Content-Length: 0",
        "Content-Length: 18446744073709551617",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Expect: 100-continue",
        "Connection: close",
        "Connection: upgrade\r\nUpgrade: h2c",
        "Range: bytes=0-0",
        "If-Range: x",
        "Host: elsewhere",
        "X-Forwarded-For: 10.0.0.1",
        "Accept-Encoding: gzip",
        " folded",
        "X: " + "y" * 9000,
        "\r\nGET / HTTP/1.1",
    ]
)
REQUESTS = st.builds(
    lambda method, path, version, fields, said, end: (
        "\r\n".join([f"{method} {path} {version}", "Host: a", *fields, f"Range: {said}"]) + end
    ).encode("latin-1"),
    st.sampled_from(["GET"] * 4 + ["HEAD", "POST", "get", "", "\0", "CONNECT"]),
    PATHS,
    st.sampled_from(["HTTP/1.1"] * 4 + ["HTTP/1.0", "HTTP/2.0", "", "x"]),
    st.lists(FIELDS, max_size=2),
    RANGES,
    st.sampled_from(["\r\n\r\n"] * 4 + ["\n\n", "\r\n", "", "\r\n\r\nabcde", "\r\n\r\n0\r\n\r\n"]),
)
ROUGH = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


async def test_requests_of_every_kind(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house:

        @ROUGH
        @given(st.lists(REQUESTS, min_size=1, max_size=3).map(b"".join))
        def try_it(data: bytes) -> None:
            attack(house, data)

        try_it()
        assert fine(house)


async def test_noise(tmp_path: Path) -> None:
    good = request(WHOLE, "bytes=0-9") + request(PART, "bytes=5-6")
    async with serving(tmp_path / "root") as house:

        @ROUGH
        @given(st.integers(0, len(good) - 1), st.integers(0, 3), st.binary(max_size=4))
        def damaged(at: int, without: int, instead: bytes) -> None:
            attack(house, good[:at] + instead + good[at + without :])

        @ROUGH
        @given(st.binary(max_size=300))
        def noise(data: bytes) -> None:
            assert all(answer.status == 400 for answer in attack(house, data))

        damaged()
        noise()
        assert fine(house)


@pytest.mark.parametrize(
    "said",
    [
        "Content-Length: 44\r\n\r\nGET /v1/blobs/x HTTP/1.1",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        "Expect: 100-continue\r\n\r\n",
        "X: a\r\n\r\n\r\n",
    ],
)
async def test_nothing_is_smuggled(tmp_path: Path, said: str) -> None:
    """What follows a refused request is not read as another."""
    async with serving(tmp_path / "root") as house:
        begun = request(WHOLE, "bytes=0-9")[:-2] + said.encode()
        answers = attack(house, begun + request(WHOLE, "bytes=0-9"))
        assert [answer.status for answer in answers][-1] == 400
        assert answers[-1].fields["Connection"] == "close"
        assert all(answer.status == 400 for answer in answers[1:])


@pytest.mark.parametrize("fill", [b"a", b"\r\n", b"\n", b"X: y\r\n", b"GET / HTTP/1.1\n"])
async def test_a_head_without_end(tmp_path: Path, fill: bytes) -> None:
    async with serving(tmp_path / "root") as house:
        endless = b"GET / HTTP/1.1\r\n" + fill * (100_000 // len(fill))
        answers = attack(house, endless)
        assert len(answers) <= 1, "it was refused, or the refusal was lost in the flood"
        assert all(answer.status in (400, 431) for answer in answers)
        assert fine(house)
        with house.client() as client:
            client.send(request(WHOLE, "bytes=0-0", "X: " + "y" * 9000))
            assert client.answer().status == 431
            assert client.is_over()


async def test_the_longest_head_that_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house, house.client() as client:
        bare = len(request(WHOLE, "bytes=0-0", "X: "))
        for extra, status in [(0, 206), (0, 206), (1, 431)]:
            client.send(request(WHOLE, "bytes=0-0", "X: " + "y" * (8192 - bare + extra)))
            assert client.answer().status == status


async def test_who_sends_a_request_byte_by_byte_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path / "root", DataOptions(head=0.8)) as house, house.client() as client:
        with suppress(ConnectionError):
            for byte in request(WHOLE, "bytes=0-9"):
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)
        assert client.is_over()
        assert fine(house)


async def test_who_asks_nothing_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path / "root", DataOptions(idle=0.2)) as house, house.client() as client:
        assert client.ask(WHOLE, 0, 0).status == 206
        begun = time.monotonic()
        assert client.is_over()
        assert 0.1 < time.monotonic() - begun < 9


async def test_the_answer_to_a_bad_request_is_read_though_more_follows(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house, house.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" + b"a" * 30000)
        answer = client.answer()
        assert (answer.status, answer.fields["Allow"]) == (405, "GET, HEAD")
        assert client.sock.recv(1) == b"", "the end is no reset, which could overtake the answer"


async def test_a_crowd_of_the_rude(tmp_path: Path) -> None:
    """Many at once who break off at any point; a member in between is served well all the time."""
    async with serving(tmp_path / "root", DataOptions(uploads=2, patience=5, head=0.5)) as house:
        over = threading.Event()
        wholly = request(WHOLE, f"bytes=0-{len(WHOLE_DATA) - 1}")

        def be_rude(seed: int) -> None:
            rng = random.Random(seed)
            while not over.is_set():
                try:
                    with Client(house.port, source="127.0.0.2") as client:
                        client.send(wholly[: rng.randint(0, len(wholly))])
                        if rng.random() < 0.5:
                            client.sock.recv(rng.randint(1, 100_000))
                except OSError:
                    pass

        rude = [threading.Thread(target=be_rude, args=(seed,)) for seed in range(4)]
        for thread in rude:
            thread.start()
        try:
            with house.client() as client:
                for first in range(0, 20 * 1000, 1000):
                    assert client.ask(WHOLE, first, first + MIB).body == WHOLE_DATA[first : first + MIB + 1]
        finally:
            over.set()
            for thread in rude:
                thread.join()
        await until(lambda: not house.shelf.loads[-1])
        assert fine(house)
