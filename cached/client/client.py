"""The client for threads."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from cached.client.connection import Connection
from cached.client.grant import OnProgress, acquire_request, default_holder
from cached.client.holds import Hold
from cached.client.keeper import Keeper
from cached.client.model import Model
from cached.client.visibility import check_visible


class CacheClient:
    """Models by name, from the daemon on this node.

        with CacheClient() as cache:
            path = cache.acquire("minilm").path

    Each model is held until it is released or the client closed; a thread renews the leases meanwhile.
    Safe to use from several threads. Not across a fork (gRPC is not): a child process makes its own
    client, and leaving the parent's `with` block in the child gives nothing up.

    address: `unix:/path` or `/path`; CACHED_ADDRESS, then the usual places, when None.
    holder: who holds the leases, for people; this host and process when None.
    wait: seconds that a call without a timeout waits for a daemon that is not up.
    on_lost: called, from a background thread, each time a model is no longer held; see `Model.lost`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        holder: str | None = None,
        wait: float = 30.0,
        on_lost: Callable[[Model], object] | None = None,
    ) -> None:
        self._holder = default_holder() if holder is None else holder
        self._on_lost = on_lost
        self._connection = Connection(address, operator=False, wait=wait)
        self._keeper = Keeper(self._connection)

    def acquire(
        self,
        ref: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        holder: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Model:
        """Wait until the model is complete and verified on this node, and hold it.

        ref: `name`, `name@revision`, or a source URI where the daemon permits it. ttl: seconds that the
        lease outlives this process; the daemon's own when None. timeout: seconds for all of it, waiting
        for a daemon that is not up yet included; no end to the fetch when None. on_progress: called in
        this thread, about twice a second while bytes are missing; what it raises ends the call.

        Leaving early, by an exception or Ctrl-C, harms no other caller. Raises the errors of
        `cached.core.errors` as the daemon raised them, TimedOut, Unreachable, and NotVisible, which
        explains a missing mount.
        """
        who = self._holder if holder is None else holder
        grant = self._connection.acquire(acquire_request(ref, ttl, who), timeout, on_progress)
        hold = Hold(ref, ttl, who, grant)
        model = Model(hold, self._release)
        if self._on_lost:
            hold.on_lost = lambda: self._on_lost(model)
        self._keeper.add(hold)
        try:
            check_visible(grant)
        except BaseException:
            model.release()
            raise
        return model

    def close(self) -> None:
        """Give up all models. Does nothing the second time; never raises."""
        if not self._connection.forked:
            self._keeper.stop()
            self._connection.close()

    def _release(self, hold: Hold) -> None:
        if not self._connection.forked:
            self._keeper.release(hold)

    def __enter__(self) -> CacheClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
