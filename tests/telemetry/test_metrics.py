"""Metrics keep Prometheus' conventions, and the document lists them all."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.metrics_core import Metric

from cached.telemetry.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
BOUNDED = {
    "role",
    "state",
    "outcome",
    "origin",
    "error",
    "reason",
    "result",
    "method",
    "code",
    "version",
    "kind",
    "model",  # of volumes alone: models of the catalog
}


def exported() -> list[Metric]:
    return list(Metrics().registry.collect())


def full_name(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


def test_the_document_lists_every_metric_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(cached_\w+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    assert listed == {full_name(metric) for metric in exported()}


def test_the_document_says_what_the_metric_says() -> None:
    text = DOCUMENT.read_text()
    assert not [metric.name for metric in exported() if metric.documentation not in text]


def test_names_and_labels_keep_the_conventions() -> None:
    registry = Metrics().registry
    for metric in registry.collect():
        assert re.fullmatch(r"cached_[a-z_]+", metric.name)
        if metric.type == "histogram":
            assert metric.name.endswith("_seconds")
    for collector in registry._names_to_collectors.values():
        assert set(getattr(collector, "_labelnames", ())) <= BOUNDED
