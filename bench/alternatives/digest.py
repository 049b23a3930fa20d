"""What is computed of every chunk before it is written."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable

from blake3 import blake3

from bench.alternatives.variant import Digest

Digester = Callable[[memoryview], bytes]


def crc64nvme() -> Callable[[memoryview], int]:
    """awscrt's CRC; imported late, as awscrt costs memory that others must not show."""
    checksum: Callable[[memoryview], int] = importlib.import_module("awscrt.checksums").crc64nvme
    return checksum


def one_blake3(view: memoryview) -> bytes:
    """BLAKE3 on the calling thread only: the connections are the parallelism."""
    return blake3(view, max_threads=1).digest()


def open_digester(name: Digest) -> Digester:
    """The function that a worker calls on each chunk."""
    if name == "none":
        return lambda view: b""
    if name == "blake3":
        return one_blake3
    if name == "blake3+sha256":
        return lambda view: one_blake3(view) + hashlib.sha256(view).digest()
    crc = crc64nvme()
    return lambda view: one_blake3(view) + crc(view).to_bytes(8, "big")
