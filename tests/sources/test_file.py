from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest

from cached.core.errors import Denied, InvalidRequest, NotFound, SourceChanged, SourceUnavailable
from cached.core.source import Selection
from cached.sources.file import FileSource
from cached.telemetry.metrics import Metrics
from tests.sources.contract import ManyFilesContract, Place, SourceContract, count_errors, listed


class Directory:
    hostile = ("line\nbreak", "back\\slash", "\x01", os.fsdecode(b"not-utf8-\xff"))

    def __init__(self, path: Path, roots: tuple[Path, ...] = (), fences: tuple[Path, ...] = ()) -> None:
        path.mkdir()
        self.path = path
        self.metrics = Metrics()
        self.source = FileSource(self.metrics, roots, fences)
        self.uri = path.as_uri()

    def put(self, path: str, data: bytes) -> None:
        """As careful writers do: beside, then renamed."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name("draft")
        draft.write_bytes(data)
        draft.rename(target)

    def put_many(self, paths: Iterable[str], data: bytes) -> None:
        for path in paths:
            self.put(path, data)

    def remove(self, path: str) -> None:
        (self.path / path).unlink()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Directory]:
    directory = Directory(tmp_path / "models")
    yield directory
    await directory.source.close()


class TestContract(SourceContract):
    @pytest.fixture
    def place(self, place: Directory) -> Place:
        return place


class TestManyFiles(ManyFilesContract):
    @pytest.fixture
    def place(self, place: Directory) -> Place:
        return place


async def test_a_file_written_in_place_has_changed(place: Directory) -> None:
    place.put("a.bin", b"before")
    file = (await listed(place))["a.bin"]
    with (place.path / "a.bin").open("r+b") as opened:
        opened.write(b"behind")
    os.utime(place.path / "a.bin", ns=(0, 1))
    with pytest.raises(SourceChanged):
        await place.source.open(file)


async def test_links_within_the_directory_are_followed(place: Directory) -> None:
    place.put("blobs/abc", b"12345")
    (place.path / "model.bin").symlink_to("blobs/abc")
    (place.path / "weights").symlink_to(place.path / "blobs")
    found = await listed(place, below="/model.bin")
    assert found["model.bin"].uri == (place.path / "blobs/abc").as_uri()
    (place.path / "weights").unlink()
    found = await listed(place)
    assert sorted(found) == ["blobs/abc", "model.bin"]
    assert found["model.bin"].blob == found["blobs/abc"].blob


async def test_links_out_of_the_directory_are_refused(place: Directory, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "models-2").mkdir()
    (tmp_path / "models-2" / "near").write_text("a name that begins alike")
    place.put("plain", b"1")
    for target in ("../secret", str(tmp_path / "secret"), "../models-2/near"):
        (place.path / "link").symlink_to(target)
        with pytest.raises(InvalidRequest, match="out of bounds"):
            await listed(place)
        assert list(await listed(place, Selection(exclude=("link",)))) == ["plain"]
        (place.path / "link").unlink()
    (place.path / "link").symlink_to(tmp_path / "models-2", target_is_directory=True)
    with pytest.raises(InvalidRequest, match="out of bounds"):
        await listed(place)


async def test_a_hub_snapshot_is_read_with_its_cache_as_root(tmp_path: Path) -> None:
    hub = Directory(tmp_path / "hub", roots=(tmp_path / "hub",))
    hub.put("models--a--b/blobs/123", b"12345")
    snapshot = hub.path / "models--a--b/snapshots/main"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").symlink_to("../../blobs/123")
    assert list(await listed(hub, below="/models--a--b/snapshots/main")) == ["model.bin"]
    (snapshot / "model.bin").unlink()
    (snapshot / "model.bin").symlink_to("/etc/hostname")
    with pytest.raises(InvalidRequest, match="out of bounds"):
        await listed(hub, below="/models--a--b/snapshots/main")
    await hub.source.close()


async def test_outside_the_roots_nothing_is_read(tmp_path: Path) -> None:
    place = Directory(tmp_path / "models", roots=(tmp_path / "models",))
    (tmp_path / "secret").write_text("secret")
    (place.path / "out").symlink_to(tmp_path)
    for uri in ((tmp_path / "secret").as_uri(), place.uri + "/out/secret", "file:///etc"):
        with pytest.raises(Denied):
            await place.source.list(uri, Selection())
    await place.source.close()


async def test_below_a_fence_links_lead_to_nothing_outside(tmp_path: Path) -> None:
    """Pods may name what they like there, and may well be able to make links there, too."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "open").symlink_to("disk", target_is_directory=True)
    place = Directory(tmp_path / "disk" / "models", fences=(tmp_path / "open" / "models",))
    place.put("v1/a.bin", b"yes")
    (place.path / "latest").symlink_to("v1")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.bin").write_bytes(b"no")
    (place.path / "out").symlink_to(tmp_path / "secret")
    (place.path / "out.bin").symlink_to(tmp_path / "secret" / "a.bin")
    named = (tmp_path / "open" / "models").as_uri()
    assert len(await place.source.list(f"{named}/latest", Selection())) == 1
    for uri in (f"{named}/out", f"{named}/out/a.bin", f"{named}/out.bin"):
        with pytest.raises(Denied):
            await place.source.list(uri, Selection())
    elsewhere = (tmp_path / "secret").as_uri()
    assert len(await place.source.list(elsewhere, Selection())) == 1, "a catalog may name it"
    await place.source.close()


async def test_a_link_put_in_place_of_a_file_or_of_its_directory_is_seen(
    place: Directory, tmp_path: Path
) -> None:
    place.put("sub/a.bin", b"before")
    file = (await listed(place))["sub/a.bin"]
    (place.path / "sub").rename(tmp_path / "away")
    (place.path / "sub").symlink_to(tmp_path / "away")
    with pytest.raises(SourceChanged):
        await place.source.open(file)
    (place.path / "sub").unlink()
    (tmp_path / "away").rename(place.path / "sub")
    await place.source.open(file)
    (place.path / "sub/a.bin").rename(tmp_path / "a.bin")
    (place.path / "sub/a.bin").symlink_to(tmp_path / "a.bin")
    with pytest.raises(SourceChanged):
        await place.source.open(file)


async def test_knots_of_links_end(place: Directory) -> None:
    place.put("a/x", b"1")
    (place.path / "a/up").symlink_to(place.path)
    with pytest.raises(InvalidRequest, match="met before"):
        await listed(place)
    (place.path / "a/up").unlink()
    (place.path / "self").symlink_to("self")
    with pytest.raises(InvalidRequest):
        await listed(place)
    (place.path / "self").unlink()
    (place.path / "nowhere").symlink_to("absent")
    with pytest.raises(NotFound, match="nowhere"):
        await listed(place)


@pytest.fixture
def deep() -> Iterator[Path]:
    """A directory with a file 1,500 directories down; not below tmp_path, which pytest could not clear."""
    top = Path(tempfile.mkdtemp())
    where = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=where)
        inner = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = inner
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=where))
    os.close(where)
    yield top
    subprocess.run(["rm", "-r", top], check=True)


async def test_a_directory_deeper_than_the_stack_is_listed(place: Directory, deep: Path) -> None:
    (file,) = await place.source.list(deep.as_uri(), Selection())
    assert file.path == "d/" * 1500 + "f"


@pytest.fixture
def oddities(place: Directory) -> Iterator[None]:
    os.mkfifo(place.path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(place.path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        (place.path / "device").symlink_to("/dev/null")
        yield


@pytest.mark.usefixtures("oddities")
@pytest.mark.parametrize("name", ["fifo", "socket", "device"])
async def test_what_is_no_regular_file_is_refused_where_selected(place: Directory, name: str) -> None:
    place.put("plain", b"1")
    with pytest.raises(InvalidRequest, match=name):
        await listed(place, Selection(include=(name,)))
    assert list(await listed(place, Selection(include=("plain",)))) == ["plain"]
    with pytest.raises(InvalidRequest):
        await listed(place, below=f"/{name}")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_what_may_not_be_read_is_denied() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        place = Directory(Path(home) / "models")
        place.put("a.bin", b"1")
        place.put("closed/b.bin", b"1")
        file = (await listed(place))["a.bin"]
        (place.path / "a.bin").chmod(0)
        (place.path / "closed").chmod(0)
        os.seteuid(65534)
        try:
            with pytest.raises(Denied):
                await listed(place)
            with pytest.raises(Denied):
                await place.source.open(file)
        finally:
            os.seteuid(0)
        assert count_errors(place, "Denied") == 2
        await place.source.close()


async def test_a_filesystem_that_hangs_is_unavailable(tmp_path: Path) -> None:
    metrics = Metrics()
    source = FileSource(metrics, patience=0.05)
    awake = threading.Event()
    stuck = [source._pool.executor.submit(awake.wait) for _ in range(4)]
    try:
        with pytest.raises(SourceUnavailable):
            await source.list(tmp_path.as_uri(), Selection())
        await source.close()
    finally:
        awake.set()
    assert all(each.result(5) for each in stuck)


@pytest.mark.parametrize("uri", ["file://host/models", "file://", "file:///", "/models", "file:models"])
async def test_a_uri_that_is_no_local_path_is_refused(place: Directory, uri: str) -> None:
    with pytest.raises(InvalidRequest):
        await place.source.list(uri, Selection())
