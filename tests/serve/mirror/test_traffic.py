"""What is known of blobs that are being sent, and of those in trouble."""

from __future__ import annotations

from cached.core.digest import Digest
from cached.serve.mirror.traffic import Stream, Traffic

A, B = (Digest.sha256(data) for data in (b"a", b"b"))


def test_a_blob_flows_as_long_as_anybody_gets_it() -> None:
    traffic = Traffic(30, 60)
    one, other = Stream(A, 0), Stream(A, 0)
    traffic.enter(one)
    traffic.enter(other)
    traffic.leave(other)
    assert traffic.flows(A, 100)
    assert not traffic.flows(B, 100)
    traffic.leave(one)
    assert not traffic.flows(A, 100)


def test_a_blob_flows_between_one_part_of_it_and_the_next() -> None:
    traffic = Traffic(30, 60)
    stream = Stream(A, 0)
    traffic.enter(stream)
    traffic.moved(A, 100)
    traffic.leave(stream)
    assert traffic.flows(A, 129)
    assert not traffic.flows(A, 130)


def test_a_blob_that_was_in_trouble_flows_only_while_it_is_sent() -> None:
    traffic = Traffic(30, 60)
    one, other = Stream(A, 0), Stream(A, 9)
    for stream in (one, other):
        traffic.enter(stream)
    traffic.moved(A, 100)
    traffic.upset(A, 101, unreadable=False)
    traffic.leave(one)
    assert traffic.flows(A, 102)
    traffic.leave(other)
    assert not traffic.flows(A, 102)


def test_who_is_behind() -> None:
    traffic = Traffic(30, 60)
    first, later, another = Stream(A, 0), Stream(A, 10), Stream(B, 5)
    for stream in (first, later, another):
        traffic.enter(stream)
    assert [traffic.is_behind(stream) for stream in (first, later, another)] == [False, True, False]
    first.offset = 20
    assert [traffic.is_behind(stream) for stream in (first, later)] == [True, False]
    traffic.leave(later)
    assert not traffic.is_behind(first)


def test_what_one_gets_counts_for_all() -> None:
    traffic = Traffic(30, 60)
    stream = Stream(A, 0)
    traffic.enter(stream)
    assert traffic.last_move(A, 10) == 10
    traffic.moved(A, 20)
    assert traffic.last_move(A, 10) == 20
    assert traffic.last_move(A, 30) == 30, "not what was before"
    assert traffic.last_move(B, 10) == 10
    traffic.leave(stream)
    traffic.enter(stream)
    assert traffic.last_move(A, 25) == 25


def test_trouble_passes() -> None:
    traffic = Traffic(30, 60)
    assert not traffic.troubled(A, 0)
    traffic.upset(A, 100, unreadable=False)
    assert traffic.troubled(A, 120)
    assert not traffic.troubled(B, 120)
    traffic.upset(A, 150, unreadable=False)
    assert traffic.troubled(A, 209)
    assert not traffic.troubled(A, 210)


def test_the_list_of_trouble_is_short_and_keeps_the_latest() -> None:
    traffic = Traffic(30, 60)
    many = [Digest.sha256(str(n).encode()) for n in range(1000)]
    for blob in many:
        traffic.upset(blob, 0, unreadable=False)
    assert sum(traffic.troubled(blob, 1) for blob in many) == 256
    assert traffic.troubled(many[-1], 1)
    traffic.upset(many[-256], 2, unreadable=False)
    traffic.upset(A, 3, unreadable=False)
    assert traffic.troubled(many[-256], 4), "it was in trouble again"
    assert not traffic.troubled(many[-255], 4)


def test_what_is_here_may_be_unreadable() -> None:
    traffic = Traffic(30, 60)
    traffic.upset(A, 0, unreadable=True)
    traffic.upset(B, 0, unreadable=False)
    assert traffic.unreadable(A, 59)
    assert not traffic.unreadable(B, 59)
    traffic.upset(A, 30, unreadable=False)
    assert traffic.unreadable(A, 89), "what happened to another puller says nothing of the disk"
    traffic.upset(A, 100, unreadable=False)
    assert not traffic.unreadable(A, 101), "that was long ago"
