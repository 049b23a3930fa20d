"""Asking token services.

https://distribution.github.io/distribution/spec/auth/token/ and oauth/
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from cached.core.clock import Clock
from cached.core.errors import Denied, NotConfigured, SourceUnavailable
from cached.sources.oci.challenge import Challenge
from cached.sources.oci.client import Client
from cached.sources.oci.errors import Refused, unbelieved
from cached.sources.oci.request import Request
from cached.sources.oci.secret import Secret
from cached.sources.oci.upstream import Upstream

_MOST: Final = 1 << 20  # bytes of an answer
_LIFE: Final = 60  # seconds, where nothing is said
_LONGEST: Final = 3600
_TOKEN = re.compile(r"[!-~]{1,32768}\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """issued_at and expires_at: Unix time."""

    value: str = field(repr=False)
    issued_at: float
    expires_at: float


class Tokens:
    """Asks for tokens; keeps none."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def ask(
        self, upstream: Upstream, challenge: Challenge, scope: str, secret: Secret | None, what: str
    ) -> Token:
        """A token for what `challenge` wants, or for `scope` where that says nothing; None asks as anybody.

        Raises Refused, NotConfigured for a token service that is not believed, Denied, SourceUnavailable.
        """
        if not upstream.believes(challenge.realm):
            message, hint = unbelieved(what, upstream)
            raise NotConfigured(message, hint=hint)
        request = _request(challenge, challenge.scopes or (scope,), secret, what)
        asked_at = self._clock.now()
        answer = await self._client.send(upstream, request)
        if answer.status == 401 or (answer.status == 403 and secret is None):
            raise Refused(challenge, known=secret is not None)
        if answer.status == 403:
            raise Denied(
                f"the token service of {upstream.host} does not let the node have {what}",
                hint=f"check what images.credentials has for {upstream.host}, and whether that may pull",
            )
        if not answer.good:
            raise _useless(upstream, what, f"answered {answer.status}")
        value, seconds = _read(answer.body, upstream, what)
        return Token(value, asked_at, asked_at + seconds)


def _request(challenge: Challenge, scopes: tuple[str, ...], secret: Secret | None, what: str) -> Request:
    service = [("service", challenge.service)] if challenge.service else []
    what = f"a token for {what}"
    if secret and secret.identity:
        form = {"grant_type": "refresh_token", "refresh_token": secret.identity, "client_id": "cached"}
        form |= {**dict(service), "scope": " ".join(scopes)}
        return Request("POST", challenge.realm, what, form=form, most=_MOST)
    query = urlencode([*service, *(("scope", scope) for scope in scopes)])
    url = f"{challenge.realm}{'&' if '?' in challenge.realm else '?'}{query}"
    return Request("GET", url, what, most=_MOST).by(secret.basic if secret else "")


def _read(body: bytes, upstream: Upstream, what: str) -> tuple[str, float]:
    """The token, and for how many seconds it lasts."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        value = said.get("token") or said.get("access_token")
        if isinstance(value, str) and _TOKEN.match(value):
            return value, _life(said.get("expires_in"))
    raise _useless(upstream, what, "answered without a usable token")


def _useless(upstream: Upstream, what: str, why: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"no token for {what}: the token service of {upstream.host} {why}",
        hint="try again later; see whether it is well",
    )


def _life(said: object) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not said > 0:
        return _LIFE
    return float(min(said, _LONGEST))
