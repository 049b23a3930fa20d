"""How long the mirror waits, and how much it keeps open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """Bounds of one MirrorServer. Times in seconds.

    answer: until an answer begins, or is 404. first_piece: of that, until the first bytes of a blob are
    here. stall: that no bytes of a blob arrive, or that the disk gives none, before its puller is cut off;
    trouble: for how long such a blob is not waited for again. slow: that a puller takes no bytes. idle:
    between requests, and until a request is here whole. wedged: that this process does not answer before
    its guard sends pullers away. connections: open at once, idle ones too. senders: threads that send.
    """

    answer: float = 10.0
    first_piece: float = 5.0
    stall: float = 30.0
    trouble: float = 60.0
    slow: float = 300.0
    idle: float = 60.0
    wedged: float = 2.0
    connections: int = 512
    senders: int = 8
