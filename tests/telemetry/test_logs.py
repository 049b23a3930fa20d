"""The log: fields are kept, secrets are not."""

from __future__ import annotations

import json
import logging

import pytest

from cached.telemetry.logs import HumanFormatter, JsonFormatter
from cached.telemetry.redact import redact

SECRETS = [
    (
        "GET https://b.s3.amazonaws.com/k?X-Amz-Signature=deadbeef&X-Amz-Credential=AKIAABCDEFGHIJKLMNOP",
        "deadbeef",
    ),
    ("http://user:hunter2@host/path", "hunter2"),
    ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
    ("{'Authorization': 'AWS4-HMAC-SHA256 Credential=x/y'}", "Credential=x/y"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    ("key AKIAIOSFODNN7EXAMPLE was refused", "IOSFODNN7EXAMPLE"),
    ("x-amz-security-token=FQoGZXIvYXdzE", "FQoGZXIvYXdzE"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_are_redacted(text: str, secret: str) -> None:
    assert secret not in redact(text)


@pytest.mark.parametrize(
    "text", ["s3://bucket/a/b.safetensors", "token count 5", "fetched 3 of 4", "why? because"]
)
def test_the_rest_stays(text: str) -> None:
    assert redact(text) == text


def record(**extra: object) -> logging.LogRecord:
    made = logging.LogRecord("cached.x", logging.INFO, "f", 1, "said %s", ("it",), None)
    vars(made).update(extra)
    return made


def test_json_lines() -> None:
    said = json.loads(JsonFormatter().format(record(blob="sha256:ab", size=5)))
    assert (said["level"], said["message"], said["blob"], said["size"]) == ("info", "said it", "sha256:ab", 5)


def test_human_lines() -> None:
    line = HumanFormatter().format(record(blob="sha256:ab"))
    assert line.endswith("info    said it  blob=sha256:ab")


def test_a_secret_in_a_field_or_a_trace_is_redacted_too() -> None:
    assert "hunter2" not in JsonFormatter().format(record(url="http://u:hunter2@h/"))
    try:
        raise ValueError("http://h/?sig=hunter2")
    except ValueError:
        import sys

        failed = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert "hunter2" not in JsonFormatter().format(failed)
    assert "hunter2" not in HumanFormatter().format(failed)
