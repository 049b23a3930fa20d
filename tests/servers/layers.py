"""Layers of container images, made here: no tool but Python, and in little memory however large they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

BUSYBOX: Final = Path("/bin/busybox")
"""From the Debian package `busybox-static`: it needs no library, and so runs in an image by itself."""

_BLOCK: Final = 1 << 20
_IN_MEMORY: Final = 8 << 20
_ZSTD_BLOCK: Final = 1 << 17

_TYPES: Final = {"": "tar", "gzip": "tar+gzip", "zstd": "tar+zstd"}
_OCI: Final = "application/vnd.oci.image.layer.v1."
_DOCKER: Final = {
    "": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


@dataclass(frozen=True)
class Noise:
    """Content of `size` bytes that no compression makes smaller; equal seeds give equal bytes."""

    size: int
    seed: int = 1


@dataclass(frozen=True)
class Zeros:
    """Content of `size` zero bytes."""

    size: int


@dataclass(frozen=True)
class Program:
    """A file that may be executed."""

    path: Path


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


_Written = IO[bytes] | io.RawIOBase | io.BufferedIOBase
Content = bytes | Noise | Zeros | Program | Link


@dataclass(frozen=True)
class Blob:
    """Bytes that a registry takes. size: bytes. diff_id: of a layer, the digest of what it unpacks to."""

    media_type: str
    digest: str
    size: int
    diff_id: str = ""
    _file: IO[bytes] = field(default_factory=io.BytesIO, repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes, media_type: str) -> Blob:
        return cls(media_type, digest_of(data), len(data), _file=io.BytesIO(data))

    @property
    def descriptor(self) -> dict[str, object]:
        """How a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end`, some at a time. Not for two readers at once."""
        self._file.seek(start)
        left = (self.size if end is None else end) - start
        while left and (block := self._file.read(min(_BLOCK, left))):
            left -= len(block)
            yield block

    @property
    def data(self) -> bytes:
        return b"".join(self.blocks())


def layer(files: Mapping[str, Content], *, compression: str = "gzip", docker: bool = False) -> Blob:
    """A layer with these files, by paths such as `etc/motd`. compression: "", gzip or zstd."""
    media_type = _DOCKER[compression] if docker else f"{_OCI}{_TYPES[compression]}"
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    packed = unpacked = _Hashing(spool)
    if compression == "gzip":
        with gzip.GzipFile("", "wb", 1, packed, mtime=0) as squeezed:
            unpacked = _Hashing(squeezed)
            _pack(files, unpacked)
    elif compression == "zstd":
        framed = _Zstd(packed)
        unpacked = _Hashing(framed)
        _pack(files, unpacked)
        framed.end()
    else:
        _pack(files, packed)
    made = Blob(media_type, packed.digest, packed.size, unpacked.digest, spool)
    weakref.finalize(made, spool.close)
    return made


def busybox_layer(*, docker: bool = False) -> Blob:
    """`/bin/busybox`, and `/bin/sh` as a link to it: enough for a container to run."""
    return layer({"bin/busybox": Program(BUSYBOX), "bin/sh": Link("busybox")}, docker=docker)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class _Hashing(io.RawIOBase):
    """Passes on what is written, and knows its digest and size in bytes."""

    def __init__(self, to: _Written) -> None:
        self._to = to
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._to.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class _Zstd(io.RawIOBase):
    """One frame of raw blocks: as large as what is written, and yet what any reader of zstd takes.

    https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1
    """

    def __init__(self, to: _Written) -> None:
        self._to = to
        to.write(b"\x28\xb5\x2f\xfd\x00\x38")  # no checksum, no size, a window of 128 KiB

    def writable(self) -> bool:
        return True

    def end(self) -> None:
        self._block(b"", last=True)

    def write(self, data: Any, /) -> int:
        for start in range(0, len(data), _ZSTD_BLOCK):
            self._block(bytes(data[start : start + _ZSTD_BLOCK]))
        return len(data)

    def _block(self, data: bytes, *, last: bool = False) -> None:
        self._to.write((len(data) << 3 | last).to_bytes(3, "little") + data)


def _pack(files: Mapping[str, Content], to: _Hashing) -> None:
    with tarfile.open(mode="w|", fileobj=to, bufsize=_BLOCK, format=tarfile.PAX_FORMAT) as archive:
        for directory in sorted({str(up) for path in files for up in Path(path).parents} - {"."}):
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            if isinstance(content, Link):
                member.type, member.linkname = tarfile.SYMTYPE, content.target
                archive.addfile(member)
            else:
                member.mode = 0o755 if isinstance(content, Program) else 0o644
                member.size = _size(content)
                with _opened(content) as body:
                    archive.addfile(member, body)


def _size(content: bytes | Noise | Zeros | Program) -> int:
    if isinstance(content, Program):
        return content.path.stat().st_size
    return len(content) if isinstance(content, bytes) else content.size


def _opened(content: bytes | Noise | Zeros | Program) -> IO[bytes]:
    if isinstance(content, Program):
        return content.path.open("rb")
    return io.BytesIO(content) if isinstance(content, bytes) else io.BufferedReader(_Made(content), _BLOCK)


class _Made(io.RawIOBase):
    """A file whose bytes are made as they are read."""

    def __init__(self, content: Noise | Zeros) -> None:
        self._left = content.size
        self._rng = random.Random(content.seed) if isinstance(content, Noise) else None

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        count = min(self._left, len(into))
        into[:count] = self._rng.randbytes(count) if self._rng else bytes(count)
        self._left -= count
        return count
