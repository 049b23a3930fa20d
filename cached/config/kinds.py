"""Kinds of values in settings: sizes, times, addresses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from cached.kit.units import Share, parse_bytes, parse_bytes_or_share, parse_seconds


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("write a size such as 500GiB")
    return parse_bytes(value)


def _bytes_or_share(value: Any) -> int | Share:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("write a size such as 500GiB, or a share such as 20%")
    return parse_bytes_or_share(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("write a time such as 30s or 5m")
    return parse_seconds(value)


def _mode(value: Any) -> int:
    if (
        not isinstance(value, str)
        or not value.isdigit()
        or len(value) not in (3, 4)
        or not set(value) <= set("01234567")
    ):
        raise ValueError('write permissions as text, such as "0660"')
    return int(value, 8)


_SIZE = {"type": ["string", "integer"], "examples": ["500GiB", "2TB", 1073741824]}
_SIZE_OR_SHARE = {"type": ["string", "integer"], "examples": ["500GiB", "20%"]}
_TIME = {"type": ["string", "number"], "examples": ["30s", "5m", "1h30m", 90]}
_MODE = {"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]}

Bytes = Annotated[int, BeforeValidator(_bytes), Field(json_schema_extra=_SIZE)]
BytesOrShare = Annotated[
    int | Share,
    BeforeValidator(_bytes_or_share),
    PlainSerializer(lambda value: str(value) if isinstance(value, Share) else value),
    WithJsonSchema(_SIZE_OR_SHARE),
]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(json_schema_extra=_TIME)]
Mode = Annotated[
    int, BeforeValidator(_mode), PlainSerializer(lambda mode: f"{mode:04o}"), Field(json_schema_extra=_MODE)
]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values do not change once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )
