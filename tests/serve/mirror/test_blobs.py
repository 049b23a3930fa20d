"""Blobs on their way: as they arrive, to quick pullers, slow ones, and those who leave."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import time
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Corrupt, DiskFault, SourceUnavailable
from cached.serve.mirror.server import MirrorOptions
from tests.serve.mirror.house import House, serving
from tests.serve.mirror.images import REPOSITORY, Blob
from tests.store.house import until

MIB = 1 << 20
DATA = random.Random(1).randbytes(20 * MIB + 4321)
BLOB = Digest.sha256(DATA)
PATH = f"/v2/{REPOSITORY.name}/blobs/{BLOB}"
QUICK = MirrorOptions(answer=2.0, first_piece=0.5, stall=0.5, trouble=2.0, slow=0.5)


def arriving(house: House, here: int = 0) -> Blob:
    """BLOB, of which `here` bytes are here."""
    house.images.add_blob(DATA)
    blob = house.images.blobs[BLOB]
    blob.here = here
    return blob


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def at_rest(house: House) -> None:
    """Nothing of any request is left."""
    await until(lambda: house.images.reading == 0 and house.count("cached_mirror_streams") == 0)
    await until(lambda: house.server._crowd.working == 0)


async def test_a_blob_flows_as_it_arrives(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        blob = arriving(house, MIB)
        client.ask_only(PATH)
        assert (await client.head()).fields["Content-Length"] == str(len(DATA))
        assert await client.take(MIB) == DATA[:MIB], "before the rest is here"
        assert house.count("cached_mirror_streams") == 1
        assert house.images.reading == 1
        for here in (MIB + 1, 9 * MIB, len(DATA)):
            begun = blob.here
            blob.arrive(here)
            assert await client.take(here - begun) == DATA[begun:here]
        await at_rest(house)
        assert (await client.ask("/v2/")).status == 200, "the connection is still good"


async def test_many_at_once_and_one_after_another(tmp_path: Path) -> None:
    """More than there are threads, through connections that are used again; nothing is mixed up."""
    datas = [random.Random(n).randbytes(random.Random(n).randint(1, 12 * MIB)) for n in range(8)]

    async def pull(house: House, seed: int) -> None:
        rng = random.Random(seed)
        async with await house.client() as client:
            for _ in range(4):
                data = rng.choice(datas)
                first = rng.randrange(len(data))
                said = rng.choice(
                    [[], [f"Range: bytes={first}-"], [f"Range: bytes={first}-{first + 999_999}"]]
                )
                answer = await client.ask(f"/v2/team/app/blobs/{Digest.sha256(data)}", *said)
                wanted = (
                    data if not said else data[first:] if said[0].endswith("-") else data[first:][:1_000_000]
                )
                assert answer.body == wanted

    async with serving(tmp_path, MirrorOptions(senders=2)) as house:
        for data in datas:
            house.images.add_blob(data)
        before = descriptors()
        async with asyncio.TaskGroup() as group:
            for seed in range(8):
                group.create_task(pull(house, seed))
        await at_rest(house)
        await until(lambda: descriptors() <= before)
        assert house.count("cached_mirror_aborted_total", reason="error") == 0


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        house.images.add_blob(DATA)
        for first in (0, 5 * MIB, 20 * MIB):
            client.ask_only(PATH, f"Range: bytes={first}-")
            client.ask_only("/v2/", method="HEAD")
        for first in (0, 5 * MIB, 20 * MIB):
            assert (await client.answer()).body == DATA[first:]
            assert (await client.answer(head=True)).status == 200


async def test_what_does_not_begin_in_time_is_a_miss(tmp_path: Path) -> None:
    async with serving(tmp_path, QUICK) as house:
        arriving(house, MIB)
        begun = time.monotonic()
        answer = await house.ask(PATH, f"Range: bytes={MIB}-")
        assert (answer.status, answer.error["code"]) == (404, "UNAVAILABLE")
        assert time.monotonic() - begun > 0.4
        assert (await house.ask(PATH, f"Range: bytes={MIB - 1}-{MIB - 1}")).status == 206
        await at_rest(house)


@pytest.mark.parametrize("kind", ["manifests/latest", "tags/list", f"blobs/{BLOB}"])
async def test_an_engine_that_does_not_answer_is_a_miss(tmp_path: Path, kind: str) -> None:
    async with serving(tmp_path, MirrorOptions(answer=0.3)) as house:
        house.images.delay = 60
        for method in ("GET", "HEAD"):
            assert (await house.ask(f"/v2/team/app/{kind}", method=method)).status == 404
        await at_rest(house)


@pytest.mark.parametrize(
    "error", [SourceUnavailable("the registry is gone"), Corrupt("lies"), KeyError("bug")]
)
async def test_trouble_before_the_first_byte_is_a_miss(tmp_path: Path, error: Exception) -> None:
    async with serving(tmp_path) as house:
        arriving(house).error = error
        assert (await house.ask(PATH)).status == 404
        assert house.count("cached_mirror_requests_total", kind="blob", code="404") == 1
        await at_rest(house)


@pytest.mark.parametrize(
    "error", [SourceUnavailable("the registry is gone"), Corrupt("lies"), KeyError("bug")]
)
async def test_trouble_on_the_way_ends_the_connection_short(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The end is no reset: containerd asks for the rest after the one, and gives up after the other."""
    async with serving(tmp_path) as house, await house.client() as client:
        blob = arriving(house, 9 * MIB)
        client.ask_only(PATH)
        await client.head()
        assert await client.take(9 * MIB) == DATA[: 9 * MIB]
        blob.fail(error)
        assert await client.rest() == b""
        assert house.count("cached_mirror_aborted_total", reason="error") == 1
        await at_rest(house)
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert (vars(record)["blob"], vars(record)["reason"]) == (BLOB, "error")
        assert bool(record.exc_info) == isinstance(error, KeyError)


async def test_a_blob_that_stalls_is_cut_off_and_its_rest_is_a_quick_miss(tmp_path: Path) -> None:
    options = MirrorOptions(first_piece=8.0, stall=0.4, trouble=1.5)
    async with serving(tmp_path, options) as house, await house.client() as client:
        blob = arriving(house, MIB)
        client.ask_only(PATH)
        await client.head()
        assert await client.rest() == DATA[:MIB]
        assert house.count("cached_mirror_aborted_total", reason="stall") == 1

        begun = time.monotonic()
        assert (await house.ask(PATH, f"Range: bytes={MIB}-")).status == 404
        assert time.monotonic() - begun < options.first_piece, "what is in trouble is not waited for"
        assert (await house.ask(PATH)).status == 404, "nor is it begun again"
        blob.arrive(len(DATA))
        assert (await house.ask(PATH, f"Range: bytes={MIB}-")).body == DATA[MIB:], "what is whole is given"

        blob.arrive(MIB)
        await asyncio.sleep(options.trouble)
        asking = asyncio.create_task(house.ask(PATH, f"Range: bytes={MIB}-"))
        await asyncio.sleep(0.5)
        assert not asking.done(), "trouble passes: it is waited for again"
        blob.arrive(len(DATA))
        assert (await asking).body == DATA[MIB:]


async def test_parts_that_are_read_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """A runtime that reads a layer in parts gives it up when one of them is refused.

    So a part that is far from what is here is waited for, as long as others of the blob get more of it.
    """
    options = MirrorOptions(first_piece=0.2, stall=0.4)
    async with serving(tmp_path, options) as house:
        blob = arriving(house, MIB)
        async with await house.client() as first, await house.client() as later:
            first.ask_only(PATH, "Range: bytes=0-")
            assert (await first.head()).status == 206
            later.ask_only(PATH, f"Range: bytes={15 * MIB}-")
            assert (await later.head()).status == 206
            reading = asyncio.create_task(first.take(len(DATA)))
            for here in range(2 * MIB, 14 * MIB, MIB):
                await asyncio.sleep(0.1)
                blob.arrive(here)
            blob.arrive(len(DATA))
            assert await later.take(100) == DATA[15 * MIB :][:100], "after far longer than a stall"
            assert await reading == DATA
        await at_rest(house)
        assert house.count("cached_mirror_aborted_total", reason="stall") == 0


async def test_who_reads_a_part_leaves_after_it(tmp_path: Path) -> None:
    """Ranges of a runtime are open-ended: no more than a piece is read for whoever takes no more."""
    async with serving(tmp_path) as house:
        data = bytes(100 * MIB)
        blob = house.images.blobs[house.images.add_blob(data)]
        before = descriptors()
        async with await house.client(buffer=64 << 10) as client:
            client.ask_only(f"/v2/team/app/blobs/{Digest.sha256(data)}", "Range: bytes=1000-")
            await client.head()
            assert await client.take(MIB) == bytes(MIB)
            await asyncio.sleep(0.2)
            client.reset()
        await at_rest(house)
        assert max(offset + length for offset, length in blob.pieces) <= 1000 + 16 * MIB
        await until(lambda: descriptors() <= before)
        assert house.count("cached_mirror_aborted_total", reason="error") == 0
        assert house.count("cached_mirror_aborted_total", reason="slow") == 0


@pytest.mark.parametrize("begun", [False, True])
async def test_leaving_ends_the_reading_at_once(tmp_path: Path, begun: bool) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        arriving(house, MIB if begun else 0)
        client.ask_only(PATH)
        await until(lambda: house.images.reading)
        if begun:
            await client.head()
        client.close()
        await at_rest(house)
        if not begun:
            assert house.count("cached_mirror_requests_total", kind="blob", code="499") == 1


async def test_slow_pullers_are_let_go_and_hold_no_thread(tmp_path: Path) -> None:
    async with serving(tmp_path, MirrorOptions(senders=1, slow=1.0)) as house:
        data = bytes(100 * MIB)
        house.images.add_blob(data)
        slow = [await house.client(buffer=4096) for _ in range(3)]
        for client in slow:
            client.ask_only(f"/v2/team/app/blobs/{Digest.sha256(data)}")
            await client.head()
            client.pause()
        house.images.add_blob(DATA)
        assert (await house.ask(PATH)).body == DATA, "though all of them wait for the one thread"
        await until(lambda: house.count("cached_mirror_aborted_total", reason="slow") == 3)
        await at_rest(house)
        assert (await house.ask(PATH, "Range: bytes=-1")).status == 206, "their slowness is not the blob's"
        for client in slow:
            client.close()


async def test_a_puller_that_drips_gets_all(tmp_path: Path) -> None:
    async with serving(tmp_path, MirrorOptions(slow=1.0)) as house, await house.client(buffer=4096) as client:
        house.images.add_blob(DATA)
        client.ask_only(PATH, f"Range: bytes=-{8 * MIB}")
        await client.head()
        digest = hashlib.sha256()
        for _ in range(64):
            digest.update(await client.take(8 * MIB // 64))
            await asyncio.sleep(0.015)
        assert digest.digest() == hashlib.sha256(DATA[-8 * MIB :]).digest()


async def test_what_was_sent_leaves_the_page_cache(tmp_path: Path) -> None:
    """But for the end, which may still be in the socket; and nothing leaves that others may have read."""

    def cached(path: Path, offset: int) -> bool:
        with path.open("rb") as file:
            try:
                return os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) == 1
            except BlockingIOError:
                return False

    async with serving(tmp_path) as house:
        blob = arriving(house, len(DATA))
        with blob.path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if cached(blob.path, 0):
                pytest.skip("this filesystem keeps all in memory")
            assert file.read() == DATA
        assert len((await house.ask(PATH, f"Range: bytes={4 * MIB}-")).body) == len(DATA) - 4 * MIB
        assert [cached(blob.path, at * MIB) for at in (1, 3, 6, 10, 15, 20)] == [True] * 2 + [False] * 2 + [
            True
        ] * 2


async def test_a_file_that_is_shorter_than_its_blob(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        blob = arriving(house, len(DATA))
        os.truncate(blob.path, 10 * MIB)
        client.ask_only(PATH)
        await client.head()
        assert await client.rest() == DATA[: 10 * MIB]
        assert house.count("cached_mirror_aborted_total", reason="error") == 1
        for said in (f"Range: bytes={10 * MIB}-", "Range: bytes=0-"):
            assert (await house.ask(PATH, said)).status == 404, "though all of it seems to be here"


async def test_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The puller is sent away; descriptors stay open until the thread is back, and are closed then."""
    over = time.monotonic() + 1.5

    def hang(*_: object) -> int:
        time.sleep(max(over - time.monotonic(), 0))
        raise DiskFault("gone")

    monkeypatch.setattr("cached.serve.mirror.outlet._send", hang)
    async with serving(tmp_path, MirrorOptions(stall=0.5)) as house:
        house.images.add_blob(DATA)
        before = descriptors()
        async with await house.client() as client:
            client.ask_only(PATH)
            await client.head()
            assert await client.rest() == b""
            await at_rest(house)
            assert time.monotonic() < over, "without waiting for the disk"
            assert descriptors() == before + 3, "the client's own, and what the thread uses"
        await until(lambda: descriptors() <= before)


async def test_the_drain(tmp_path: Path) -> None:
    """Who is at work gets the rest within the grace; who is idle is let go, and nobody new is taken."""
    async with serving(tmp_path) as house:
        blob = arriving(house, MIB)
        async with await house.client() as busy, await house.client() as idle:
            assert (await idle.ask("/v2/")).status == 200
            busy.ask_only(PATH)
            await busy.head()
            stopping = asyncio.create_task(house.server.stop(10))
            assert await idle.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await house.client()
            blob.arrive(len(DATA))
            assert await busy.rest() == DATA
            await stopping


async def test_the_end_of_the_grace(tmp_path: Path) -> None:
    async with serving(tmp_path) as house, await house.client() as client:
        arriving(house, MIB)
        client.ask_only(PATH)
        await client.head()
        await house.server.stop(0.2)
        assert house.images.reading == 0
        assert await client.rest() == DATA[:MIB]
