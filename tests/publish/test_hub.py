"""The view of a model that the Hugging Face hub's library finds without a network."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import InUse, InvalidRequest
from cached.core.tree import Tree, TreeFile
from cached.engine.publish.hub import hub_tree
from tests.engine.house import open_house

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "original/params.json": b"{ }"}


def write(directory: Path) -> str:
    for path, data in FILES.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return f"file://{directory}"


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_names_and_refs() -> None:
    files = Tree.of([TreeFile("a/b.bin", 3, Digest.sha256(b"abc"))])
    tree, told = hub_tree(files, "org/name", "v1")
    commit = files.digest.hex[:40]
    assert told == commit.encode()
    assert [file.path for file in tree.files] == [
        "models--org--name/refs/main",
        "models--org--name/refs/v1",
        f"models--org--name/snapshots/{commit}/a/b.bin",
    ]
    assert tree.blobs == {**files.blobs, Digest.sha256(told): 40}
    assert hub_tree(files, "name", "sha256:" + "0" * 64)[0].files[0].path == "models--name/refs/main"


async def test_it_is_one_more_tree_of_the_same_blobs(tmp_path: Path) -> None:
    models = {"org/m": f'source: "{write(tmp_path / "m")}", revision: v1'}
    async with open_house(tmp_path, models) as house:
        answers = await asyncio.gather(*(house.ready("org/m?view=hub") for _ in range(5)))
        flat = await house.ready("org/m")
        assert len({answer.tree for answer in answers}) == 1
        commit = flat.tree.hex[:40]
        top = "models--org--m"
        assert contents(answers[0].path) == {
            **{f"{top}/snapshots/{commit}/{path}": data for path, data in FILES.items()},
            f"{top}/refs/main": commit.encode(),
            f"{top}/refs/v1": commit.encode(),
        }
        inodes = [
            os.stat(place / "config.json").st_ino
            for place in (flat.path, answers[0].path / top / "snapshots" / commit)
        ]
        assert inodes[0] == inodes[1]
        assert house.source.opens == len(FILES)
        assert house.store.space().used < 3 * 4096 + sum(map(len, FILES.values())) + 4096 * len(FILES)
        with pytest.raises(InUse, match="test"):
            await house.engine.evict("org/m?view=hub")


async def test_a_warm_one_asks_nobody_and_outlives_a_restart(tmp_path: Path) -> None:
    models = {"org/m": f'source: "{write(tmp_path / "m")}", revision: v1'}
    async with open_house(tmp_path, models) as house:
        tree = (await house.ready("org/m?view=hub")).tree
    async with open_house(tmp_path, models) as house:
        house.source.down = True
        ready = await house.ready("org/m@v1?view=hub")
        assert (ready.tree, house.source.lists) == (tree, 0)


async def test_what_was_evicted_is_laid_out_again(tmp_path: Path) -> None:
    models = {"org/m": f'source: "{write(tmp_path / "m")}"'}
    async with open_house(tmp_path, models) as house:
        first = await house.ready("org/m?view=hub")
        await house.engine.release(first.lease.id)
        await house.engine.evict("org/m?view=hub")
        await house.engine.evict("org/m")
        assert not first.path.exists()
        assert house.store.blob_count == 0
        again = await house.ready("org/m?view=hub")
        assert (again.tree, again.path.exists()) == (first.tree, True)


async def test_names_that_the_hub_has_not_fetch_nothing(tmp_path: Path) -> None:
    models = {"a/b/c": f'source: "{write(tmp_path / "m")}"'}
    async with open_house(tmp_path, models) as house:
        with pytest.raises(InvalidRequest, match="a/b/c"):
            await house.ready("a/b/c?view=hub")
        assert house.source.lists == 0


async def test_only_what_a_pattern_takes(tmp_path: Path) -> None:
    models = {"m": f'source: "{write(tmp_path / "m")}", exclude: ["original/**"]'}
    async with open_house(tmp_path, models) as house:
        part = await house.ready("m?include=*.json")
        assert contents(part.path) == {"config.json": FILES["config.json"]}
        assert [view.ref for view in await house.engine.list()] == ["m", "m?include=*.json"]
