"""Counting what sources answer badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cached.core.errors import CachedError
from cached.telemetry.metrics import Metrics


@contextmanager
def counted_errors(metrics: Metrics, scheme: str) -> Iterator[None]:
    """Count the error that leaves the block, by the source's scheme and the error's class."""
    try:
        yield
    except CachedError as error:
        metrics.source_errors.labels(origin=scheme, error=type(error).__name__).inc()
        raise
