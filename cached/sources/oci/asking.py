"""Asking a registry on somebody's behalf, until it answers him or says no."""

from __future__ import annotations

from typing import Final

from cached.core.errors import Denied
from cached.core.registry import Reader
from cached.sources.oci.challenge import choose
from cached.sources.oci.client import Client
from cached.sources.oci.errors import Refused, unauthenticated, unbelieved
from cached.sources.oci.grants import Door, Grant, Grants
from cached.sources.oci.request import Answer, Request
from cached.sources.oci.upstream import Upstream

_LONGEST: Final = 16384  # characters of a header that pullers send


class Asking:
    """Answers challenges with what the node has, and leaves those of pullers to them."""

    def __init__(self, client: Client, grants: Grants) -> None:
        self._client = client
        self._grants = grants

    async def ask(
        self, upstream: Upstream, name: str, request: Request, reader: Reader
    ) -> tuple[Answer, Grant]:
        """The answer, which may be any but a 401 of the registry, and what the reader was let in by.

        Raises Unauthenticated with the registry's challenge, Denied, NotConfigured, SourceUnavailable.
        """
        if reader.authorization is not None:
            return await self._for_puller(upstream, request, reader, reader.authorization)
        door = Door(upstream, name, reader.anonymous, request.what)
        try:
            return await self._enter(door, request)
        except Refused as refused:
            raise unauthenticated(request.what, upstream, reader, refused) from None

    async def current(self, upstream: Upstream, name: str, reader: Reader, what: str) -> Grant | None:
        """What the reader may be let in by, without asking for `what`; None when it takes asking to know."""
        if reader.authorization is not None:
            return None
        try:
            return await self._grants.current(Door(upstream, name, reader.anonymous, what))
        except Refused as refused:
            raise unauthenticated(what, upstream, reader, refused) from None

    async def _for_puller(
        self, upstream: Upstream, request: Request, reader: Reader, authorization: str
    ) -> tuple[Answer, Grant]:
        """The puller's own header is shown to the registry, and to no token service."""
        if len(authorization) > _LONGEST or not (authorization.isascii() and authorization.isprintable()):
            raise Denied(f"what was sent to prove a right to {request.what} is nothing a registry takes")
        answer = await self._client.follow(upstream, request.by(authorization))
        if not _unheard(answer):
            return answer, Grant(authorization)
        challenge = choose(answer.headers.get("www-authenticate", ""))
        if challenge and challenge.scheme == "bearer" and not upstream.believes(challenge.realm):
            message, hint = unbelieved(request.what, upstream)
            raise Denied(message, hint=hint)
        raise unauthenticated(request.what, upstream, reader, Refused(challenge, known=True))

    async def _enter(self, door: Door, request: Request) -> tuple[Answer, Grant]:
        """Raises Refused as well."""
        grant = await self._grants.current(door)
        answer = await self._show(door, request, grant)
        if not _unheard(answer):
            return answer, grant or self._grants.keep_open(door)
        challenge = choose(answer.headers.get("www-authenticate", ""))
        if challenge is None:
            raise Refused(None, known=False)
        grant = await self._grants.obtain(door, challenge, grant)
        answer = await self._show(door, request, grant)
        if _unheard(answer) and (other := await self._grants.otherwise(door, challenge, grant)):
            grant = other
            answer = await self._show(door, request, grant)
        if not _unheard(answer):
            return answer, grant
        self._grants.drop(door, grant)
        raise Refused(challenge, known=grant.secret is not None)

    async def _show(self, door: Door, request: Request, grant: Grant | None) -> Answer:
        return await self._client.follow(door.upstream, request.by(grant.authorization if grant else ""))


def _unheard(answer: Answer) -> bool:
    """The registry itself wants to know who asks."""
    return answer.status == 401 and not answer.request.foreign
