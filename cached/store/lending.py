"""What is verified here, for readers: in threads of their own, but for small blobs read whole."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import Corrupt, NotFound
from cached.kit.units import show_bytes
from cached.store.aligned import open_regular
from cached.store.faults import disk_faults
from cached.store.filling import Filling
from cached.store.parts import Parts

_ABSENT: Final = frozenset({errno.ENOENT, errno.ELOOP})  # gone, or something else is in its place


class Lending:
    """Thread-safe, and never waits for the event loop, which is the only one to change what is looked at.

    A blob's stage is asked before its account: a commit settles the account first and closes the stage then,
    so whoever finds no stage finds the account.
    """

    def __init__(self, parts: Parts, filling: Filling) -> None:
        self._layout = parts.layout
        self._small = parts.small
        self._ledger = parts.state.ledger
        self._filling = filling

    def open_verified(self, blob: Digest, offset: int, length: int) -> int | None:
        """As Store.open_verified."""
        stage = self._filling.open_stage(blob)
        if stage is not None:
            fd = stage.open_verified(offset, length)
            if fd is not None:
                return fd
        return self._open_complete(blob, offset, length) if self._ledger.has(blob) else None

    def size(self, blob: Digest) -> int | None:
        """As Store.blob_size."""
        stage = self._filling.open_stage(blob)
        if stage is not None:
            return stage.size
        if not self._ledger.has(blob):
            return None
        with disk_faults(f"looking at blob {blob}", self._layout.blobs):
            try:
                found = os.lstat(self._layout.blob(blob))
            except FileNotFoundError:
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    async def read(self, blob: Digest, limit: int) -> bytes:
        """As Store.read_blob."""
        return await self._small.run(self._read, blob, limit)

    def _read(self, blob: Digest, limit: int) -> bytes:
        fd = self._open_complete(blob, 0, 0) if self._ledger.has(blob) else None
        if fd is None:
            raise NotFound(f"blob {blob} is not complete on this node", hint="ask again; it is fetched anew")
        with disk_faults(f"reading blob {blob}", self._layout.blobs), open(fd, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise Corrupt(
                f"blob {blob} is larger than what it is said to be may be ({show_bytes(limit)})",
                hint="check what names it at the source",
            )
        return data

    def _open_complete(self, blob: Digest, offset: int, length: int) -> int | None:
        with disk_faults(f"opening blob {blob}", self._layout.blobs):
            try:
                fd = open_regular(self._layout.blob(blob), os.O_RDONLY)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
            if 0 <= offset <= offset + length <= os.fstat(fd).st_size:
                return fd
            os.close(fd)
            return None
