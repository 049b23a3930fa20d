"""Turning a file's faults into one error that names each key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cached.core.errors import InvalidRequest


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key given twice: YAML would silently keep the last."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_mapping(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse YAML (or JSON) whose top is a mapping; an empty text is an empty mapping.

    Raises InvalidRequest that names `where`, with line and column.
    """
    try:
        parsed = yaml.load(text, _UniqueKeys)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"{where} must be a mapping at its top, not a {type(parsed).__name__}")
    return parsed


def read_mapping(path: Path) -> dict[str, Any]:
    """Read and parse `path`. Raises InvalidRequest when it cannot be read or parsed."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from None
    return parse_mapping(text, str(path))


def _sentences(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in fault["loc"]) or "(top)"
        if fault["type"] == "extra_forbidden":
            yield f"unknown key {key}"
        else:
            yield f"{key}: {fault['msg'].removeprefix('Value error, ')}"


def explain(error: ValidationError, where: str) -> InvalidRequest:
    """One error for all faults of a file. Values are not repeated: they may be secret."""
    return InvalidRequest(f"{where}: {'; '.join(_sentences(error))}", hint="mend the file and check it again")
