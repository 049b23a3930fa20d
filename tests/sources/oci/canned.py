"""A server that answers as it is told, for answers that no honest registry gives."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.servers.upstream import Answer


class Canned:
    """Says the same to every method: what was put for the path, or 404. targets: of what it was asked."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._said: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def put(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """headers: with underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._said[path] = (status, named, body)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.targets.append(target)
        status, said, content = self._said.get(urlsplit(target).path, (404, {}, b""))
        return Answer(status, dict(said), len(content), iter([content]))
