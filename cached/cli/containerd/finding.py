"""What a look at containerd found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "warning", "problem"]

CONFIGURE: Final = "cachectl containerd configure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. subject: containerd, mirror, a registry, or `_default`. hint: what to do about it."""

    level: Level
    subject: str
    message: str
    hint: str = ""
