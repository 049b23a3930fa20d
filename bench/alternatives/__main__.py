"""`python -m bench.alternatives --rounds 3 --out bench/results/`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from blake3 import blake3

from bench.alternatives import probe
from bench.alternatives.origin import nginx, seaweedfs
from bench.alternatives.receive import MIB
from bench.alternatives.report import Run, table
from bench.alternatives.run import Measure
from bench.alternatives.variant import AXES, BASELINE, DISK_LIMIT, NETWORK_LIMIT, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = {"(disk limit)": DISK_LIMIT, "(network limit)": NETWORK_LIMIT}


def machine(work: Path) -> dict[str, str | int]:
    """What the numbers depend on; no name or path of the host."""
    mounts = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    mount = next(str(p) for p in [work, *work.parents] if str(p) in mounts)
    models = {
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {
        "cpu": ", ".join(sorted(models)),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": platform.release(),
        "filesystem": mounts[mount],
        "python": platform.python_version(),
    }


def measure(variant: Variant, url: str, path: Path, size: int) -> tuple[Measure, float]:
    """One run in a fresh process, and how many cores the whole machine used in it."""
    task = {"variant": asdict(variant), "url": url, "path": str(path), "size": size}
    command = [sys.executable, "-m", "bench.alternatives.run", json.dumps(task)]
    psutil.cpu_percent()
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    busy = psutil.cpu_percent() / 100 * (os.cpu_count() or 1)
    return Measure(**json.loads(answer.stdout)), busy


def one_round(number: int, urls: dict[str, str], home: Path, blob: Path) -> Iterator[Run]:
    """Every axis once, its variants and the two limits in an order of chance."""
    size, path = blob.stat().st_size, home / "copy"
    order = random.Random(number)
    for axis, variants in AXES.items():
        pairs = [*variants.items(), *LIMITS.items()]
        order.shuffle(pairs)
        for name, variant in pairs:
            measured, busy = measure(variant, urls[variant.origin], path, size)
            wrote = variant.write != "none"
            if number == 0 and wrote and variant.receive != "none" and not same(path, blob):
                raise SystemExit(f"{axis} {name}: the copy differs")
            path.unlink(missing_ok=True)
            gigabytes = size / 1e9
            yield Run(
                round=number,
                axis=axis,
                name=name,
                gb_per_second=gigabytes / measured.seconds,
                gb_per_second_written=gigabytes / measured.seconds_written,
                cpu_per_gb=(measured.cpu_user + measured.cpu_system) / gigabytes,
                cpu_user_per_gb=measured.cpu_user / gigabytes,
                cpu_system_per_gb=measured.cpu_system / gigabytes,
                peak_rss_mib=measured.peak_rss_mib,
                switches_per_gb=measured.voluntary_switches / gigabytes,
                busy_cores=busy,
            )


def same(one: Path, other: Path) -> bool:
    """Equal content: a fast path that writes the wrong bytes is no path."""
    auto = blake3.AUTO
    first, second = blake3(max_threads=auto), blake3(max_threads=auto)
    return first.update_mmap(one).digest() == second.update_mmap(other).digest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.alternatives", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    print("probing", file=sys.stderr)
    probes = {"gil": probe.gil(), "bad_servers": probe.bad_servers()}
    runs: list[Run] = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.work)))
        blob = home / "blob"
        with blob.open("wb") as file:
            for _ in range(options.size_mib // 16):
                file.write(os.urandom(16 * MIB))
        urls = {
            "nginx": stack.enter_context(nginx(home, blob)),
            "seaweedfs": stack.enter_context(seaweedfs(home, blob)),
        }
        os.sync()  # the servers' own writes must not be measured
        for number in range(options.rounds):
            for run in one_round(number, urls, home, blob):
                runs.append(run)
                print(number, run["axis"], run["name"], f"{run['gb_per_second']:.2f} GB/s",
                      f"{run['cpu_per_gb']:.2f} CPU s/GB", file=sys.stderr)  # fmt: skip
        about = machine(home)
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    result = {
        "date": date,
        "machine": about,
        "size_mib": options.size_mib,
        "rounds": options.rounds,
        "baseline": asdict(BASELINE),
        "probes": probes,
        "runs": runs,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{date}-alternatives.json").write_text(json.dumps(result, indent=1) + "\n")
    names = {axis: [*variants, *LIMITS] for axis, variants in AXES.items()}
    # The reading is a human's: it is written beneath the table by hand.
    where = ", ".join(f"{key} {value}" for key, value in about.items())
    text = f"# Transfer alternatives, {date}\n\n{where}\n\n{table(runs, names)}\n"
    (options.out / f"{date}-alternatives.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
