"""How far a flight has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot; all counts in bytes, rate in bytes per second, eta in seconds or None when unknown.

    total: the tree's size. done: already verified on this disk. found: part of done that was here
    before the flight began. from_source, from_peers: received in this flight.
    """

    total: int
    done: int
    found: int = 0
    from_source: int = 0
    from_peers: int = 0
    rate: float = 0.0
    eta: float | None = None
