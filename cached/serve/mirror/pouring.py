"""A blob on its way to a puller, in order, as its bytes arrive."""

from __future__ import annotations

import asyncio
from typing import Final

from cached.engine.images.views import Piece
from cached.serve.mirror.outlet import PIECE, Outlet
from cached.serve.mirror.reply import Body
from cached.serve.mirror.traffic import Traffic

_MOMENT: Final = 0.01  # seconds: with less left, no more is waited for


class Stalled(Exception):
    """No bytes of the blob arrive."""


async def pour(body: Body, outlet: Outlet, traffic: Traffic, stall: float) -> None:
    """Send all of `body`, and read at most one piece ahead of the puller.

    Raises Stalled after `stall` seconds in which nobody who reads the blob gets more of it, what ends its
    fetch, and what Outlet.send raises.
    """
    loop = asyncio.get_running_loop()

    async def next_piece(offset: int) -> Piece:
        begun = loop.time()
        while (left := traffic.last_move(body.blob, begun) + stall - loop.time()) > _MOMENT:
            try:
                async with asyncio.timeout(left):
                    return await body.reader.piece(offset, min(end - offset, PIECE))
            except TimeoutError:
                continue
        raise Stalled

    offset = body.span.offset
    end = offset + body.span.length
    while offset < end:
        piece = body.take_first() or await next_piece(offset)
        traffic.moved(body.blob, loop.time())
        await outlet.send(piece)
        offset += piece.length
