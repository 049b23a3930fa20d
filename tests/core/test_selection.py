from __future__ import annotations

import time

import pytest

from cached.core.globs import glob_takes
from cached.core.source import Selection


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("*.safetensors", "model.safetensors", True),
        ("*.safetensors", "unet/fp16/model.safetensors", True),
        ("*.safetensors", "model.safetensors.index.json", False),
        ("unet", "unet/model.bin", False),
        ("unet/*", "unet/model.bin", True),
        ("unet/*", "unet/fp16/model.bin", False),
        ("unet/*", "other/unet/model.bin", False),
        ("unet/**", "unet/fp16/model.bin", True),
        ("unet/**", "unet", False),
        ("unet/", "unet/fp16/model.bin", True),
        ("unet/", "unet", False),
        ("**/model.bin", "model.bin", True),
        ("**/model.bin", "a/b/model.bin", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "b/z", False),
        ("a/**/**/z", "a/z", True),
        ("**", "any/thing", True),
        ("/config.json", "config.json", True),
        ("/config.json", "sub/config.json", False),
        ("model-0000[12]-of-?", "model-00001-of-3", True),
        ("model-0000[!12]-of-?", "model-00001-of-3", False),
        ("a?b/*", "a/b/x", False),
        ("Model.bin", "model.bin", False),
        ("*.bin", ".bin", True),
        ("größe.*", "größe.bin", True),
        ("*", "line\nbreak", True),
    ],
)
def test_a_glob_takes_what_it_says(pattern: str, path: str, taken: bool) -> None:
    assert glob_takes(pattern, path) is taken


def test_no_pattern_takes_all_and_exclude_wins() -> None:
    assert Selection().takes("any/thing")
    chosen = Selection(include=("*.json", "weights/*"), exclude=("weights/*.bin",))
    assert chosen.takes("config.json")
    assert chosen.takes("weights/a.safetensors")
    assert not chosen.takes("weights/a.bin")
    assert not chosen.takes("README.md")
    assert not Selection(exclude=("*.bin",)).takes("a/b.bin")
    part = Selection(("*.json", "*.txt"), ("x*",), within=("a*", "x*"))
    assert [path for path in ("a.json", "b.json", "x.json", "a.bin") if part.takes(path)] == ["a.json"]


def test_a_hostile_path_cannot_make_a_glob_slow() -> None:
    began = time.perf_counter()
    assert not glob_takes("/".join(["**", "a"] * 20) + "/b", "/".join(["a"] * 500))
    assert not glob_takes("a*" * 30 + "b", "a" * 1000)
    assert time.perf_counter() - began < 5
