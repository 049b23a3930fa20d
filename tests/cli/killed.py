"""Run cachectl over and over, killed before it changes its first file, its second, and so on to its end.

Arguments: PLACE, a directory that is put back as it was before each run; OUT, where it is copied to after
each, as OUT/1, OUT/2, …; and those of cachectl. The last copy is of the run that came to its end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cached.cli.containerd.command  # once for all runs, as what comes next
import cached.config.settings  # noqa: F401
from cached.cli.main import main as cachectl

KILLED = 137
_CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown"}
_WRITING = os.O_CREAT | os.O_WRONLY | os.O_RDWR


def _run(arguments: list[str], kill_before: int) -> None:
    changes = itertools.count(1)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & _WRITING
        if (event in _CHANGES or writes) and next(changes) == kill_before:
            os._exit(KILLED)

    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    sys.argv = ["cachectl", *arguments]
    sys.addaudithook(hook)
    try:
        cachectl()
    except SystemExit as ended:
        os._exit(int(ended.code or 0))


def main() -> None:
    place, out, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as saved:
        shutil.copytree(place, saved, dirs_exist_ok=True)
        for number in itertools.count(1):
            shutil.rmtree(place)
            shutil.copytree(saved, place)
            child = os.fork()
            if child == 0:
                _run(arguments, number)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            shutil.copytree(place, Path(out) / str(number))
            if code != KILLED:
                sys.exit(code)


if __name__ == "__main__":
    main()
