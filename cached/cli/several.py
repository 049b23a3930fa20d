"""Doing the same for several models: each failure is told, none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cached.cli import exits
from cached.cli.complain import complain
from cached.core.errors import CachedError

Result = Mapping[str, Any]


def for_each(refs: Iterable[str], act: Callable[[str], dict[str, Any]]) -> list[Result]:
    """One result for each ref: what `act` returned, and `error`, null where it went well.

    Errors of the connection are raised: they would only repeat.
    """
    from cached.client import TimedOut, Unreachable

    results: list[Result] = []
    for ref in refs:
        try:
            results.append({"ref": ref, **act(ref), "error": None})
        except (TimedOut, Unreachable):
            raise
        except CachedError as error:
            results.append({"ref": ref, "error": error_fields(error)})
    return results


def error_fields(error: CachedError) -> dict[str, Any]:
    """As the API's ErrorDetail has them."""
    return {
        "reason": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
    }


def report(results: Iterable[Result]) -> int:
    """Tell every failure, and return the exit code: that of the first, or OK."""
    failures = [result["error"] for result in results if result["error"]]
    for failure in failures:
        complain(failure["message"], failure["hint"])
    return exits.code_of_reason(failures[0]["reason"]) if failures else exits.OK
