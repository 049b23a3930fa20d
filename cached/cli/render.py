"""Printing an answer: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cached.cli.options import Output

if TYPE_CHECKING:
    from google._upb import _message as upb
    from google.protobuf import descriptor
    from google.protobuf.message import Message

    Field = descriptor.FieldDescriptor | upb.FieldDescriptor


def emit(output: Output, value: Mapping[str, Any], table: Callable[[], str]) -> None:
    """Print `value`, or for people what `table` makes of it, if that is anything."""
    if output == "json":
        click.echo(json.dumps(value, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False), nl=False)
    elif text := table():
        click.echo(text)


def rfc3339(unix: float) -> str:
    """As protobuf writes times: UTC, to the microsecond."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def fields(message: Message) -> dict[str, Any]:
    """All fields of `message` under their names in the proto, so that names are stable and none is missing.

    Counts and sizes are integers, times RFC 3339 in UTC, durations seconds, enumeration values lower case
    without their prefix; what is unset and may be is null.
    """
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Field) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Field, value: Any) -> Any:
    if field.enum_type is not None:
        name: str = field.enum_type.values_by_number[value].name
        return name.removeprefix(_prefix(field.enum_type.name)).lower()
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return value.ToJsonString()
    if field.message_type.full_name == "google.protobuf.Duration":
        return value.ToNanoseconds() / 1e9
    return fields(value)


def _prefix(enum: str) -> str:
    """`ARTIFACT_STATE_` of `ArtifactState`, as buf's style wants it."""
    return "".join(f"_{c}" if c.isupper() else c.upper() for c in enum).lstrip("_") + "_"
