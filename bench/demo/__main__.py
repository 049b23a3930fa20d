"""The story of the demo, and the table at its end."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from bench.demo.daemon import Daemon
from bench.demo.models import make_shards, minilm
from tests.servers.ports import free_ports
from tests.servers.s3 import S3Server
from tests.servers.seaweed import SeaweedFS


@dataclass(frozen=True)
class Row:
    """What happened to one model; sizes in bytes, times in seconds."""

    name: str
    size: int
    cold: float
    warm: float
    from_source: int
    on_disk: int


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def upload(server: S3Server, prefix: str, directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            server.client.upload_file(str(path), "models", f"{prefix}/{path.relative_to(directory)}")


def check_same(got: Path, wanted: Path) -> None:
    """Compare every file of `got` with the one that was uploaded; a difference ends the demo."""
    for path in sorted(got.rglob("*")):
        if path.is_file() and _sha256(path) != _sha256(wanted / path.relative_to(got)):
            raise SystemExit(f"{path} is not what was uploaded")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_model(path: Path) -> str:
    """Open every safetensors file below `path` as an engine would, and say what is in there."""
    tensors = numbers = 0
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as model:
            for name in model.keys():  # noqa: SIM118 - not a mapping
                tensors += 1
                rows = 1
                for side in model.get_slice(name).get_shape():
                    rows *= side
                numbers += rows
    return f"{tensors} tensors, {numbers / 1e6:.1f} million numbers"


def disk_bytes(path: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def visit(daemon: Daemon, name: str, original: Path, *, by_warm: bool) -> Row:
    """Fetch one model cold, check and open it, and ask for it again."""
    before = daemon.received()
    if by_warm:
        _, cold = daemon.cachectl("warm", name)
        path = Path(daemon.cachectl("get", name, quiet=True)[0])
    else:
        printed, cold = daemon.cachectl("get", name)
        path = Path(printed)
    check_same(path, original)
    print(f"{name} opens: {open_model(path)}; every file equals the one that was uploaded")
    _, warm = daemon.cachectl("get", name)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Row(name, size, cold, warm, daemon.received() - before, disk_bytes(path))


def show(rows: list[Row]) -> None:
    head = ("model", "size", "cold", "speed", "warm", "from source", "on disk")
    lines = [
        (
            row.name,
            f"{row.size / 1e6:,.1f} MB",
            f"{row.cold:.2f} s",
            f"{row.size / row.cold / 1e9:.2f} GB/s",
            f"{row.warm * 1000:.0f} ms",
            f"{row.from_source / 1e6:,.1f} MB",
            f"{row.on_disk / 1e6:,.1f} MB",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    for line in [head, *lines]:
        print(
            "  ".join(
                cell.ljust(width) if n == 0 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        )
    print("\ncold and warm are whole cachectl processes, from start to end")


def main() -> None:
    # Below the checkout, which is on a real disk; /tmp is memory on some machines, and slower for O_DIRECT.
    home = Path(tempfile.mkdtemp(prefix=".demo-", dir=Path.cwd()))
    sockets = Path(tempfile.mkdtemp(prefix="cached-demo-"))
    try:
        say("A real S3 server (SeaweedFS) starts, and gets a real model and a big one made here.")
        made = home / "demo-1b"
        make_shards(made)
        with SeaweedFS(home / "s3") as weed:
            server = S3Server(weed.endpoint, weed.access_key, weed.secret_key)
            server.client.create_bucket(Bucket="models")
            upload(server, "minilm", minilm())
            upload(server, "demo-1b", made)
            say("The daemon starts, with both in its catalog.")
            keys = (weed.access_key, weed.secret_key)
            with Daemon(home, sockets, weed.endpoint, keys, free_ports(1)[0]) as daemon:
                daemon.cachectl("ls")
                say("A pod asks for a cold model; an operator warms another.")
                rows = [
                    visit(daemon, "minilm", minilm(), by_warm=False),
                    visit(daemon, "demo-1b", made, by_warm=True),
                ]
                daemon.cachectl("ls")
        say("What happened:")
        show(rows)
        say("Everything is stopped.")
    finally:
        shutil.rmtree(home, onerror=_unlock)
        shutil.rmtree(sockets, ignore_errors=True)


def _unlock(function: object, path: str, _: object) -> None:
    """Published trees are read-only directories: open them to remove what is in there."""
    Path(path).parent.chmod(0o700)
    Path(path).unlink() if not Path(path).is_dir() else shutil.rmtree(path, onerror=_unlock)


if __name__ == "__main__":
    main()
