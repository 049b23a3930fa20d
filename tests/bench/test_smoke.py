"""Every part of the benchmark runs, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import csi, disk
from bench.__main__ import main
from cached.kit.mounts import may_mount


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is to be exact, so nothing waits for a quiet disk."""
    monkeypatch.setattr(disk, "settle", lambda: None)


def _run(part: str, tmp_path: Path, *arguments: str) -> Any:
    """Run one part; returns its raw data."""
    work, results = tmp_path / "work", tmp_path / "results"
    work.mkdir()
    main(["--only", part, "--work", str(work), "--results", str(results), *arguments])
    assert sorted(path.suffix for path in results.iterdir()) == [".json", ".md", ".svg"]
    assert not list(work.iterdir()), "the benchmark leaves nothing behind"
    [raw] = results.glob("*.json")
    [text] = results.glob("*.md")
    for private in (platform.node(), str(tmp_path)):
        assert private not in raw.read_text() + text.read_text()
    return json.loads(raw.read_text())["data"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="nginx is not installed")
def test_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = _run("throughput", tmp_path, "--size", "4MiB", "--rounds", "1", "--connections", "4")
    asked = {(run["origin"], run["model"], run["client"]) for run in runs}
    clients = {"cached, SHA-256", "s5cmd", "boto3", "AWS CRT", "disk limit"}
    assert asked == {
        *(("nginx", "one file", client) for client in {*clients, "cached, CRC-64"}),
        *(("nginx", "30 shards", client) for client in {*clients, "cached, CRC-64"}),
        *(("SeaweedFS", "30 shards", client) for client in clients),
    }
    assert all(run["durable_seconds"] >= run["seconds"] > 0 for run in runs)
    assert all(run["cpu"] > 0 for run in runs if run["client"] != "disk limit")
    # Memory is sampled: s5cmd is sometimes done before the first look.
    assert all(run["peak_rss"] > 1 << 20 for run in runs if run["client"] not in ("disk limit", "s5cmd"))
    assert ">= 2 x s5cmd" in capsys.readouterr().out


def test_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _run("latency", tmp_path, "--calls", "5", "--runs", "2")
    assert {len(samples) for samples in data["calls_ms"].values()} == {5}
    assert len(data["calls_ms"]) == 4
    assert len(data["cachectl_get_ms"]) == 2
    assert "<= 1.5 x empty RPC" in capsys.readouterr().out


def test_scaling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = _run("scaling", tmp_path, "--blobs", "20", "55", "--starts", "1")
    assert [(point["blobs"], point["trees"]) for point in points] == [(0, 0), (20, 2), (55, 6)]
    assert all(len(point["start"]) == 1 and point["rss"][0] > 1 << 20 for point in points)
    assert all(seconds > 0 for seconds in points[-1]["decisions"])
    assert "<= 2 s" in capsys.readouterr().out


def test_volumes(tmp_path: Path) -> None:
    if os.getuid() != 0 or not may_mount():
        pytest.skip("mounting volumes needs root and CAP_SYS_ADMIN")
    kinds = _run("volumes", tmp_path, "--volumes", "3", "--crowd", "2")["calls_ms"]
    assert {len(samples) for samples in kinds.values()} == {3}
    assert {csi.PUBLISH, csi.UNPUBLISH, csi.SYSCALL, csi.PUBLISH_CROWDED.format(2)} < kinds.keys()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
