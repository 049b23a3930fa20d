"""What there is to do, as values: told before it is done, or instead."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """Run a program.

    writes_to: names of the disks whose bytes it overwrites. hint: for whoever sees it fail. needed: where it
    is not, its failure is told and the next step is taken.
    """

    says: str
    command: tuple[str, ...]
    writes_to: tuple[str, ...] = ()
    hint: str = ""
    needed: bool = True

    @property
    def how(self) -> str:
        return shlex.join(self.command)


@dataclass(frozen=True, slots=True)
class Put:
    """Put a file into place, whatever was there."""

    says: str
    path: Path
    text: str

    @property
    def how(self) -> str:
        return str(self.path)


Step = Run | Put
