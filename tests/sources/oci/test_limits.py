"""Registries that are slow, or want to be asked less."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from cached.core.errors import SourceUnavailable
from cached.core.registry import NODE, Found, file_of
from cached.sources.oci import client, registry
from cached.sources.oci.pauses import Pauses
from tests.servers.faults import Fault
from tests.servers.images import Image
from tests.servers.tokens import TokenService
from tests.sources.oci.house import House


@pytest.mark.parametrize("status", [429, 503])
async def test_a_registry_that_asks_for_it_is_left_alone(house: House, status: int) -> None:
    house.server.inject(Fault(method="", status=status, headers={"Retry-After": "7"}))
    with pytest.raises(SourceUnavailable, match=f"it answered {status}"):
        await house.tag(NODE)
    for _ in range(3):
        with pytest.raises(
            SourceUnavailable, match=r"registry\.test asked to be left alone, for another 7 s"
        ):
            await house.blob(NODE)
    assert len(house.server.requests(method="")) == 1
    house.clock.turn(7.1)
    assert (await house.tag(NODE)).digest == house.image.digest


async def test_a_date_says_it_too(house: House) -> None:
    when = formatdate(time.time() + 60, usegmt=True)
    house.server.inject(Fault(method="", status=429, headers={"Retry-After": when}))
    with pytest.raises(SourceUnavailable):
        await house.tag(NODE)
    with pytest.raises(SourceUnavailable, match=r"left alone, for another (59|60) s"):
        await house.tag(NODE)


async def test_nobody_is_left_alone_for_longer_than_five_minutes(house: House) -> None:
    house.server.inject(Fault(method="", status=429, headers={"Retry-After": "86400"}))
    with pytest.raises(SourceUnavailable):
        await house.tag(NODE)
    house.clock.turn(299)
    with pytest.raises(SourceUnavailable, match="left alone"):
        await house.tag(NODE)
    house.clock.turn(2)
    assert (await house.tag(NODE)).digest == house.image.digest


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {}), (503, {"Retry-After": "0"}), (429, {"Retry-After": "soon"}), (500, {"Retry-After": "60"})],
)
async def test_who_does_not_ask_for_it_is_asked_again(
    house: House, status: int, headers: dict[str, str]
) -> None:
    house.server.inject(Fault(method="", status=status, headers=headers))
    with pytest.raises(SourceUnavailable):
        await house.tag(NODE)
    assert (await house.tag(NODE)).digest == house.image.digest


async def test_a_token_service_may_ask_for_it_too(with_tokens: House, tokens: TokenService) -> None:
    challenge = f'Bearer realm="{with_tokens.server.endpoint}/token"'
    with_tokens.server.inject(
        Fault(path="/v2/*", method="", status=401, headers={"WWW-Authenticate": challenge})
    )
    with_tokens.server.inject(Fault(path="/token", status=429, headers={"Retry-After": "7"}))
    with pytest.raises(SourceUnavailable, match="no token for manifest"):
        await with_tokens.tag(NODE)
    with pytest.raises(SourceUnavailable, match="left alone"):
        await with_tokens.tag(NODE)


async def test_a_blob_may_be_opened_meanwhile(house: House) -> None:
    """That takes no call, once the repository is known to let the reader in."""
    await house.tag(NODE)
    house.server.inject(Fault(method="", status=429, headers={"Retry-After": "7"}))
    with pytest.raises(SourceUnavailable):
        await house.tag(NODE)
    file = file_of(house.repository, Found(house.layer, 1))
    assert await house.source.open_blob(house.repository, file, NODE)


def test_the_longest_pause_counts() -> None:
    pauses = Pauses()
    assert pauses.left("a", 100.0) == 0.0
    pauses.note("a", 30.0, 100.0)
    pauses.note("a", 5.0, 100.0)
    assert (pauses.left("a", 110.0), pauses.left("a", 130.0), pauses.left("b", 110.0)) == (20.0, 0.0, 0.0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SECONDS", 0.5)
    monkeypatch.setattr(client, "_CONNECT_SECONDS", 0.5)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "fault", [Fault(method="", before=lambda: time.sleep(1.5)), Fault(stall=10, pause=1.5)]
)
async def test_a_registry_that_does_not_answer_in_time(house: House, fault: Fault) -> None:
    if not fault.method:
        house.server.inject(fault)
    else:
        house.server.inject(Fault(method="HEAD", status=405))
        house.server.inject(fault)
    with pytest.raises(SourceUnavailable, match=r"did not answer for manifest .* within 0\.5 s"):
        await house.tag(NODE)
    assert house.errors() == {"SourceUnavailable": 1}


@pytest.mark.usefixtures("hasty")
async def test_a_registry_that_takes_no_connection_in_time(small: Image, house: House) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        taken: list[socket.socket] = []
        while len(taken) < 3:  # until the queue is full
            taken.append(socket.socket())
            taken[-1].setblocking(False)
            taken[-1].connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        house.options = type(house.options)(f"http://127.0.0.1:{full.getsockname()[1]}")
        with pytest.raises(SourceUnavailable):
            await house.another().manifest(house.repository, "v1", NODE)
        for each in taken:
            each.close()


@pytest.mark.usefixtures("hasty")
async def test_a_token_service_that_does_not_answer_in_time(with_tokens: House, tokens: TokenService) -> None:
    tokens.pause = 1.0
    with pytest.raises(SourceUnavailable, match="did not answer"):
        await with_tokens.tag(NODE)
    tokens.pause = 0.0
    assert (await with_tokens.tag(NODE)).digest == with_tokens.image.digest


async def test_a_call_can_be_cancelled(house: House) -> None:
    house.server.inject(Fault(method="", before=lambda: time.sleep(0.5)))
    task = asyncio.create_task(house.tag(NODE))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert house.errors() == {}
    assert (await house.tag(NODE)).digest == house.image.digest


async def test_a_name_that_does_not_resolve(house: House, tmp_path: Path) -> None:
    house.options = type(house.options)("http://registry.invalid:5000")
    with pytest.raises(SourceUnavailable, match=r"registry\.invalid:5000 .*its name does not resolve"):
        await house.another().manifest(house.repository, "v1", NODE)
