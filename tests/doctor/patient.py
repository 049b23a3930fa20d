"""`cachectl doctor`, run for real, and what it reports."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cached.cli.doctor.checks import CHECKS
from cached.cli.doctor.run import told
from cached.cli.doctor.scene import open_scene
from cached.cli.finding import Finding, Level
from tests.system.daemon import BIN, Daemon, clean_environment


@dataclass(frozen=True)
class Report:
    """What one run said. checks: by name, each with its level. findings: all, by the name of their check."""

    code: int
    view: str
    levels: Mapping[str, Level]
    findings: Mapping[str, Sequence[Finding]]

    @property
    def bad(self) -> list[tuple[str, str]]:
        """Check and message of all that is not well; each says what to do."""
        every = [(name, each) for name, found in self.findings.items() for each in found]
        wrong = [(name, each) for name, each in every if each.level in ("warning", "problem")]
        assert all(each.hint for _, each in wrong), wrong
        problem = any(each.level == "problem" for _, each in wrong)
        assert self.code == (17 if problem else 0)
        return [(name, each.message) for name, each in wrong]

    def said(self, check: str) -> str:
        """The one thing that is wrong, which this check tells."""
        ((name, message),) = self.bad
        assert name == check, self.bad
        return message

    def skipped(self, check: str) -> str:
        """Why the check was not made."""
        (finding,) = self.findings[check]
        assert finding.level == "skipped"
        return finding.message


def examine(
    daemon: Daemon | None = None,
    *arguments: str,
    within: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Report:
    """At the operators' socket of a daemon, or where the environment leads. within: what goes before it."""
    environ = {**clean_environment(), **({"CACHED_ADDRESS": daemon.operator_address} if daemon else {})}
    done = subprocess.run(
        [*within, str(BIN / "cachectl"), "doctor", "-o", "json", *arguments],
        env=environ | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    return Report(
        done.returncode,
        report["view"],
        {each["name"]: each["level"] for each in report["checks"]},
        {each["name"]: [Finding(**found) for found in each["findings"]] for each in report["checks"]},
    )


def model(directory: Path, name: str = "tiny") -> str:
    """A model in a directory; returns its source."""
    place = directory / "models" / name
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "weights.bin").write_bytes(b"w" * 100_000)
    return f"file://{place}"


def seen(daemon: Daemon, check: str, config: Path | None = None) -> list[Finding]:
    """What one check finds, in this process: as quick as it can be."""
    scene = open_scene(daemon.operator_address, config, "", {})
    (made,) = [each for each in CHECKS[scene.view] if each.name == check]
    return list(told(made, scene))


def bad(findings: Iterable[Finding]) -> list[str]:
    """What is not well; each says what to do."""
    wrong = [each for each in findings if each.level in ("warning", "problem")]
    assert all(each.hint for each in wrong), wrong
    return [each.message for each in wrong]
