"""The models that are fetched: one big file, or shards of the same total."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from awscrt.checksums import crc64nvme

_BLOCK = 64 << 20
_STEP = 4099  # odd and prime: no two chunks of a file are alike


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file below its model's directory, with the checksums that S3 states of an object, in Base64."""

    name: str
    size: int
    sha256: str
    crc64nvme: str


def write_model(directory: Path, size: int, shards: int) -> list[ModelFile]:
    """Write `shards` files of `size` bytes in all into a new directory. They end up in the page cache."""
    directory.mkdir()
    block = os.urandom(_BLOCK)
    return [
        _write(
            directory / f"model-{number + 1:05}-of-{shards:05}.safetensors",
            size // shards + (size % shards if number == 0 else 0),
            block,
            number * _STEP,
        )
        for number in range(shards)
    ]


def _write(path: Path, size: int, block: bytes, turn: int) -> ModelFile:
    sha256, crc = hashlib.sha256(), 0
    left = size
    with path.open("wb") as file:
        while left:
            piece = block[turn : turn + min(left, _BLOCK - turn)]
            file.write(piece)
            sha256.update(piece)
            crc = crc64nvme(piece, crc)
            left -= len(piece)
            turn = (turn + _STEP) % (_BLOCK // 2)
    return ModelFile(
        path.name,
        size,
        base64.b64encode(sha256.digest()).decode(),
        base64.b64encode(crc.to_bytes(8, "big")).decode(),
    )
