"""What Gardener can carry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cached.cli.gardener.osc import Purpose
from cached.core.errors import InvalidRequest
from cached.kit.units import show_bytes

LIMITS: Final[Mapping[Purpose, tuple[int, str]]] = {
    "reconcile": (1 << 20, "a Secret"),
    "provision": (16 << 10, "the user data of machines"),
}
"""Bytes, and of what. Gardener's own part of it comes on top of ours."""


def check_size(patch: Mapping[str, Any], purpose: Purpose) -> None:
    """Raise InvalidRequest, naming the largest part, for a patch that is too big by itself."""
    limit, where = LIMITS[purpose]
    size = _bytes(patch)
    if size >= limit:
        part, its_size = max(_parts(patch["spec"]), key=lambda part: part[1])
        raise InvalidRequest(
            f"{show_bytes(size)} do not fit into {where}, which holds less than {show_bytes(limit)}; "
            f"{part} alone has {show_bytes(its_size)}",
            hint="shorten it, or put it into the machine image",
        )


def _parts(spec: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for unit in spec["units"]:
        yield f"the unit {unit['name']}", _bytes(unit)
    for file in spec["files"]:
        yield f"the file {file['path']}", _bytes(file)
    yield "the list of registries", _bytes(spec.get("criConfig", {}))


def _bytes(value: Any) -> int:
    return len(json.dumps(value).encode())
