"""Whether the disk answers. A disk that dies for real is in the system tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached.core.errors import DiskFault
from cached.store.layout import Layout
from cached.store.probe import Probe
from cached.telemetry.metrics import Metrics


async def test_what_cannot_be_read_counts_as_gone_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    probe = Probe(Layout(tmp_path), metrics)
    for _ in range(2):
        assert not await probe.look()
    with pytest.raises(DiskFault, match="No such file"):
        probe.check()
    assert metrics.registry.get_sample_value("cached_disk_ok") == 0
    (tmp_path / "lock").write_text("17\n")
    assert await probe.look()
    probe.check()
    assert metrics.registry.get_sample_value("cached_disk_ok") == 1
    assert [record.message for record in caplog.records] == [
        "the disk is gone; nothing is served",
        "the disk is back",
    ]
    probe.close()
