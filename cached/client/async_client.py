"""The client for an event loop."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from cached.client.async_connection import AsyncConnection
from cached.client.async_keeper import AsyncKeeper
from cached.client.grant import OnProgress, acquire_request, default_holder
from cached.client.holds import Hold
from cached.client.model import AsyncModel
from cached.client.visibility import check_visible


class AsyncCacheClient:
    """Models by name, from the daemon on this node, for one event loop; see CacheClient.

        async with AsyncCacheClient() as cache:
            model = await cache.acquire("minilm")

    A task renews the leases. on_lost is called in the loop.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        holder: str | None = None,
        wait: float = 30.0,
        on_lost: Callable[[AsyncModel], object] | None = None,
    ) -> None:
        self._holder = default_holder() if holder is None else holder
        self._on_lost = on_lost
        self._connection = AsyncConnection(address, wait=wait)
        self._keeper = AsyncKeeper(self._connection)

    async def acquire(
        self,
        ref: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # it is the call's deadline on the wire, too
        holder: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> AsyncModel:
        """As CacheClient.acquire; on_progress is a plain function, called in the loop.

        Cancelling it leaves the fetch and harms no other caller.
        """
        who = self._holder if holder is None else holder
        grant = await self._connection.acquire(acquire_request(ref, ttl, who), timeout, on_progress)
        hold = Hold(ref, ttl, who, grant)
        model = AsyncModel(hold, self._release)
        if self._on_lost:
            hold.on_lost = lambda: self._on_lost(model)
        self._keeper.add(hold)
        try:
            check_visible(grant)
        except BaseException:
            await model.release()
            raise
        return model

    async def close(self) -> None:
        """Give up all models. Does nothing the second time."""
        if not self._connection.forked:
            await self._keeper.stop()
            await self._connection.close()

    async def _release(self, hold: Hold) -> None:
        if not self._connection.forked:
            await self._keeper.release(hold)

    async def __aenter__(self) -> AsyncCacheClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
