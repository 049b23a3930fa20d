"""Keeping secrets out of what is logged."""

from __future__ import annotations

import re

_PATTERNS = (
    # Query strings of URLs: presigned requests carry their signature there.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"<>]*)\?[^\s'\"<>]*", re.IGNORECASE), r"\1?[redacted]"),
    # User and password in URLs.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@", re.IGNORECASE), r"\1[redacted]@"),
    # Header and parameter values that sign or authenticate.
    (
        re.compile(
            r"((?:authorization|x-amz-security-token|x-amz-signature|x-amz-credential|aws_secret_access_key"
            r"|aws_session_token|secret_?key|password|token)['\"]?\s*[:=]\s*['\"]?|\bbearer\s+)"
            r"(?:(?:bearer|basic|aws4-hmac-sha256)\s+)?[^\s'\",;&}]+",
            re.IGNORECASE,
        ),
        r"\1[redacted]",
    ),
    # Access key ids of AWS.
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), r"\1[redacted]"),
)


def redact(text: str) -> str:
    """`text` without query strings, passwords, tokens and access keys.

    A second fence: what writes errors and log lines leaves them out in the first place.
    """
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
