"""What is verified here, for readers in threads of their own."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from cached.core.digest import Digest
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
