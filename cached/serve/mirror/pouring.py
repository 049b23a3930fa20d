"""A blob on its way to a puller, in order, as its bytes arrive."""

from __future__ import annotations

import asyncio
from typing import Final

from cached.engine.images.views import Piece
from cached.serve.mirror.outlet import PIECE, Outlet, SlowPuller
from cached.serve.mirror.reply import Body
from cached.serve.mirror.traffic import Stream, Traffic

_MOMENT: Final = 0.01  # seconds: with less left, no more is waited for
_AFTER_YOU: Final = 2.0  # seconds


class Stalled(Exception):
    """No bytes of the blob arrive."""


async def pour(body: Body, outlet: Outlet, traffic: Traffic, stall: float) -> None:
    """Send all of `body`, and read at most one piece ahead of the puller.

    Raises Stalled after `stall` seconds in which nobody who reads the blob gets more of it, what ends its
    fetch, and what Outlet.send raises.
    """
    stream = Stream(body.blob, body.span.offset)
    end = stream.offset + body.span.length
    traffic.enter(stream)
    try:
        while stream.offset < end:
            piece = body.take_first() or await _next(body, stream, end, traffic, stall)
            traffic.moved(stream.blob, asyncio.get_running_loop().time())
            await outlet.send(piece)
            stream.offset += piece.length
    except (ConnectionError, SlowPuller):
        raise
    except Exception:
        # Who reads a layer in parts asks elsewhere for the rest when the first part that is not whole ends
        # early, and gives up all when another one does. After that one nobody wants the others.
        if traffic.is_behind(stream):
            await asyncio.sleep(_AFTER_YOU)
        raise
    finally:
        traffic.leave(stream)


async def _next(body: Body, stream: Stream, end: int, traffic: Traffic, stall: float) -> Piece:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    patience = _AFTER_YOU if traffic.troubled(stream.blob, begun) else stall
    while (left := traffic.last_move(stream.blob, begun) + patience - loop.time()) > _MOMENT:
        try:
            async with asyncio.timeout(left):
                return await body.reader.piece(stream.offset, min(end - stream.offset, PIECE))
        except TimeoutError:
            continue
    raise Stalled
