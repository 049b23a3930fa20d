"""Whether the disk still answers: what lies in the page cache would not tell."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from cached.core.errors import CachedError, DiskFault
from cached.kit.pool import Pool
from cached.store.aligned import BLOCK, AlignedFile
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_EVERY: Final = 3.0
_PATIENCE: Final = 15.0


class Probe:
    """Reads one block of the data directory every few seconds, past the page cache.

    fault: why the disk counts as gone; empty as long as it answers.
    """

    def __init__(self, layout: Layout, metrics: Metrics) -> None:
        self._layout = layout
        self._metrics = metrics
        self._pool = Pool("probe", 1)  # of its own: it must not wait behind those whom it is to warn of
        self._file: AlignedFile | None = None
        self.fault = ""
        metrics.disk_ok.set(1)

    def check(self) -> None:
        """Raises DiskFault while the disk counts as gone."""
        if self.fault:
            raise DiskFault(
                f"the disk of the data directory is gone: {self.fault}",
                hint="see dmesg; repair or replace the disk, then restart the daemon",
            )

    async def run(self) -> None:
        """Forever: look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> bool:
        """Whether the disk answers now; tells of a change."""
        fault = ""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._pool.run(self._read)
        except TimeoutError:
            fault = f"it has not answered for {_PATIENCE:g} s"
        except CachedError as error:
            fault = error.message
        root = str(self._layout.root)
        if fault and not self.fault:
            log.error("the disk is gone; nothing is served", extra={"root": root, "reason": fault})
        elif self.fault and not fault:
            log.warning("the disk is back", extra={"root": root})
        self.fault = fault
        self._metrics.disk_ok.set(0 if fault else 1)
        return not fault

    def close(self) -> None:
        self._pool.close()
        if self._file:
            self._file.close()

    def _read(self) -> None:
        with disk_faults("reading from the disk", self._layout.root):
            if self._file is None:  # kept open: it must not fail for want of file descriptors
                self._file = AlignedFile(self._layout.lock, os.O_RDONLY)
            list(self._file.pieces(0, BLOCK))
