"""What is known of blobs that are being sent, and of those in trouble."""

from __future__ import annotations

from cached.core.digest import Digest
from cached.serve.mirror.traffic import Traffic

A, B = (Digest.sha256(data) for data in (b"a", b"b"))


def test_a_blob_flows_as_long_as_anybody_gets_it() -> None:
    traffic = Traffic(60)
    traffic.enter(A)
    traffic.enter(A)
    traffic.leave(A)
    assert traffic.flows(A)
    assert not traffic.flows(B)
    traffic.leave(A)
    assert not traffic.flows(A)


def test_what_one_gets_counts_for_all() -> None:
    traffic = Traffic(60)
    traffic.enter(A)
    assert traffic.last_move(A, 10) == 10
    traffic.moved(A, 20)
    assert traffic.last_move(A, 10) == 20
    assert traffic.last_move(A, 30) == 30, "not what was before"
    assert traffic.last_move(B, 10) == 10
    traffic.leave(A)
    traffic.enter(A)
    assert traffic.last_move(A, 10) == 10


def test_trouble_passes() -> None:
    traffic = Traffic(60)
    assert not traffic.troubled(A, 0)
    traffic.upset(A, 100)
    assert traffic.troubled(A, 159)
    assert not traffic.troubled(A, 160)
    assert not traffic.troubled(B, 159)
    traffic.upset(A, 150)
    assert traffic.troubled(A, 209)


def test_the_list_of_trouble_is_short_and_keeps_the_latest() -> None:
    traffic = Traffic(60)
    many = [Digest.sha256(str(n).encode()) for n in range(1000)]
    for blob in many:
        traffic.upset(blob, 0)
    assert sum(traffic.troubled(blob, 1) for blob in many) == 256
    assert traffic.troubled(many[-1], 1)
    traffic.upset(many[-256], 2)
    traffic.upset(A, 3)
    assert traffic.troubled(many[-256], 4), "it was in trouble again"
    assert not traffic.troubled(many[-255], 4)
