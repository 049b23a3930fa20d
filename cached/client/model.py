"""A model in a reader's hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

from cached.client.holds import Hold


class HeldModel:
    """A model's directory, held on this node until it is released or its client closed."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    @property
    def ref(self) -> str:
        """As it was asked for."""
        return self._hold.ref

    @property
    def path(self) -> Path:
        """The read-only directory with its files."""
        return self._hold.grant.path

    @property
    def tree(self) -> str:
        """The tree's digest: equal digests mean equal files."""
        return self._hold.grant.tree

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._hold.grant.size

    @property
    def file_count(self) -> int:
        return self._hold.grant.file_count

    @property
    def stale(self) -> bool:
        """Whether the source did not answer and this is the revision last known."""
        return self._hold.grant.stale

    @property
    def lease_id(self) -> str:
        """The lease at this moment; another one after the daemon had lost it."""
        return self._hold.lease.id

    @property
    def expires_at(self) -> float:
        """Unix time at which the lease ends unless it is renewed, which the client sees to."""
        return self._hold.lease.expires_at

    @property
    def lost(self) -> bool:
        """Whether nothing holds the files at this moment, so that they may be evicted.

        The lease had expired, and the daemon would not grant another one for the same tree. Files that
        are open, or mapped into memory, stay readable. False again once another attempt succeeds.
        """
        return self._hold.lost

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ref} at {self.path}{', lost' if self.lost else ''}>"


class Model(HeldModel):
    """What `CacheClient.acquire` returns. As a context manager it releases at the end."""

    def __init__(self, hold: Hold, release: Callable[[Hold], None]) -> None:
        super().__init__(hold)
        self._release = release

    def release(self) -> None:
        """Give the model up; it may be evicted then. Does nothing the second time; never raises.

        When the daemon does not answer, the lease expires by itself.
        """
        self._release(self._hold)

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class AsyncModel(HeldModel):
    """What `AsyncCacheClient.acquire` returns. As a context manager it releases at the end."""

    def __init__(self, hold: Hold, release: Callable[[Hold], Awaitable[None]]) -> None:
        super().__init__(hold)
        self._release = release

    async def release(self) -> None:
        """Give the model up; it may be evicted then. Does nothing the second time.

        When the daemon does not answer, or the task is cancelled, the lease expires by itself.
        """
        await self._release(self._hold)

    async def __aenter__(self) -> AsyncModel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()
