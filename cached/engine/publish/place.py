"""Where something is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Place:
    """The directory `relative` below `root`. Its last part comes and goes, all above it belong to others.

    No link below `root` is ever followed; `root` itself may be one.
    """

    root: Path
    relative: PurePosixPath

    @property
    def path(self) -> Path:
        return self.root / self.relative

    def __str__(self) -> str:
        return str(self.path)
