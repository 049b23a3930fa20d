"""The bound on memory."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cached.core.chunks import MAX_CHUNK
from cached.transfer.buffers import BufferPool, PooledBuffer


def test_a_buffer_is_aligned_and_as_long_as_asked() -> None:
    pool = BufferPool(1, 0)
    buffer = pool.take(5000)
    assert len(buffer.view) == 5000
    assert len(buffer.block) == MAX_CHUNK
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer.block)) % 4096 == 0
    buffer.view[:] = b"x" * 5000
    assert bytes(buffer.block[4999:5001]) == b"x\0"
    buffer.release()


def test_blocks_are_used_again() -> None:
    pool = BufferPool(2, 0)
    first = pool.take(1)
    block = first.block
    first.release()
    assert pool.take(1).block is block
    assert pool.idle == 0


def test_more_than_the_largest_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="larger"):
        BufferPool(1, 0).take(MAX_CHUNK + 1)


def test_too_many_releases_are_noticed() -> None:
    pool = BufferPool(1, 0)
    buffer = pool.take(1)
    buffer.release()
    with pytest.raises(RuntimeError, match="more often"):
        buffer.release()
    assert pool.taken == 0


@settings(max_examples=100, deadline=None)
@given(working=st.integers(1, 3), spare=st.integers(0, 3), data=st.data())
def test_retained_buffers_neither_starve_nor_outgrow(working: int, spare: int, data: st.DataObject) -> None:
    pool = BufferPool(working, spare)
    received: list[PooledBuffer] = []
    retained: list[PooledBuffer] = []
    counted: set[PooledBuffer] = set()  # retained at some time, and still out
    for step in data.draw(st.lists(st.sampled_from(["take", "retain", "done", "drop"]), max_size=60)):
        if step == "take" and len(received) < working:
            received.append(pool.take(1))  # never refused to one who has a turn
        elif step == "retain" and received:
            buffer = data.draw(st.sampled_from(received))
            if buffer.try_retain():
                retained.append(buffer)
                counted.add(buffer)
            else:
                assert len(counted) == spare
        elif step == "done" and received:
            received.pop(data.draw(st.integers(0, len(received) - 1))).release()
        elif step == "drop" and retained:
            retained.pop(data.draw(st.integers(0, len(retained) - 1))).release()
        out = {*received, *retained}
        counted &= out
        assert pool.taken == len(out) <= working + spare
        assert pool.taken + pool.idle <= working + spare
        assert len({id(buffer.block) for buffer in out}) == len(out), "two buffers share memory"
    for buffer in received + retained:
        buffer.release()
    assert pool.taken == 0
    for _ in range(spare):
        extra = pool.take(1)
        assert extra.try_retain()
        extra.release()
