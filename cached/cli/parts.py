"""Commands that need more than pods have installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cached.core.errors import NotConfigured


@contextmanager
def daemons_part(what: str) -> Iterator[None]:
    """Imports from the daemon's part go in here; NotConfigured says what cannot be done without it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotConfigured(
            f"cannot {what} here: the Python package {error.name} is missing",
            hint="install the daemon's part: pip install 'cached[daemon]'",
        ) from None
