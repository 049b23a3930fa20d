"""Binds that are read-only for whoever sees them, and their end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pytest

from cached.kit.beneath import ensure_directory, open_beneath, open_directory
from cached.kit.mounts import bind_read_only, is_mount_point, may_mount, unmount
from cached.kit.stagedbind import bind_by_staging
from tests.publish.playground import How, Playground, run

Bind = Callable[[int, int], None]
_ITSELF = PurePosixPath()
_READ_ONLY_NOSUID_NODEV = 7


def detached(source: int, target: int) -> None:
    bind_read_only(source, target, noexec=False)


def staged(source: int, target: int) -> None:
    bind_by_staging(source, target, _READ_ONLY_NOSUID_NODEV)


def naive(source: int, target: int) -> None:
    """As `mount --bind` and `mount -o remount,ro,bind` would do it."""
    there = Path(os.readlink(f"/proc/self/fd/{target}"))
    run("mount", "--bind", os.readlink(f"/proc/self/fd/{source}"), there)
    run("mount", "-o", "remount,bind,ro", there)


BOTH = pytest.mark.parametrize("bind", [detached, staged])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Playground]:
    with Playground(tmp_path / "place") as playground:
        (playground.path / "source" / "d").mkdir(parents=True)
        (playground.path / "source" / "f").write_text("model")
        (playground.path / "shown" / "at").mkdir(parents=True)
        yield playground


def shown_by(place: Playground, bind: Bind) -> Path:
    with ExitStack() as open_:
        source = open_.enter_context(open_beneath(place.path / "source", _ITSELF))
        target = open_.enter_context(open_beneath(place.path, PurePosixPath("shown/at")))
        bind(source, target)
    return place.path / "shown" / "at"


@BOTH
@pytest.mark.parametrize("how", ["slave", "shared"])
def test_whoever_receives_it_can_only_read(place: Playground, bind: Bind, how: How) -> None:
    receiver = place.receiver(how)
    target = shown_by(place, bind)
    assert receiver.sees(target / "f") == "model"
    assert receiver.cannot_write(target)
    assert (place.path / "source" / "f").read_text() == "model"
    [mount] = [mount for mount in place.mounts() if mount.point == str(target)]
    assert {"ro", "nosuid", "nodev"} <= mount.options
    assert "noexec" not in mount.options


def test_the_trap_is_real(place: Playground) -> None:
    """What the two ways above are for: a plain bind that is remounted reaches others writable."""
    receiver = place.receiver("slave")
    target = shown_by(place, naive)
    assert os.statvfs(target).f_flag & os.ST_RDONLY
    assert not receiver.cannot_write(target)
    assert (place.path / "source" / "new").exists()


@BOTH
def test_a_container_made_later_has_it_read_only_too(place: Playground, bind: Bind) -> None:
    target = shown_by(place, bind)
    receiver = place.receiver("slave")
    inside = place.path / "container"
    inside.mkdir()
    assert receiver.run("mount", "--rbind", target, inside).returncode == 0
    assert receiver.sees(inside / "f") == "model"
    assert receiver.cannot_write(inside)


@BOTH
def test_what_is_mounted_in_the_source_later_does_not_appear(place: Playground, bind: Bind) -> None:
    target = shown_by(place, bind)
    run("mount", "-t", "tmpfs", "inner", place.path / "source" / "d")
    assert len(place.mounts()) == 2
    assert not os.path.ismount(target / "d")


def test_what_is_mounted_below_the_source_is_read_only_too(place: Playground) -> None:
    run("mount", "-t", "tmpfs", "inner", place.path / "source" / "d")
    target = shown_by(place, detached)
    with pytest.raises(OSError, match="Read-only"):
        (target / "d" / "new").touch()


def test_noexec_where_it_is_wanted(place: Playground) -> None:
    def without(source: int, target: int) -> None:
        bind_read_only(source, target, noexec=True)

    target = shown_by(place, without)
    [mount] = [mount for mount in place.mounts() if mount.point == str(target)]
    assert "noexec" in mount.options


def test_the_private_place_leaves_no_trace(place: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place.path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = len(place.mounts())
    shown_by(place, staged)
    assert len(place.mounts()) == before + 1
    assert sorted(os.listdir(place.path)) == ["shown", "source"]


@BOTH
def test_mounts_are_seen_and_end_one_by_one(place: Playground, bind: Bind) -> None:
    receiver = place.receiver("slave")
    shown_by(place, bind)
    shown_by(place, bind)
    with open_beneath(place.path, PurePosixPath("shown")) as parent:
        assert is_mount_point("at", parent)
        assert unmount("at", parent)
        assert is_mount_point("at", parent)
        assert receiver.sees(place.path / "shown/at/f") == "model"
        assert unmount("at", parent)
        assert not is_mount_point("at", parent)
        with pytest.raises(OSError, match="Invalid argument"):
            unmount("at", parent)
    assert receiver.sees(place.path / "shown/at/f") is None


def test_a_busy_one_leaves_its_path_and_goes_on_for_its_user(place: Playground) -> None:
    target = shown_by(place, detached)
    with (target / "f").open() as reader, open_beneath(place.path, PurePosixPath("shown")) as parent:
        assert not unmount("at", parent)
        assert not is_mount_point("at", parent)
        assert reader.read() == "model"


def test_a_link_in_the_place_of_a_mount_is_not_followed(place: Playground) -> None:
    shown_by(place, detached)
    (place.path / "shown" / "link").symlink_to(place.path / "shown" / "at")
    with open_beneath(place.path, PurePosixPath("shown")) as parent:
        with pytest.raises(OSError, match="Invalid argument"):
            unmount("link", parent)
        assert is_mount_point("at", parent)


@pytest.mark.parametrize("path", ["../x", "a/../b", "/etc"])
def test_only_plain_relative_paths_lie_beneath(tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match="plain relative"), open_beneath(tmp_path, PurePosixPath(path)):
        pass


def test_no_link_on_the_way_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    for path in ("link", "link/inner", "real/../real", "file", "file/x"):
        with pytest.raises(OSError), open_beneath(tmp_path, PurePosixPath(path)):  # noqa: PT011 - several
            pass
    with open_beneath(tmp_path / "link", PurePosixPath("inner")) as through_the_root:
        assert os.path.sameopenfile(through_the_root, os.open(tmp_path / "real/inner", os.O_PATH))
    with open_beneath(tmp_path, PurePosixPath("real")) as real:
        assert not ensure_directory("inner", real, 0o700)
        assert ensure_directory("other", real, 0o700)
        with open_directory("other", real) as other:
            assert os.fstat(other).st_mode & 0o777 == 0o700


def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(FileNotFoundError), open_beneath(tmp_path, PurePosixPath("a/b/c")):
            pass
        with open_beneath(tmp_path, _ITSELF):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_whether_it_may_mount() -> None:
    status = Path("/proc/self/status").read_text()
    capable = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    assert may_mount() == bool(capable & 1 << 21)
