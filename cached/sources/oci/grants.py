"""What lets the node into repositories, kept for as long as it does."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cached.core.clock import Clock
from cached.kit.flights import Flights
from cached.sources.oci.challenge import Challenge
from cached.sources.oci.credentials import Credentials
from cached.sources.oci.errors import Refused
from cached.sources.oci.secret import Secret
from cached.sources.oci.tokens import Tokens
from cached.sources.oci.upstream import Upstream

_KEPT: Final = 4096
_PLAIN_SECONDS: Final = 60.0  # that what is no token is kept, so that other credentials count soon
# Seconds before its end that a token is renewed, or a tenth of its life where that is less.
_EARLY: Final = 30.0
_WAIT: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Door:
    """A repository, and whether to enter with the node's credentials. what: the image, as errors call it."""

    upstream: Upstream
    name: str
    anonymous: bool
    what: str = field(compare=False)


@dataclass(slots=True, eq=False)
class Grant:
    """The value of an Authorization header, "" for none. fresh_until and expires_at: Unix time.

    challenge, secret: what it was made of. opened: what it was handed out for.
    """

    authorization: str = field(default="", repr=False)
    fresh_until: float = 0.0
    expires_at: float | None = None
    challenge: Challenge | None = None
    secret: Secret | None = None
    opened: set[str] = field(default_factory=set, repr=False)


class Grants:
    """By door. Concurrent asks for one share a single call. Belongs to one event loop."""

    def __init__(self, tokens: Tokens, credentials: Credentials, clock: Clock) -> None:
        self._tokens = tokens
        self._credentials = credentials
        self._clock = clock
        self._kept: OrderedDict[Door, Grant] = OrderedDict()
        self._flights: Flights[Door, list[Grant]] = Flights()

    async def current(self, door: Door) -> Grant | None:
        """The one in force, None when it has to be found out how to get one. Tokens are renewed in time.

        Raises as `obtain`.
        """
        grant = self._kept.get(door)
        if grant is None or self._clock.now() < grant.fresh_until:
            return grant
        if grant.challenge is None or grant.expires_at is None:
            del self._kept[door]
            return None
        return await self.obtain(door, grant.challenge, grant)

    async def obtain(self, door: Door, challenge: Challenge, refused: Grant | None) -> Grant:
        """Make one that answers the challenge, unless somebody else has since `refused` was.

        Raises Refused, what Tokens.ask and Credentials.find raise.
        """
        kept = self._kept.get(door)
        if kept is not None and kept is not refused and kept.authorization:
            return kept
        async with self._flights.join(door, list, partial(self._make, door, challenge)) as flight:
            while not await flight.wait(_WAIT):
                pass
            if error := flight.outcome():
                raise error
            return flight.about[0]

    async def otherwise(self, door: Door, challenge: Challenge, refused: Grant) -> Grant | None:
        """One by other credentials than those that the registry itself refused, if there are any by now."""
        if refused.secret is None or refused.expires_at is not None:
            return None
        secret = await self._credentials.renewed(door.upstream, refused.secret)
        return None if secret is None else self._keep(door, await self._by(door, challenge, secret))

    def keep_open(self, door: Door) -> Grant:
        """Nothing is needed to enter."""
        return self._keep(door, Grant(fresh_until=self._clock.now() + _PLAIN_SECONDS))

    def drop(self, door: Door, grant: Grant) -> None:
        """It does not let anybody in."""
        if self._kept.get(door) is grant:
            del self._kept[door]

    async def close(self) -> None:
        await self._flights.cancel_all()

    async def _make(self, door: Door, challenge: Challenge, made: list[Grant]) -> None:
        secret = None if door.anonymous else await self._credentials.find(door.upstream)
        try:
            grant = await self._by(door, challenge, secret)
        except Refused:
            other = secret and await self._credentials.renewed(door.upstream, secret)
            if not other:
                raise
            grant = await self._by(door, challenge, other)
        made.append(self._keep(door, grant))

    async def _by(self, door: Door, challenge: Challenge, secret: Secret | None) -> Grant:
        soon = self._clock.now() + _PLAIN_SECONDS
        if secret and secret.registry:
            return Grant(f"Bearer {secret.registry}", soon, None, challenge, secret)
        if challenge.scheme == "basic":
            if secret is None or not secret.basic:
                raise Refused(challenge, known=secret is not None)
            return Grant(secret.basic, soon, None, challenge, secret)
        scope = f"repository:{door.name}:pull"
        token = await self._tokens.ask(door.upstream, challenge, scope, secret, door.what)
        early = min(_EARLY, (token.expires_at - token.issued_at) / 10)
        return Grant(f"Bearer {token.value}", token.expires_at - early, token.expires_at, challenge, secret)

    def _keep(self, door: Door, grant: Grant) -> Grant:
        self._kept[door] = grant
        self._kept.move_to_end(door)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return grant
