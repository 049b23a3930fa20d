"""The alerts are about metrics that there are, those that the docs name, and fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cached.telemetry.metrics import Metrics
from tests.daemonset.built import HERE, composed, only

_METRIC = re.compile(r"\bcached_[a-z_]+\b")
_DOCS = (HERE.parent / "docs" / "operations.md").read_text()


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    [group] = only(composed("monitoring"), "PrometheusRule")["spec"]["groups"]
    return list(group["rules"])


def test_their_metrics_exist(rules: list[dict[str, Any]]) -> None:
    families = list(Metrics().registry.collect())
    names = {f.name for f in families} | {f"{f.name}_total" for f in families if f.type == "counter"}
    assert {name for rule in rules for name in _METRIC.findall(rule["expr"])} <= names


def test_they_are_those_of_the_docs(rules: list[dict[str, Any]]) -> None:
    """Each expression that docs/operations.md calls worth a look is an alert, and the other way round."""
    section = _DOCS[_DOCS.index("## Probes and alerts") :]
    section = section[: section.index("\n## ", 1)]
    told = {name for code in re.findall(r"`([^`]+)`", section) for name in _METRIC.findall(code)}
    assert {name for rule in rules for name in _METRIC.findall(rule["expr"])} == told


def test_each_says_how_bad_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_they_fire_when_they_should(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the alerts' expressions were not evaluated (apt: prometheus)")
    stories = Path(__file__).with_name("alerts.yaml")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "cached", "rules": rules}]}))
    shutil.copy(stories, tmp_path)
    told = {case["alertname"] for case in yaml.safe_load(stories.read_text())["tests"][0]["alert_rule_test"]}
    assert told == {rule["alert"] for rule in rules}
    done = subprocess.run(
        [promtool, "test", "rules", "alerts.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
