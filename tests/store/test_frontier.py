from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cached.core.errors import DiskFault
from cached.store.frontier import Frontier

from .disk import CHUNK, Pool, some_bytes


class Disk:
    """Chunks as they lie on disk, and a count of those read."""

    def __init__(self, data: bytes) -> None:
        self.chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
        self.expected = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.reads: list[int] = []
        self.fails = False

    def reread(self, index: int) -> Iterator[memoryview]:
        self.reads.append(index)
        view = memoryview(self.chunks[index])
        yield view[:1000]
        if self.fails:
            raise DiskFault("no")
        yield view[1000:]

    def offer(self, frontier: Frontier, pool: Pool, index: int) -> None:
        buffer = pool.buffer(self.chunks[index])
        try:
            frontier.offer(index, buffer)
        finally:
            buffer.release()


def test_in_order_nothing_is_read_again_nor_retained() -> None:
    disk, pool = Disk(some_bytes(20 * CHUNK + 5)), Pool()
    frontier = Frontier(21, disk.reread)
    for index in range(21):
        disk.offer(frontier, pool, index)
    assert frontier.finish() == disk.expected
    assert not disk.reads


def test_chunks_slightly_out_of_order_wait_in_their_buffers() -> None:
    disk, pool = Disk(some_bytes(20 * CHUNK)), Pool(spare=4)
    frontier = Frontier(20, disk.reread)
    for first in range(0, 20, 4):
        for index in (first + 3, first + 1, first + 2, first):
            disk.offer(frontier, pool, index)
        assert pool.held == 0
    assert frontier.finish() == disk.expected
    assert not disk.reads


def test_what_could_not_wait_is_read_when_its_turn_comes() -> None:
    disk, pool = Disk(some_bytes(4 * CHUNK)), Pool(spare=1)
    frontier = Frontier(4, disk.reread)
    for index in (1, 2, 0, 3):
        disk.offer(frontier, pool, index)
    assert disk.reads == [2]
    assert frontier.finish() == disk.expected


def test_what_was_on_disk_before_is_not_waited_for() -> None:
    disk, pool = Disk(some_bytes(6 * CHUNK)), Pool()
    frontier = Frontier(6, disk.reread, on_disk=[0, 1, 4])
    for index in (2, 3, 5):
        disk.offer(frontier, pool, index)
    assert frontier.finish() == disk.expected
    assert sorted(disk.reads) == [0, 1, 2, 4]


def test_no_caller_hashes_for_all_the_others() -> None:
    disk, pool = Disk(some_bytes(40 * CHUNK)), Pool()
    frontier = Frontier(40, disk.reread)
    for index in range(39, 0, -1):
        disk.offer(frontier, pool, index)
    assert not disk.reads
    disk.offer(frontier, pool, 0)
    assert disk.reads == [1, 2, 3, 4]
    assert frontier.finish() == disk.expected


def test_who_comes_while_another_hashes_leaves_his_chunk_and_goes() -> None:
    disk, pool = Disk(some_bytes(5 * CHUNK)), Pool(spare=1)
    reading, go_on = threading.Event(), threading.Event()

    def slow(index: int) -> Iterator[memoryview]:
        reading.set()
        go_on.wait(10)
        yield from disk.reread(index)

    frontier = Frontier(5, slow, on_disk=[1])
    first = threading.Thread(target=disk.offer, args=(frontier, pool, 0))
    first.start()
    assert reading.wait(10)
    for index in (4, 2, 3):
        disk.offer(frontier, pool, index)
    assert pool.held == 2  # chunk 0, being hashed, and chunk 4
    assert not disk.reads
    go_on.set()
    first.join(10)
    assert disk.reads == [1, 2, 3]
    assert pool.held == 0
    assert frontier.finish() == disk.expected


def test_an_empty_blob_has_a_digest_too() -> None:
    disk = Disk(b"")
    assert Frontier(0, disk.reread).finish() == disk.expected


def test_closing_gives_every_buffer_back() -> None:
    disk, pool = Disk(some_bytes(8 * CHUNK)), Pool(spare=8)
    frontier = Frontier(8, disk.reread)
    for index in range(1, 8):
        disk.offer(frontier, pool, index)
    assert pool.held == 7
    frontier.close()
    frontier.close()
    assert pool.held == 0


def test_a_read_that_fails_half_way_leaves_no_trace() -> None:
    disk, pool = Disk(some_bytes(5 * CHUNK)), Pool()
    frontier = Frontier(5, disk.reread)
    disk.offer(frontier, pool, 1)
    disk.fails = True
    with pytest.raises(DiskFault):
        disk.offer(frontier, pool, 0)
    pool.spare = 5
    with pytest.raises(DiskFault):
        disk.offer(frontier, pool, 2)
    disk.fails = False
    for index in (3, 4):
        disk.offer(frontier, pool, index)
    assert frontier.finish() == disk.expected
    assert pool.held == 0


def test_a_read_that_fails_at_the_end_gives_the_buffers_back() -> None:
    disk, pool = Disk(some_bytes(5 * CHUNK)), Pool(spare=2)
    frontier = Frontier(5, disk.reread)
    for index in (3, 4, 1):
        disk.offer(frontier, pool, index)
    disk.fails = True
    with pytest.raises(DiskFault):
        frontier.finish()
    frontier.close()
    assert pool.held == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(0, 20), st.integers(1, 6))
def test_any_order_by_any_threads_comes_to_the_same(seed: int, count: int, spare: int, workers: int) -> None:
    disk, pool = Disk(some_bytes(count * CHUNK, seed)), Pool(spare)
    order = list(range(count))
    random.Random(seed).shuffle(order)
    before = order[: seed % count]
    frontier = Frontier(count, disk.reread, on_disk=before)

    def work(mine: list[int]) -> None:
        for index in mine:
            disk.offer(frontier, pool, index)

    arriving = order[seed % count :]
    threads = [threading.Thread(target=work, args=(arriving[n::workers],)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert frontier.finish() == disk.expected
    assert pool.held == 0
    assert pool.spare == spare
    assert len(set(disk.reads)) == len(disk.reads)
