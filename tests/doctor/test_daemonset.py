"""The doctor in the daemon's own pod as its manifest makes it, in a serving pod, and on the node."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.daemonset.built import install
from tests.daemonset.node import run, why_not

_REASON = why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=f"a node in miniature {_REASON}")

THEN = """
operator cachectl doctor -o json
pod cachectl get --quiet tiny >/dev/null
pod cachectl doctor -o json --model tiny
CACHED_ADDRESS=$HOST/run/cached/operator/cached.sock cachectl doctor -o json
"""


def test_by_user_65532_without_any_privilege() -> None:
    with tempfile.TemporaryDirectory(prefix="node-") as short:  # paths of sockets must be
        done = run(install("base"), Path(short), THEN)
    assert done.returncode == 0, done.stdout + done.stderr
    decoder, rest, reports = json.JSONDecoder(), done.stdout.strip(), []
    while rest:
        report, end = decoder.raw_decode(rest)
        reports.append({each["name"]: each for each in report["checks"]})
        rest = rest[end:].lstrip()
    operators, pods, outside = reports
    seen = {"settings", "sockets", "daemon", "disk", "limits", "catalog", "sources", "models"}
    for report in (operators, outside):
        assert {name for name, each in report.items() if each["level"] != "skipped"} == seen
    assert {each["level"] for each in operators.values()} <= {"ok", "skipped"}
    assert (
        "/etc/cached/settings/cached.yaml and 1 variable" in operators["settings"]["findings"][0]["message"]
    )
    assert {name: each["level"] for name, each in pods.items()} == {
        "socket": "ok", "models": "ok", "hub": "skipped",
    }  # fmt: skip
    inner, outer = (
        report["disk"]["findings"][0]["message"].partition(",")[0] for report in (operators, outside)
    )
    assert inner == outer, "by way of the daemon's process"
