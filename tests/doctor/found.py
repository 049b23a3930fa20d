"""Findings, as tests ask for them."""

from __future__ import annotations

from collections.abc import Iterable

from cached.cli.finding import Finding, Level


def bad(findings: Iterable[Finding]) -> list[tuple[Level, str]]:
    """Level and message of all that is not well. Each says what to do, too."""
    told = [finding for finding in findings if finding.level in ("warning", "problem")]
    assert all(finding.hint for finding in told), told
    return [(finding.level, finding.message) for finding in told]


def only(findings: Iterable[Finding]) -> tuple[Level, str]:
    """The one thing that is not well."""
    (found,) = bad(findings)
    return found
