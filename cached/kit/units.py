"""Sizes and times as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?\s*\Z", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"\s*(\d{1,2}(?:\.\d+)?)\s*%\s*\Z", re.ASCII)
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_bytes(text: str | int) -> int:
    """Bytes of `4096`, `10GB` (powers of 1000) or `1.5TiB` (powers of 1024). Raises ValueError."""
    if isinstance(text, int):
        number = text
    else:
        match = _SIZE.match(text)
        if not match:
            raise ValueError(
                f"not a size: {text!r}; write a number of bytes, or one with a unit such as 500GiB"
            )
        power = " KMGTP".index(match[2].upper() or " ")
        number = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    if number < 0:
        raise ValueError(f"a size cannot be negative: {text!r}")
    return number


@dataclass(frozen=True, slots=True)
class Share:
    """A part of something whose size is not known yet, such as 20 % of a disk."""

    percent: float

    def of(self, whole: int) -> int:
        """Bytes, of `whole` bytes."""
        return int(whole * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent:g}%"


def parse_bytes_or_share(text: str | int) -> int | Share:
    """As parse_bytes, or `20%`: less than all. Raises ValueError."""
    match = _SHARE.match(text) if isinstance(text, str) else None
    return Share(float(match[1])) if match else parse_bytes(text)


def parse_seconds(text: str | float) -> float:
    """Seconds of `90`, `90s`, `5m`, `1h30m` or `250ms`. Raises ValueError."""
    if isinstance(text, (int, float)) or re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()):
        seconds = float(text)
    else:
        parts = _TIME.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text.strip():
            raise ValueError(f"not a time: {text!r}; write seconds, or units such as 30s, 5m, 1h30m")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds < 1e10:
        raise ValueError(f"a time cannot be negative or endless: {text!r}")
    return seconds


def show_bytes(number: float) -> str:
    """`1.5 GiB`: three significant digits, powers of 1024."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(number) >= 1023.5 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.0f} {units[0]}" if units[0] == "B" or number >= 100 else f"{number:.1f} {units[0]}"


def show_seconds(seconds: float) -> str:
    """`0.3s`, `42s`, `3m05s`, `2h10m`: for people."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
