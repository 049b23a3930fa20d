"""The port to the container runtime of this node. The adapter lives in `cached.runtime`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from cached.core.digest import Digest
from cached.core.image import ImageName


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password for one registry, for the runtime to pull with. Never logged."""

    user: str = field(repr=False)
    password: str = field(repr=False)


class Runtime(Protocol):
    """Whoever unpacks images and starts containers.

    All raise RuntimeUnavailable while the runtime does not answer, which is worth another try: it is
    restarted while nodes boot; NotConfigured where it is none that is known here. `pull` raises NotFound,
    Denied, NoSpace, Corrupt or SourceUnavailable as the runtime says.
    """

    async def has(self, image: ImageName) -> bool:
        """Whether the image is there, unpacked."""
        ...

    async def pull(self, image: ImageName, login: Login | None) -> None:
        """Have it pull and unpack the image for its own platform. Cancelled, the pull is cancelled too."""
        ...

    async def pin(self, image: ImageName) -> bool:
        """Keep kubelet from collecting the image; False where this runtime knows no pins.

        Raises NotFound when the image is not there. Pulling it again may take the pin away.
        """
        ...

    async def close(self) -> None: ...


class ContentStore(Protocol):
    """Blobs that lie in the runtime's own store: complete, and named by their SHA-256.

    They go when the runtime collects them; whoever has one open goes on reading. Methods
    other than `scan` and `watch` are for any thread.
    """

    def size(self, blob: Digest) -> int | None:
        """Bytes of the blob, None when it is not there, as far as can be seen."""
        ...

    def open(self, blob: Digest) -> int | None:
        """A descriptor that reads it; close it. None when it is not there. Raises DiskFault."""
        ...

    async def scan(self) -> Iterable[tuple[Digest, int]]:
        """All blobs there are now, and their sizes in bytes, newest first."""
        ...

    async def watch(self, changed: Callable[[], None]) -> None:
        """Forever: call `changed` when blobs may have come or gone."""
        ...
