"""What containerd's refusals mean. It tells most of it in words alone; these are of 1.6, 1.7 and 2.1."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final

import grpc
from grpc import StatusCode

from cached.core.errors import (
    CachedError,
    Corrupt,
    Denied,
    NoSpace,
    NotConfigured,
    NotFound,
    RuntimeUnavailable,
    SourceUnavailable,
)
from cached.core.image import ImageName
from cached.core.runtime import Login
from cached.telemetry.redact import redact

_LONGEST: Final = 500

_SILENT: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED})
_PULLING = re.compile(r"failed to pull and unpack image \"[^\"]*\": ")
_STARTING = re.compile(r"server is not initialized yet")
_NO_CRI = re.compile(r"unknown (?:service|method)")

_FULL = re.compile(r"no space left on device|disk quota exceeded")
_NOT_THERE = re.compile(r"failed to resolve|from remote|no match for platform")
_DENIED = re.compile(r"pull access denied|authorization failed|: 40[13]\b")
_WRONG_BYTES = re.compile(r"unexpected commit digest")
_TOO_OFTEN = re.compile(r": 429\b|toomanyrequests")


def refusal(error: grpc.RpcError, image: ImageName, doing: str, login: Login | None = None) -> CachedError:
    """The house's word for a failed call about `image`; `doing` says which, such as "pull".

    login: what must not show.
    """
    code, told = error.code(), error.details() or ""
    said = _masked(_PULLING.sub("", told), login)
    message = f"the container runtime could not {doing} {image}: {said}"
    if code is StatusCode.UNIMPLEMENTED and _NO_CRI.search(told):
        hint = 'CRI v1 is needed: containerd 1.6 or later, without "cri" among its disabled_plugins'
        return NotConfigured(message, hint=hint)
    if (code in _SILENT and not _PULLING.search(told)) or _STARTING.search(told):
        why = said.rpartition("error: ")[2]  # before it, gRPC tells of all its attempts
        return RuntimeUnavailable(
            f"the container runtime did not answer when asked to {doing} {image}: {why}",
            hint="see that containerd runs, and that images.runtime.socket is its socket",
        )
    if _FULL.search(told):
        hint = "free space on the filesystem of containerd's data directory"
        return NoSpace(message, needed=0, free=0, held=0, hint=hint)
    if code is StatusCode.NOT_FOUND and (doing != "pull" or _NOT_THERE.search(told)):
        return NotFound(message, hint="check its name, and whether it is there for this node's platform")
    if _DENIED.search(told):
        return Denied(message, hint="see images.credentials: the registry wants another user, or one at all")
    if _WRONG_BYTES.search(told):
        hint = (
            "push the image again; what containerd received, it may keep, and refuse, until it is restarted"
        )
        return Corrupt(message, hint=hint)
    if _TOO_OFTEN.search(told):
        return SourceUnavailable(message, hint="the registry wants to be asked less often, or by a user")
    return SourceUnavailable(message, hint="see containerd's log, and whether the registry answers")


def _masked(told: str, login: Login | None) -> str:
    """What was said, without secrets. containerd leaves them out, but for what stands in redirects."""
    if login is not None:
        basic = b64encode(f"{login.user}:{login.password}".encode()).decode()
        for secret in filter(None, (basic, login.password)):
            told = told.replace(secret, "[redacted]")
    return redact(told)[:_LONGEST]
