"""A fetch's figures in words."""

from __future__ import annotations

from cached.core.progress import Progress
from cached.kit.units import show_bytes, show_seconds


def describe(progress: Progress) -> str:
    """`45% 41.2 MiB of 90.9 MiB 120 MiB/s ETA 3s`, and which part came from peers."""
    words = [
        f"{percent(progress)}%",
        f"{show_bytes(progress.done)} of {show_bytes(progress.total)}",
        speed(progress),
        origins(progress),
    ]
    return " ".join(word for word in words if word)


def percent(progress: Progress) -> int:
    """Whole per cent, rounded down: 100 means all."""
    return 100 * progress.done // progress.total if progress.total else 100


def speed(progress: Progress) -> str:
    """Bytes per second and the time left, as far as they are known."""
    words = [f"{show_bytes(progress.rate)}/s"] if progress.rate else []
    if progress.eta is not None:
        words.append(f"ETA {show_seconds(progress.eta)}")
    return " ".join(words)


def origins(progress: Progress) -> str:
    """Which part came from peers, the rest from the source; empty when all did, as on a lone node."""
    if not progress.from_peers:
        return ""
    return f"({100 * progress.from_peers // (progress.from_source + progress.from_peers)}% from peers)"
