from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator

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
    assert disk.reads == [0, 1, 4]


def test_no_caller_hashes_for_all_the_others() -> None:
    disk, pool = Disk(some_bytes(40 * CHUNK)), Pool()
    frontier = Frontier(40, disk.reread)
    for index in range(39, 0, -1):
        disk.offer(frontier, pool, index)
    assert not disk.reads
    disk.offer(frontier, pool, 0)
    assert disk.reads == [1, 2, 3, 4]
    assert frontier.finish() == disk.expected


class SlowDisk(Disk):
    """Reads nothing before it is told to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reading = threading.Event()
        self.go_on = threading.Event()

    def reread(self, index: int) -> Iterator[memoryview]:
        self.reading.set()
        assert self.go_on.wait(10)
        yield from super().reread(index)


def start(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args)
    thread.start()
    return thread


def test_when_a_chunk_is_long_in_coming_nobody_waits_for_ever() -> None:
    disk, pool = Disk(some_bytes(6 * CHUNK)), Pool(spare=1)
    frontier = Frontier(6, disk.reread)
    for index in (0, 3, 5, 4):  # 3 is retained; 1 and 2 are missing
        disk.offer(frontier, pool, index)
    assert pool.held == 1
    assert not disk.reads
    disk.offer(frontier, pool, 1)
    disk.offer(frontier, pool, 2)
    assert frontier.finish() == disk.expected
    assert disk.reads == [4, 5]
    assert pool.held == 0


def test_a_chunk_that_comes_soon_is_waited_for() -> None:
    disk, pool = Disk(some_bytes(3 * CHUNK)), Pool()
    frontier = Frontier(3, disk.reread)
    later = [start(disk.offer, frontier, pool, index) for index in (2, 1)]
    while len(frontier._here) < 2:
        time.sleep(0.001)
    disk.offer(frontier, pool, 0)
    for thread in later:
        thread.join(10)
    assert not disk.reads
    assert frontier.finish() == disk.expected


def test_when_only_hashing_is_behind_it_is_waited_for() -> None:
    disk, pool = SlowDisk(some_bytes(9 * CHUNK)), Pool()
    frontier = Frontier(9, disk.reread, on_disk=[1])
    threads = [start(disk.offer, frontier, pool, 0)]
    assert disk.reading.wait(10)
    for index in range(2, 9):
        threads.append(start(disk.offer, frontier, pool, index))
        while index not in frontier._here:
            time.sleep(0.001)
    assert all(thread.is_alive() for thread in threads)
    disk.go_on.set()
    for thread in threads:
        thread.join(10)
    assert disk.reads == [1]
    assert frontier.finish() == disk.expected
    assert pool.held == 0


def test_far_ahead_of_the_frontier_nobody_waits() -> None:
    disk, pool = SlowDisk(some_bytes(50 * CHUNK)), Pool()
    frontier = Frontier(50, disk.reread, on_disk=range(1, 49))
    first = start(disk.offer, frontier, pool, 0)
    assert disk.reading.wait(10)
    disk.offer(frontier, pool, 49)
    assert first.is_alive()
    disk.go_on.set()
    first.join(10)
    assert frontier.finish() == disk.expected


def test_a_failed_read_lets_every_waiting_caller_go() -> None:
    disk, pool = SlowDisk(some_bytes(6 * CHUNK)), Pool()
    frontier = Frontier(6, disk.reread, on_disk=[1])
    disk.fails = True
    faults = []

    def offer(index: int) -> None:
        try:
            disk.offer(frontier, pool, index)
        except DiskFault as fault:
            faults.append(fault)

    threads = [start(offer, 0)]
    assert disk.reading.wait(10)
    for index in range(2, 6):
        threads.append(start(offer, index))
        while index not in frontier._here:
            time.sleep(0.001)
    disk.go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(faults) == 5
    assert pool.held == 0
    disk.fails = False
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
