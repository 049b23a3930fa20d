"""What the face asks of the engine."""

from __future__ import annotations

from typing import Protocol

from cached.engine.publish.place import Place
from cached.engine.publish.volume import Volume


class Volumes(Protocol):
    """Implemented by `cached.engine.publish.volumes.Volumes`, which says what its methods raise."""

    @property
    def ready(self) -> bool: ...

    def place(self, target: str) -> Place: ...

    async def publish(self, volume: Volume, seconds: float) -> None: ...

    async def unpublish(self, target: str) -> None: ...
