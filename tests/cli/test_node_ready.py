"""`cachectl node ready`: what it prints, waits for, and ends with."""

from __future__ import annotations

import json
import time

import pytest
from google.protobuf.duration_pb2 import Duration

from cached._proto.v1 import types_pb2
from cached._proto.v1.operator_pb2 import (
    GATE_STATE_CLOSED,
    GATE_STATE_OPEN_DEADLINE,
    Gate,
    ReadinessResponse,
)
from tests.cli.conftest import Ask
from tests.cli.node import MIB, Node, progress

READY = ReadinessResponse(ready=True, serving=True, wanted_count=2)
CLOSED = Gate(node="node-1", state=GATE_STATE_CLOSED, opens_in=Duration(seconds=430))


def lacking(*refs: str, gate: Gate | None = None) -> ReadinessResponse:
    missing = [
        types_pb2.Artifact(
            ref=ref, state=types_pb2.ARTIFACT_STATE_FAILED, last_error=f"no {ref} at\x1b[31m s3"
        )
        for ref in refs
    ]
    return ReadinessResponse(serving=True, wanted_count=2, missing=missing, gate=gate)


def fetching(done: int) -> ReadinessResponse:
    artifact = types_pb2.Artifact(
        ref="cold", state=types_pb2.ARTIFACT_STATE_FETCHING, progress=progress(done * MIB, 100 * MIB)
    )
    return ReadinessResponse(serving=True, wanted_count=2, missing=[artifact])


def test_ready(node: Node, ask: Ask) -> None:
    result = ask("node", "ready")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "ready: 2 of 2 models and images are warm\n"


def test_what_is_missing_and_when_the_gate_opens(node: Node, ask: Ask) -> None:
    node.readiness = [lacking("a", gate=CLOSED)]
    result = ask("node", "ready")
    assert result.exit_code == 18
    verdict, table, gate = result.stdout.split("\n\n")
    assert verdict == "not ready: 1 of 2 models and images are not warm"
    assert [line.split(maxsplit=3) for line in table.splitlines()] == [
        ["REF", "STATE", "SIZE", "NOTE"],
        ["a", "failed", "-", "no a at?[31m s3"],
    ]
    assert gate.splitlines() == ["node  node-1", "gate  closed, opens in 7m at the latest"]


def test_a_gate_that_is_open_and_cannot_be_changed(node: Node, ask: Ask) -> None:
    gate = Gate(node="node-1", state=GATE_STATE_OPEN_DEADLINE, trouble="HTTP 403")
    node.readiness = [lacking("a", gate=gate)]
    told = ask("node", "ready").stdout.split("\n\n")[2]
    assert told.splitlines() == ["node     node-1", "gate     open: deadline", "trouble  HTTP 403"]


@pytest.mark.parametrize(
    ("answer", "code", "verdict"),
    [
        (ReadinessResponse(wanted_count=0), 12, "not ready: the daemon does not serve"),
        (
            ReadinessResponse(serving=True),
            18,
            "not ready: no catalog was read that says what is to be warm",
        ),
        (
            ReadinessResponse(ready=True, serving=True, wanted_count=0),
            0,
            "ready: 0 of 0 models and images are warm",
        ),
    ],
)
def test_verdicts(node: Node, ask: Ask, answer: ReadinessResponse, code: int, verdict: str) -> None:
    node.readiness = [answer]
    result = ask("node", "ready")
    assert (result.exit_code, result.stdout) == (code, f"{verdict}\n")


def test_as_json(node: Node, ask: Ask) -> None:
    node.readiness = [lacking("a", gate=CLOSED)]
    result = ask("node", "ready", "-o", "json")
    assert result.exit_code == 18
    told = json.loads(result.stdout)
    assert [each["ref"] for each in told["missing"]] == ["a"]
    assert told["gate"] == {"node": "node-1", "state": "closed", "opens_in": 430.0, "trouble": ""}
    node.readiness = [ReadinessResponse(serving=True)]
    told = json.loads(ask("node", "ready", "-o", "json").stdout)
    assert told == {"ready": False, "serving": True, "wanted_count": None, "missing": [], "gate": None}


def test_it_waits_and_shows_how_far_it_is(node: Node, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.cli.node.ready.POLL", 0.02)
    node.readiness = [ReadinessResponse(), lacking("a"), lacking("a"), fetching(25), READY]
    result = ask("node", "ready", "--wait")
    assert (result.exit_code, result.stdout) == (0, "ready: 2 of 2 models and images are warm\n")
    assert [line.split()[:2] for line in result.stderr.splitlines()] == [
        ["a", "no"],
        ["a", "warm"],
        ["cold", "25%"],
        ["cold", "warm"],
    ]


def test_quiet_waiting(node: Node, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.cli.node.ready.POLL", 0.02)
    node.readiness = [fetching(25), READY]
    result = ask("node", "ready", "--wait", "-q")
    assert (result.exit_code, result.stderr) == (0, "")


def test_waiting_has_an_end_and_still_tells_what_is_missing(
    node: Node, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cached.cli.node.ready.POLL", 0.05)
    node.readiness = [lacking("a", "b")]
    began = time.monotonic()
    result = ask("node", "ready", "--wait", "--timeout", "0.3")
    assert time.monotonic() - began >= 0.2
    assert result.exit_code == 8
    assert "2 of 2 models and images are not warm" in result.stdout
    assert result.stderr.splitlines()[-2:] == [
        "error: the node is not ready yet",
        "hint: cachectl describe REF says more of what is missing",
    ]


def test_a_daemon_that_is_not_there(ask: Ask) -> None:
    assert ask("--address", "/nowhere/cached.sock", "node", "ready").exit_code == 7
    waited = ask("--address", "/nowhere/cached.sock", "node", "ready", "--wait", "--timeout", "0.3")
    assert waited.exit_code in (7, 8)
