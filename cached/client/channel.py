"""What both kinds of channel share: options, limits, and what a failed call means."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grpc import StatusCode

from cached.client.address import diagnose
from cached.client.errors import Metadata, Unreachable, rebuild
from cached.core.errors import CachedError, InvalidRequest

# Seconds for a call about one lease: it is not worth more, since it will be tried again or expire.
LEASE_TIMEOUT: Final = 5.0

OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),  # all files of a large model, or a long list
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def explain(code: StatusCode, text: str | None, trailing: Metadata | None, path: Path | None) -> CachedError:
    """The error of a failed call; when nobody answered, the socket is asked why."""
    error = rebuild(code, text or "", trailing)
    return diagnose(path) if path and isinstance(error, Unreachable) else error


def check_timeout(timeout: float | None) -> None:
    """Raises InvalidRequest for a negative time and for NaN."""
    if timeout is not None and not timeout >= 0:
        raise InvalidRequest(f"a timeout cannot be {timeout} seconds", hint="give zero or more, or none")
