"""containerd on this node, as its files and its program tell."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cached.cli.containerd.config import ConfigFile, Registries, Release, merged
from cached.cli.containerd.files import read
from cached.cli.containerd.toml import parse

USUAL: Final = Path("/etc/containerd/config.toml")
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Installed:
    """files: the main one and what it imports, in the order of reading; empty without a main one.

    release: None where there is no program. accepted: the program reads these files. effective: all settings
    together; from the program, or else from the files as well as can be told.
    """

    main: Path
    files: tuple[ConfigFile, ...]
    release: Release | None
    accepted: bool
    effective: dict[str, Any]

    @property
    def registries(self) -> Registries:
        return Registries.of(self.effective)


def look(main: Path) -> Installed:
    """Raises InvalidRequest for files that cannot be read."""
    files = tuple(_files(main))
    program = shutil.which("containerd")
    told = _run(program, "--version") if program else None
    release = Release.of(told) if told else None
    dump = _run(program, "--config", str(main), "config", "dump" if files else "default") if program else None
    if dump is None:
        return Installed(main, files, release, accepted=program is None, effective=merged(files, release))
    return Installed(main, files, release, accepted=True, effective=parse(dump, "containerd config dump"))


def _files(main: Path) -> Iterator[ConfigFile]:
    """The main file and its imports, breadth first, as containerd goes through them."""
    pending, seen = [main], set()
    while pending:
        path = pending.pop(0)
        text = read(path)
        if path in seen or text is None:
            continue
        seen.add(path)
        file = ConfigFile(path, parse(text, str(path)))
        yield file
        for pattern in file.imports:
            pending += map(Path, sorted(glob.glob(os.path.normpath(path.parent / pattern))))


def _run(program: str, *args: str) -> str | None:
    """What it prints; None when it fails. Its errors may repeat secrets of the files, and are left aside."""
    try:
        ended = subprocess.run(
            [program, *args], capture_output=True, timeout=_PATIENCE, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return ended.stdout
