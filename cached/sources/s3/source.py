"""`s3://`: buckets and prefixes as sources."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from cached.core.clock import Clock
from cached.core.errors import CachedError, InvalidRequest, NotFound
from cached.core.names import check_path
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.kit.clock import SystemClock
from cached.kit.pool import Pool
from cached.sources.counting import counted_errors
from cached.sources.s3.calls import S3Calls
from cached.sources.s3.clients import Clients
from cached.sources.s3.facts import Facts
from cached.sources.s3.listing import Listed
from cached.sources.s3.options import S3Options
from cached.sources.s3.uri import S3Uri
from cached.telemetry.metrics import Metrics

_CALLS_AT_ONCE: Final = 16
_REMEMBERED: Final = 16384


class S3Source:
    """Implements `cached.core.source.Source` for S3 and servers that speak like it.

    `s3://bucket/prefix` means all keys below `prefix/`, or else the object of that very key. An object
    is pinned by its version id and its ETag, and named by its SHA-256 where S3 checked one for all of it.
    """

    scheme: Final = "s3"

    def __init__(
        self,
        metrics: Metrics,
        options: S3Options | None = None,
        buckets: Mapping[str, S3Options] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`buckets` replaces `options` as a whole for the buckets that it names."""
        self._metrics = metrics
        self._pool = Pool("s3", _CALLS_AT_ONCE)
        self._clients = Clients(_CALLS_AT_ONCE)
        self._calls = S3Calls(self._clients, clock or SystemClock(), options or S3Options(), buckets or {})
        self._known: OrderedDict[Listed, Facts] = OrderedDict()

    async def list(self, uri: str, selection: Selection) -> list[SourceFile]:
        """See Source.list. One call for 1,000 keys, and one for each selected object not seen before."""
        with counted_errors(self._metrics, self.scheme):
            where = S3Uri.parse(uri)
            listed, count = await self._listing(where, selection)
            if not count and where.key and not where.key.endswith("/"):
                return [await self._single(where, selection)]
            if not listed:
                raise _nothing(where, count)
            return list(await self._described(listed))

    async def probe(self, uri: str) -> None:
        """See Source.probe. Leave to read is asked of the first key there."""
        with counted_errors(self._metrics, self.scheme):
            where = S3Uri.parse(uri)
            page, _ = await self._pool.run(self._calls.page, where)
            if page:
                where = next((line.uri for line in page if _plain(line.path)), where)
            elif not where.key or where.key.endswith("/"):
                raise _nothing(where, 0)
            await self._pool.run(self._calls.head, where)

    async def open(self, file: SourceFile) -> RangeRequest:
        """See Source.open. Asks nobody: whoever sends the request learns by 412 that the object changed."""
        with counted_errors(self._metrics, self.scheme):
            return await self._pool.run(self._calls.presign, S3Uri.parse(file.uri), file.pin)

    async def close(self) -> None:
        """Calls under way end by themselves, within their own time limits."""
        self._pool.executor.shutdown(wait=False, cancel_futures=True)
        self._clients.close()

    async def _listing(self, where: S3Uri, selection: Selection) -> tuple[Sequence[Listed], int]:
        """What `selection` takes of the keys below `where`, and how many keys there were."""
        page, token = await self._pool.run(self._calls.page, where)
        taken = [line for line in page if selection.takes(line.path)]
        count = len(page)
        while token:
            page, token = await self._pool.run(self._calls.page, where, token)
            taken += [line for line in page if selection.takes(line.path)]
            count += len(page)
        return taken, count

    async def _single(self, where: S3Uri, selection: Selection) -> SourceFile:
        facts = await self._pool.run(self._calls.head, where)
        name = where.key.rpartition("/")[2]
        if not selection.takes(name):
            raise _nothing(where, 1)
        return facts.file(where, name)

    async def _described(self, listed: Sequence[Listed]) -> Sequence[SourceFile]:
        """Look at each object, a bounded number at a time; the first error ends it."""
        files: list[SourceFile] = []
        failures: list[CachedError] = []
        todo = iter(listed)

        async def work() -> None:
            for line in todo:
                if failures:
                    return
                try:
                    files.append((await self._facts(line)).file(line.uri, line.path))
                except CachedError as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_CALLS_AT_ONCE, len(listed))):
                group.create_task(work())
        if failures:
            raise failures[0]
        return files

    async def _facts(self, line: Listed) -> Facts:
        if facts := self._known.get(line):
            self._known.move_to_end(line)
            return facts
        if not _plain(line.path):
            # No tree may hold it, so it is told as listed: some servers would read its key as another's.
            return Facts(line.size, line.etag, "")
        facts = await self._pool.run(self._calls.head, line.uri)
        if line.settled and (facts.size, facts.etag) == (line.size, line.etag):
            self._known[line] = facts
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return facts


def _plain(path: str) -> bool:
    try:
        check_path(path)
    except InvalidRequest:
        return False
    return True


def _nothing(where: S3Uri, count: int) -> NotFound:
    if count:
        return NotFound(
            f"none of the {count} objects of {where} is selected",
            hint="check the include and exclude patterns",
        )
    return NotFound(f"no object below {where}", hint="check the prefix")
