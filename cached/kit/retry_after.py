"""What a server asks for that wants to be left alone."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


def retry_after(value: str, now: float) -> float | None:
    """Seconds to wait for, out of a Retry-After header: a number, or an HTTP date. None when unreadable.

    `now` is Unix time.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
