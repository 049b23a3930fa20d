"""Showing a directory at a place, once, and taking it away whatever is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath

import pytest

from cached.core.errors import Busy, CachedError, InvalidRequest, NotFound
from cached.engine.publish.binding import bind, has_parent, is_bound, unbind
from cached.engine.publish.place import Place
from cached.engine.publish.publisher import Publisher
from cached.telemetry.metrics import Metrics
from tests.publish.playground import Playground, run


@pytest.fixture
def source(playground: Playground) -> Path:
    directory = playground.path / "source"
    directory.mkdir()
    (directory / "f").write_text("model")
    return directory


@pytest.fixture
def place(playground: Playground) -> Place:
    (playground.path / "root" / "above").mkdir(parents=True)
    return Place(playground.path / "root", PurePosixPath("above/here"))


def test_it_is_there_once_however_often_it_is_asked_for(
    playground: Playground, source: Path, place: Place
) -> None:
    for _ in range(3):
        assert bind(source, place, noexec=False) == 0
        assert is_bound(source, place)
        assert [mount.point for mount in playground.mounts()] == [str(place)]
    assert (place.path / "f").read_text() == "model"
    assert unbind(place) == 0
    assert playground.mounts() == []
    assert not place.path.exists()
    assert not is_bound(source, place)
    assert unbind(place) == 0


@pytest.mark.parametrize("how", ["another directory", "a writable bind", "twice", "a filesystem"])
def test_what_else_was_mounted_there_goes_first(
    playground: Playground, source: Path, place: Place, how: str
) -> None:
    place.path.mkdir()
    other = playground.path / "other"
    other.mkdir()
    if how == "a filesystem":
        run("mount", "-t", "tmpfs", "x", place.path)
    elif how == "a writable bind":
        run("mount", "--bind", source, place.path)
    else:
        for _ in range(2 if how == "twice" else 1):
            run("mount", "--bind", other, place.path)
    assert not is_bound(source, place)
    assert bind(source, place, noexec=False) == 0
    assert is_bound(source, place)
    assert len([mount for mount in playground.mounts() if mount.point == str(place)]) == 1


def test_all_that_is_stacked_goes(playground: Playground, source: Path, place: Place) -> None:
    bind(source, place, noexec=False)
    for _ in range(5):
        run("mount", "-t", "tmpfs", "x", place.path)
    with (place.path / "held").open("w"):
        assert unbind(place) == 1
    assert playground.mounts() == []
    assert not place.path.exists()


def test_the_directory_of_a_model_that_was_made_anew_is_another(source: Path, place: Place) -> None:
    bind(source, place, noexec=False)
    source.rename(source.with_name("gone"))
    assert not is_bound(source, place)
    source.mkdir()
    assert not is_bound(source, place)
    bind(source, place, noexec=False)
    assert is_bound(source, place)
    assert os.listdir(place.path) == []


def test_the_source_is_gone(playground: Playground, source: Path, place: Place) -> None:
    with pytest.raises(Busy, match="not there any more"):
        bind(source / "none", place, noexec=False)
    assert not place.path.exists()
    assert playground.mounts() == []


@pytest.mark.parametrize("what", ["link", "file", "dangling", "link above", "nothing above"])
def test_what_stands_in_the_way(
    playground: Playground, source: Path, place: Place, what: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    error: type[CachedError] = InvalidRequest
    if what == "link":
        place.path.symlink_to(outside)
    elif what == "dangling":
        place.path.symlink_to(outside / "none")
    elif what == "file":
        place.path.write_text("precious")
    else:
        place.path.parent.rmdir()
        error = NotFound
        if what == "link above":
            place.path.parent.symlink_to(outside)
            error = InvalidRequest
    with pytest.raises(error, match=str(place)):
        bind(source, place, noexec=False)
    assert unbind(place) == 0
    assert playground.mounts() == []
    assert os.listdir(outside) == []
    assert what != "file" or place.path.read_text() == "precious"
    assert has_parent(place) == (what in ("link", "file", "dangling"))


def test_what_others_left_in_the_directory_stays(
    source: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.path.mkdir()
    (place.path / "theirs").write_text("precious")
    bind(source, place, noexec=False)
    with caplog.at_level(logging.WARNING):
        assert unbind(place) == 0
    assert (place.path / "theirs").read_text() == "precious"
    assert "belongs to somebody else" in caplog.text


async def test_a_busy_mount_is_told_of(source: Path, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    publisher = Publisher(metrics, noexec=True)
    await publisher.publish(source, place)
    with (place.path / "f").open() as reader, caplog.at_level(logging.WARNING):
        await publisher.unpublish(place)
        assert reader.read() == "model"
    assert not place.path.exists()
    assert metrics.registry.get_sample_value("cached_lazy_unmounts_total") == 1
    assert "busy" in caplog.text
    publisher.close()
