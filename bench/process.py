"""What a program costs: wall time, CPU, memory."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_LOOK_EVERY_MS = 20


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds from start to exit, CPU seconds of user and system, the most resident memory in bytes.

    The memory is sampled: 0 for a program that ended within a few hundredths of a second.
    """

    seconds: float
    cpu: float
    peak_rss: int
    stdout: str = ""


class Failed(Exception):
    """A program that is measured ended with an error."""


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Usage:
    """Run `command` to its end, from the root of the repository. Raises Failed with what it wrote."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        peak = _watch(child.pid)
        _, status, rusage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if child.returncode:
            raise Failed(f"{Path(command[0]).name} ended with {child.returncode}: {errors.read()[-2000:]}")
        return Usage(seconds, rusage.ru_utime + rusage.ru_stime, peak, out.read())


def peak_rss(pid: int) -> int:
    """VmHWM in bytes; 0 once it has ended. (ru_maxrss would count the parent's, from before exec.)"""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """For a program under measure: what it needs to run, and `extra`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | dict(extra)


def _watch(pid: int) -> int:
    """Wait for the end of a child, and return the last that was seen of its peak memory."""
    peak = 0
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        while not poll.poll(_LOOK_EVERY_MS):
            peak = max(peak, peak_rss(pid))
    finally:
        os.close(pidfd)
    return peak
