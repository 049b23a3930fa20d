"""How much, how many and how long. One value per node, from its settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """A participant's bounds. Times in seconds.

    downloads: chunks asked of neighbours at a time, in all; per_peer: of one neighbour, when they are few.
    source_reads: grants held at a time. alone_reads: reads from the source at a time when no coordinator
    answers.
    slow_rate: bytes/s per chunk in flight below which neighbours count as slow, and the source is tried.
    announce_seconds: least time between two messages to the same neighbour. welcome_seconds: how long a
    coordinator may take to say Welcome; alone_seconds: how long in all before the node does without.
    """

    downloads: int = 4
    per_peer: int = 2
    source_reads: int = 8
    alone_reads: int = 16
    slow_rate: float = 8e6
    announce_seconds: float = 0.05
    welcome_seconds: float = 1.5
    alone_seconds: float = 4.0


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """A coordinator's bounds for its swarm, from its own node's settings.

    reads: grants outstanding at a time, at most; it begins with few and finds out how many help.
    rate: bytes/s of all reads together, 0 without limit. degree: neighbours per member, at most 32.
    messages: per second that the coordinator sends and receives, about. settle_seconds: how long a
    coordinator that took over waits for others to tell what they hold before it grants.
    """

    reads: int = 256
    rate: float = 0.0
    degree: int = 32
    messages: float = 4000.0
    settle_seconds: float = 1.0
