"""What every source must do. A source's test module subclasses the contracts and gives them a place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pytest

from cached.core.errors import InvalidRequest, NotFound, SourceChanged
from cached.core.source import Selection, Source, SourceFile
from cached.core.tree import Tree, TreeFile
from cached.telemetry.metrics import Metrics
from tests.sources.reader import read_range

ALL = Selection()


class Place(Protocol):
    """Somewhere that the source under test reads, and the test writes."""

    @property
    def source(self) -> Source: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def uri(self) -> str:
        """Of a directory that is empty at first."""
        ...

    @property
    def hostile(self) -> tuple[str, ...]:
        """Names that the place can hold and no tree may."""
        ...

    def put(self, path: str, data: bytes) -> None: ...

    def put_many(self, paths: Iterable[str], data: bytes) -> None: ...

    def remove(self, path: str) -> None: ...


async def listed(place: Place, selection: Selection = ALL, below: str = "") -> dict[str, SourceFile]:
    files = await place.source.list(place.uri + below, selection)
    found = {file.path: file for file in files}
    assert len(found) == len(files)
    return found


class SourceContract:
    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    async def test_lists_all_files_with_their_sizes(self, place: Place) -> None:
        place.put("config.json", b"{}")
        place.put("weights/a.bin", b"12345")
        place.put("weights/deep/b.bin", b"")
        found = await listed(place)
        assert {path: file.size for path, file in found.items()} == {
            "config.json": 2,
            "weights/a.bin": 5,
            "weights/deep/b.bin": 0,
        }
        assert len({file.uri for file in found.values()}) == 3

    async def test_lists_one_file_by_its_own_uri(self, place: Place) -> None:
        place.put("weights/a.bin", b"12345")
        place.put("weights/a.bin.index", b"1")
        found = await listed(place, below="/weights/a.bin")
        assert list(found) == ["a.bin"]
        whole = await listed(place)
        assert found["a.bin"].blob == whole["weights/a.bin"].blob
        with pytest.raises(NotFound):
            await listed(place, Selection(exclude=("*.bin",)), "/weights/a.bin")

    async def test_a_prefix_ends_at_a_slash(self, place: Place) -> None:
        place.put("model/a.bin", b"1")
        place.put("model-2/b.bin", b"1")
        assert list(await listed(place, below="/model")) == ["a.bin"]
        assert list(await listed(place, below="/model/")) == ["a.bin"]

    @pytest.mark.parametrize("below", ["", "/absent", "/absent/", "/a.bi"])
    async def test_what_is_not_there_is_not_found(self, place: Place, below: str) -> None:
        if below:
            place.put("a.bin", b"1")
        with pytest.raises(NotFound) as caught:
            await listed(place, below=below)
        assert place.uri + below.rstrip("/") in str(caught.value)
        assert count_errors(place, "NotFound") == 1

    async def test_a_probe_says_what_a_listing_would(self, place: Place) -> None:
        for below in ("", "/absent", "/absent/"):
            with pytest.raises(NotFound):
                await place.source.probe(place.uri + below)
        assert count_errors(place, "NotFound") == 3
        place.put("weights/a.bin", b"12345")
        for below in ("", "/", "/weights", "/weights/a.bin"):
            await place.source.probe(place.uri + below)
        with pytest.raises(InvalidRequest):
            await place.source.probe(f"{place.uri}/../x")

    async def test_takes_only_what_is_selected(self, place: Place) -> None:
        place.put_many(["a.safetensors", "a.bin", "README.md", "sub/b.safetensors", "sub/c.json"], b"1")
        chosen = await listed(place, Selection(include=("*.safetensors", "sub/*"), exclude=("sub/*.json",)))
        assert sorted(chosen) == ["a.safetensors", "sub/b.safetensors"]
        with pytest.raises(NotFound):
            await listed(place, Selection(include=("*.gguf",)))

    async def test_names_stand_as_long_as_the_bytes(self, place: Place) -> None:
        place.put("a.bin", b"same")
        place.put("b.bin", b"one")
        first = await listed(place)
        assert await listed(place) == first
        place.put("b.bin", b"two")
        second = await listed(place)
        assert second["a.bin"] == first["a.bin"]
        assert second["b.bin"].pin != first["b.bin"].pin
        assert second["b.bin"].blob != first["b.bin"].blob

    async def test_opens_for_any_range(self, place: Place) -> None:
        data = bytes(range(256)) * 1024
        place.put("a.bin", data)
        request = await place.source.open((await listed(place))["a.bin"])
        assert read_range(request, 0, 1) == data[:1]
        assert read_range(request, 1000, 5000) == data[1000:6000]
        assert read_range(request, len(data) - 3, 3) == data[-3:]

    async def test_what_changed_is_never_read_as_what_was(self, place: Place) -> None:
        place.put("a.bin", b"before")
        file = (await listed(place))["a.bin"]
        request = await place.source.open(file)
        place.put("a.bin", b"behind")
        for opened in (request, None):
            with pytest.raises(SourceChanged):
                read_range(opened or await place.source.open(file), 0, 6)

    async def test_what_was_removed_is_never_read(self, place: Place) -> None:
        place.put("a.bin", b"before")
        place.put("b.bin", b"stays")
        file = (await listed(place))["a.bin"]
        place.remove("a.bin")
        with pytest.raises(SourceChanged):
            read_range(await place.source.open(file), 0, 6)
        assert list(await listed(place)) == ["b.bin"]

    async def test_an_empty_file_can_be_opened(self, place: Place) -> None:
        place.put("empty", b"")
        file = (await listed(place))["empty"]
        assert file.size == 0
        await place.source.open(file)

    @pytest.mark.parametrize(
        "path",
        ["größe/模型.bin", "with space/a+b&c=d%20#?.bin", "e\u0301 and \u00e9.bin", "🤗.bin", ".hidden"],
    )
    async def test_names_of_all_scripts_are_read_as_they_are(self, place: Place, path: str) -> None:
        place.put(path, b"12345")
        found = await listed(place)
        assert list(found) == [path]
        assert read_range(await place.source.open(found[path]), 1, 3) == b"234"

    async def test_hostile_names_come_out_unchanged_and_no_tree_takes_them(self, place: Place) -> None:
        for name in place.hostile:
            place.put(name, b"1")
        found = await listed(place)
        assert sorted(found) == sorted(place.hostile)
        for file in found.values():
            with pytest.raises(InvalidRequest):
                Tree.of([TreeFile(file.path, file.size, file.blob)])

    @pytest.mark.parametrize("tail", ["/../x", "/a/./b", "/%00", "/a\0b"])
    async def test_a_uri_that_is_not_plain_is_refused(self, place: Place, tail: str) -> None:
        if tail == "/%00" and place.source.scheme == "s3":
            tail = "/\x01"
        with pytest.raises(InvalidRequest):
            await listed(place, below=tail)
        assert count_errors(place, "InvalidRequest") == 1


class ManyFilesContract:
    """Apart from the rest, since a thousand files take seconds to write."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError

    async def test_lists_more_files_than_one_page_holds(self, place: Place) -> None:
        place.put_many([f"shards/{number:05}.bin" for number in range(1005)], b"1")
        found = await listed(place, Selection(include=("*00.bin", "*04.bin")))
        assert len(found) == 22
        assert "shards/01004.bin" in found


def count_errors(place: Place, error: str) -> float:
    """What the metric says of the place's source."""
    labels = {"origin": place.source.scheme, "error": error}
    return place.metrics.registry.get_sample_value("cached_source_errors_total", labels) or 0
