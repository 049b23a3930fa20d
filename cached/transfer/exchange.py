"""One GET, over as many connections as it takes."""

from __future__ import annotations

import asyncio
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
from cached.transfer.retry import Failed

_HOPS: Final = 3

Get = Callable[[Channel, Call], Verdict]


@asynccontextmanager
async def exchange(
    gear: Gear, request: RangeRequest, wanted: Wanted, seconds: float, get: Get
) -> AsyncIterator[tuple[Channel, Verdict]]:
    """Run `get` where `request` and its redirects lead, each within `seconds`.

    The channel is the block's for as long as it runs, then kept if it can serve another. Raises what `get`
    raises, Failed when a host cannot be reached, SourceUnavailable when it cannot be trusted, or redirects
    to where nobody should follow.
    """
    call = call_to(request.url, request.headers, gear.proxies)
    for _ in range(_HOPS + 1):
        try:
            channel, verdict = await converse(gear, call, seconds, get)
        except Untrusted as error:
            raise SourceUnavailable(
                f"{wanted.label}: {error}",
                hint="name the file of its CA in transfer.ca_file, or in ca_file of its upstream in images",
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


async def converse(gear: Gear, call: Call, seconds: float, get: Get) -> tuple[Channel, Verdict]:
    """Run `get` over a kept connection, or a new one if that was closed meanwhile; give the channel back.

    Raises what `get` raises, Failed when nothing is connected or received within `seconds`, Untrusted. Then
    the channel has been given back, as it has when cancelled.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                channel = await gear.connections.take(call.endpoint)
        except TimeoutError:
            raise Failed("connect", f"no connection to it within {seconds:g} s") from None
        try:
            return channel, await gear.run(channel, until - loop.time(), get, channel, call)
        except Stale:
            gear.connections.give(channel)  # which closes it: in the end a new one is dialled
        except BaseException:
            gear.connections.give(channel)
            raise
