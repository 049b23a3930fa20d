"""Real filesystems that fill up, break, or offer less than the store would like."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.digest import Digest
from cached.core.errors import DiskFault, NoSpace
from cached.core.tree import Tree, TreeFile
from cached.store import blobs, trees
from cached.store.aligned import BLOCK, AlignedFile, allocate
from cached.store.audit import read_and_check
from cached.store.faults import disk_faults
from cached.store.stage import Stage

from .disk import committed, mounted, new_layout, put, run, some_bytes

MIB = 1 << 20
DATA = some_bytes(3 * MIB + 1)
BLOB = Digest.sha256(DATA)
HASHES = b"".join(blake3(DATA[at : at + MIB]).digest() for at in range(0, len(DATA), MIB))

EVERYWHERE = pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "ext4", "xfs"])
SIZE = {"xfs": 320, "ext4": 64}


@EVERYWHERE
def test_a_blob_goes_all_the_way(tmp_path: Path, kind: str) -> None:
    with mounted(kind, tmp_path / "disk", SIZE.get(kind, 32)) as disk:
        layout = new_layout(disk / "root")
        stage = Stage.open(layout, BLOB, len(DATA), chunk_size=MIB)
        put(stage, DATA, [3, 1])
        stage.close()
        stage = Stage.open(layout, BLOB, len(DATA), chunk_size=MIB)
        assert list(stage.missing()) == [0, 2]
        put(stage, DATA)
        stage.seal()
        blobs.commit(layout, stage)
        stage.discard()
        tree = Tree.of([TreeFile("a/b", len(DATA), BLOB)])
        assert (trees.build(layout, tree) / "a" / "b").read_bytes() == DATA
        assert not read_and_check(layout.blob(BLOB), len(DATA), MIB, HASHES)
        trees.remove(layout, tree.digest)


def test_without_o_direct_nothing_stays_in_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    block = allocate(4 * MIB)
    block[:] = some_bytes(4 * MIB)
    file = AlignedFile(path, os.O_RDWR | os.O_CREAT)
    file._go_buffered()
    file.write(block, 0)
    assert b"".join(bytes(piece) for piece in file.pieces(0, 4 * MIB)) == block
    cached = cached_pages(file.fd, 4 * MIB)
    file.close()
    assert cached == 0


def cached_pages(fd: int, size: int) -> int:
    """Pages of the file in the page cache, as mincore(2) tells."""
    import ctypes
    import mmap

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = ctypes.c_void_p(libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0))
    resident = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    assert libc.mincore(address, ctypes.c_size_t(size), resident) == 0
    libc.munmap(address, ctypes.c_size_t(size))
    return sum(page & 1 for page in resident)


def test_a_disk_that_refuses_o_direct_at_first_use_is_written_all_the_same(tmp_path: Path) -> None:
    file = AlignedFile(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    file.write(memoryview(b"not aligned"), 3)
    assert (tmp_path / "file").read_bytes() == b"\0\0\0not aligned"
    file.close()


def test_a_full_disk_says_so_before_anything_is_fetched(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", 8) as disk:
        layout = new_layout(disk / "root")
        (disk / "of somebody else").write_bytes(bytes(2 * MIB))
        before = os.statvfs(disk).f_bfree
        with pytest.raises(NoSpace) as caught:
            Stage.open(layout, BLOB, 7 * MIB, chunk_size=MIB)
        assert caught.value.needed == 7 * MIB
        assert 5 * MIB <= caught.value.free < 7 * MIB
        assert caught.value.retryable
        assert str(disk) not in str(caught.value)
        assert os.statvfs(disk).f_bfree == before
        assert blobs.stages(layout) == []


def test_a_disk_that_somebody_fills_later_has_room_for_what_was_begun(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "disk", 64) as disk:
        layout = new_layout(disk / "root")
        stage = Stage.open(layout, BLOB, len(DATA), chunk_size=MIB)
        other = os.open(disk / "of somebody else", os.O_WRONLY | os.O_CREAT)
        room = os.statvfs(disk).f_bfree * os.statvfs(disk).f_bsize
        with pytest.raises(OSError, match="space"):
            os.posix_fallocate(other, 0, room + BLOCK)
        os.close(other)
        put(stage, DATA)
        stage.seal()
        blobs.commit(layout, stage)
        stage.discard()
        assert layout.blob(BLOB).read_bytes() == DATA
        with pytest.raises(NoSpace):
            Stage.open(layout, BLOB, len(DATA), chunk_size=MIB)
        assert blobs.stages(layout) == []


def test_a_filesystem_gone_read_only_is_named_as_such(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "disk", 64) as disk:
        layout = new_layout(disk / "root")
        blob = committed(layout, b"one", MIB)
        run("mount", "-o", "remount,ro", disk)
        for act in (
            lambda: Stage.open(layout, BLOB, len(DATA), chunk_size=MIB),
            lambda: blobs.remove(layout, blob),
            lambda: blobs.quarantine(layout, blob),
            lambda: trees.build(layout, Tree.of([TreeFile("a", 3, blob)])),
        ):
            with pytest.raises(DiskFault, match="Read-only") as caught:
                act()
            assert "remount" in caught.value.hint
        assert list(blobs.scan(layout)) == [(blob, 3)]


def test_a_dead_disk_is_a_disk_fault_everywhere(tmp_path: Path) -> None:
    with mounted("xfs", tmp_path / "disk", SIZE["xfs"]) as disk:
        layout = new_layout(disk / "root")
        blob = committed(layout, DATA, MIB)
        other = Digest.of_origin("file:///other", "", len(DATA))
        stage = Stage.open(layout, other, len(DATA), chunk_size=MIB)
        put(stage, DATA, [0])
        run("xfs_io", "-x", "-c", "shutdown -f", disk)
        for act in (
            lambda: put(stage, DATA, [1]),
            lambda: read_and_check(layout.blob(blob), len(DATA), MIB, HASHES),
            lambda: Stage.open(layout, BLOB, len(DATA), chunk_size=MIB),
            lambda: list(blobs.scan(layout)),
        ):
            with pytest.raises(DiskFault, match=os.strerror(errno.EIO)):
                act()
        stage.close()


def test_a_disk_that_cannot_read_what_it_holds_is_a_disk_fault(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "disk", 64) as disk:
        layout = new_layout(disk / "root")
        data = some_bytes(40 * MIB)
        stage = Stage.open(layout, Digest.sha256(data), len(data), chunk_size=MIB)
        put(stage, data)
        stage.close()
        run("sync", "-f", disk)
        os.truncate(tmp_path / "disk.img", 40 * MIB)
        with pytest.raises(DiskFault, match=os.strerror(errno.EIO)):
            read_and_check(layout.stage_data(stage.blob), len(data), MIB, bytes(40 * 32))
        stage = Stage.open(layout, stage.blob, len(data), chunk_size=MIB)
        assert 0 < len(stage.missing()) < 40
        os.truncate(tmp_path / "disk.img", 64 * MIB)
        put(stage, data)
        stage.seal()
        stage.close()


def test_a_filesystem_that_broke_and_was_mounted_again_is_taken_for_what_it_kept(tmp_path: Path) -> None:
    blob = Digest.of_origin("file:///x", "", len(DATA))
    with mounted("xfs", tmp_path / "disk", SIZE["xfs"]) as disk:
        layout = new_layout(disk / "root")
        stage = Stage.open(layout, blob, len(DATA), chunk_size=MIB)
        put(stage, DATA, [0, 1])
        run("sync", "-f", disk)
        put(stage, DATA, [2])
        stage.close()
        run("xfs_io", "-x", "-c", "shutdown", disk)
        run("umount", disk)
        run("mount", "-o", "loop", tmp_path / "disk.img", disk)
        stage = Stage.open(layout, blob, len(DATA), chunk_size=MIB)
        assert not {0, 1} & set(stage.missing())
        put(stage, DATA)
        stage.seal()
        assert layout.stage_data(blob).read_bytes() == DATA
        stage.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_tells_figures(tmp_path: Path, code: int) -> None:
    with pytest.raises(NoSpace) as caught, disk_faults("writing", tmp_path / "gone" / "too", needed=5):
        raise OSError(code, "")
    assert caught.value.needed == 5
    assert caught.value.free > BLOCK


@pytest.mark.parametrize(
    "error", [TimeoutError(), OSError("no number"), OSError(errno.EMLINK, ""), PermissionError(1, "")]
)
def test_every_other_error_of_the_disk_is_a_disk_fault_with_a_hint(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(DiskFault, match="writing failed") as caught, disk_faults("writing", tmp_path):
        raise error
    assert caught.value.hint
