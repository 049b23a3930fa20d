"""Columns, ages, and messages of the API as plain values."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cached._proto.v1 import cache_pb2, operator_pb2, types_pb2
from cached.cli.render import fields, rfc3339
from cached.cli.text import coarse, columns, plain


def test_columns_are_aligned_without_trailing_spaces() -> None:
    assert columns([("REF", "SIZE"), ("minilm", ""), ("x", "86.7 MiB")]) == (
        "REF     SIZE\nminilm  -\nx       86.7 MiB"
    )


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert plain("a\x1b[31mb\r\n\x9b\u202ec") == "a?[31mb????c"
    assert plain("modèle-é") == "modèle-é"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.4, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (172799, "47h"),
        (172800, "2d"),
    ],
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert coarse(seconds) == text


def test_fields_are_exact_and_complete() -> None:
    artifact = types_pb2.Artifact(
        ref="m",
        state=types_pb2.ARTIFACT_STATE_WARM,
        size_bytes=2**53 + 1,
        last_use_time=Timestamp(seconds=1_800_000_000, nanos=500_000_000),
    )
    assert fields(artifact) == {
        "ref": "m",
        "source": "",
        "state": "warm",
        "tree": "",
        "path": "",
        "size_bytes": 2**53 + 1,
        "file_count": 0,
        "progress": None,
        "pinned": False,
        "lease_count": 0,
        "last_use_time": "2027-01-15T08:00:00.500Z",
        "last_error": "",
        "in_catalog": False,
        "in_runtime": False,
    }


def test_fields_go_into_messages_lists_and_durations() -> None:
    lease = fields(cache_pb2.Lease(id="x", ttl=Duration(seconds=90, nanos=250_000_000)))
    assert lease == {"id": "x", "expire_time": None, "ttl": 90.25}
    blob = operator_pb2.CorruptBlob(blob="sha256:ab", refs=["a", "b"])
    assert fields(operator_pb2.VerifyResponse(corrupt=[blob], finished=True)) == {
        "done_bytes": 0,
        "total_bytes": 0,
        "corrupt": [{"blob": "sha256:ab", "refs": ["a", "b"]}],
        "finished": True,
    }


def test_every_state_has_a_word() -> None:
    states = [
        fields(types_pb2.Artifact(state=number))["state"] for number in types_pb2.ArtifactState.values()
    ]
    assert states == ["unspecified", "cold", "fetching", "warm", "failed"]


def test_times_are_in_utc() -> None:
    assert rfc3339(1_800_000_000.5) == "2027-01-15T08:00:00.500000Z"
