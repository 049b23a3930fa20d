"""The Kubernetes API server, asked where there is one and this place has leave to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cached.cli.parts import daemons_part
from cached.core.errors import NotConfigured
from cached.core.kubernetes import Unanswered

_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """body: the object of a 200, else empty. date: its header Date, which a refusal has, too."""

    status: int
    body: Mapping[str, Any]
    date: str


def get(path: str) -> Answer:
    """Raises Unanswered, with the reason: none is known, it is silent, or Kubernetes' part is missing."""
    try:
        with daemons_part("ask the API server"):
            from cached.cluster.access import FAULTS, client, found_config, text, usable
        config = usable(found_config, "the API server")
    except NotConfigured as error:
        raise Unanswered(error.message) from None

    async def ask() -> Answer:
        async with client(config) as http, asyncio.timeout(_PATIENCE):
            response = await http.get(path)
            body = response.json() if response.status_code == 200 else {}
            return Answer(response.status_code, body, response.headers.get("Date", ""))

    try:
        return asyncio.run(ask())
    except TimeoutError:
        raise Unanswered(f"the API server has not answered within {_PATIENCE:g} s") from None
    except FAULTS as error:
        raise Unanswered(text(error)) from None
