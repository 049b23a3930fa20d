"""One GET, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from cached.core.errors import SourceUnavailable
from cached.core.source import RangeRequest
from cached.transfer.address import Call, call_to, redirected
from cached.transfer.answer import Follow, Verdict, Wanted
from cached.transfer.channel import Channel, Stale
from cached.transfer.connections import Untrusted
from cached.transfer.gear import Gear

_HOPS: Final = 3

Get = Callable[[Channel, Call], Verdict]


@asynccontextmanager
async def exchange(
    gear: Gear, request: RangeRequest, wanted: Wanted, length: int, get: Get
) -> AsyncIterator[tuple[Channel, Verdict]]:
    """Run `get`, which receives `length` bytes, where `request` and its redirects lead.

    The channel is the block's for as long as it runs, then kept if it can serve another. Raises what `get`
    raises, Failed when a host cannot be reached, SourceUnavailable when it cannot be trusted, or redirects
    to where nobody should follow.
    """
    call = call_to(request.url, request.headers, gear.proxies)
    for _ in range(_HOPS + 1):
        try:
            channel, verdict = await _get(gear, call, length, get)
        except Untrusted as error:
            raise SourceUnavailable(
                f"{wanted.label}: {error}", hint="name the file of its CA in transfer.ca_file"
            ) from None
        try:
            if not isinstance(verdict, Follow):
                yield channel, verdict
                return
        finally:
            gear.connections.give(channel)
        there = redirected(call, verdict.location, request.headers, gear.proxies)
        if there is None:
            raise SourceUnavailable(
                f"{wanted.label}: the source redirects to where it is not safe to follow",
                hint="a redirect may lead to http:// or https://, and never from the second to the first",
            )
        call = there
    raise SourceUnavailable(
        f"{wanted.label}: more than {_HOPS} redirects", hint="see whether the source redirects in a circle"
    )


async def _get(gear: Gear, call: Call, length: int, get: Get) -> tuple[Channel, Verdict]:
    while True:
        channel = await gear.connections.take(call.endpoint)
        try:
            return channel, await gear.run(channel, length, get, channel, call)
        except Stale:
            gear.connections.give(channel)  # which closes it: in the end a new one is dialled
        except BaseException:
            gear.connections.give(channel)
            raise
