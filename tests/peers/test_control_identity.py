"""Whom the control server believes, over mutual TLS and in plaintext."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from cached.core.errors import NotConfigured
from cached.peers.channels import Channels
from cached.peers.identity import Identity
from cached.swarm.messages import Ask
from tests.peers.ca import identity_of, issue, make_ca
from tests.peers.control_house import OTHER, coordinate, exchange, house, links, until


async def test_members_of_one_ca(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    identity = identity_of(issue(ca, tmp_path))
    async with house(identity) as node, links(identity) as mine:
        _, told = coordinate(mine, node.address)
        _, visit = exchange(mine, node.address)
        knocked: list[bool] = []
        mine.knock(node.address, lambda: knocked.append(True))
        await until(lambda: told.heard and visit.heard and knocked)
        assert node.swarms.seats[0].member == node.swarms.visits[0].member == "127.0.0.1:7400"


async def test_one_name_for_all(tmp_path: Path) -> None:
    """The certificate tells a node from a stranger, the connection one node from another."""
    ca = make_ca(tmp_path)
    identity = identity_of(issue(ca, tmp_path, "unused.example", name="cached.local"), name="cached.local")
    async with house(identity) as node, links(identity) as mine:
        _, told = coordinate(mine, node.address)
        await until(lambda: told.heard)
        _, told = coordinate(mine, node.address, me="10.9.8.7:7400")
        await until(lambda: told.ended)
        assert "PERMISSION_DENIED: 10.9.8.7:7400 is claimed by a caller at 127.0.0.1" in told.ended[0]
        assert len(node.swarms.seats) == 1
        assert node.refused("identity") == 1


async def test_ipv6_and_addresses_within_it(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    files = issue(ca, tmp_path, "unused.example", name="cached.local")
    identity = identity_of(files, name="cached.local")
    async with house(identity, "[::]:0") as node, links(identity) as mine:
        port = node.address.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            _, told = coordinate(mine, f"{host}:{port}", me=f"{host}:7400")
            await until(told.heard.__len__)
        _, told = coordinate(mine, f"[::1]:{port}", me="[0:0::1]:7401")
        await until(told.heard.__len__)


async def test_the_address_of_another_node(tmp_path: Path) -> None:
    """A node's own certificate speaks for its own host only; the seat of that host's member stays."""
    ca = make_ca(tmp_path)
    server = identity_of(issue(ca, tmp_path))
    thief = identity_of(issue(ca, tmp_path, "10.9.8.7"), host="10.9.8.7")
    async with house(server) as node, links(server) as honest, links(thief) as foul:
        line, fine = coordinate(honest, node.address)
        await until(lambda: fine.heard)
        _, told = coordinate(foul, node.address, me="127.0.0.1:7400")
        await until(lambda: told.ended)
        assert "PERMISSION_DENIED: the certificate does not speak for 127.0.0.1:7400" in told.ended[0]
        assert "10.9.8.7" in told.ended[0]
        line.send(Ask(2))
        await until(lambda: node.swarms.seats[0].said[-1] == Ask(2))
        assert fine.ended == []


@pytest.mark.parametrize("kind", ["expired", "foreign", "plaintext"])
async def test_strangers_do_not_get_in(tmp_path: Path, kind: str) -> None:
    ca = make_ca(tmp_path / "ours")
    server = identity_of(issue(ca, tmp_path / "ours"))
    stranger: Identity | None = None
    if kind == "expired":
        files = issue(ca, tmp_path / "ours", "127.0.0.2", lasts=timedelta(seconds=1.5))
        stranger = identity_of(files, host="127.0.0.2")
        await asyncio.sleep(2)
    elif kind == "foreign":
        other = make_ca(tmp_path / "theirs")
        files = issue(other, tmp_path / "theirs")
        files.ca.write_bytes((tmp_path / "ours/ca.crt").read_bytes() + files.ca.read_bytes())
        stranger = identity_of(files)
    async with house(server) as node, links(server) as honest, links(stranger) as foul:
        _, fine = coordinate(honest, node.address)
        await until(lambda: fine.heard)
        _, told = coordinate(foul, node.address)
        await until(lambda: told.ended)
        assert "UNAVAILABLE" in told.ended[0]
        assert len(node.swarms.seats) == 1
        assert fine.ended == []


async def test_a_server_of_another_ca_is_not_spoken_to(tmp_path: Path) -> None:
    ours, theirs = make_ca(tmp_path / "ours"), make_ca(tmp_path / "theirs")
    mine_ = identity_of(issue(ours, tmp_path / "ours"))
    async with house(identity_of(issue(theirs, tmp_path / "theirs"))) as node, links(mine_) as mine:
        _, told = coordinate(mine, node.address)
        await until(lambda: told.ended)
        assert "UNAVAILABLE" in told.ended[0]
        assert not node.swarms.seats


async def test_a_server_of_another_host_is_not_spoken_to(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    mine_, other = (
        identity_of(issue(ca, tmp_path)),
        identity_of(issue(ca, tmp_path, "10.9.8.7"), host="10.9.8.7"),
    )
    async with house(other) as node, links(mine_) as mine:
        _, told = coordinate(mine, node.address)
        await until(lambda: told.ended)
        assert "UNAVAILABLE" in told.ended[0]


async def test_rotation(tmp_path: Path) -> None:
    """An open line lives on; the next one shows the new certificate, which here is from another CA."""
    ca = make_ca(tmp_path)
    identity = identity_of(issue(ca, tmp_path))
    following = asyncio.create_task(identity.follow())
    async with house(identity) as node, links(identity) as mine:
        line, told = coordinate(mine, node.address)
        await until(lambda: told.heard)
        issue(make_ca(tmp_path), tmp_path)
        await until(lambda: identity.generation == 2, 10)
        _, second = coordinate(mine, node.address, tree=OTHER)
        await until(lambda: second.heard)
        line.send(Ask(9))
        await until(lambda: node.swarms.seats[0].said[-1] == Ask(9))
        assert told.ended == []
    following.cancel()


async def test_plaintext_believes_members_only(caplog: pytest.LogCaptureFixture) -> None:
    async with house(member=lambda address: address == "10.0.0.1:7400") as node, links() as mine:
        _, told = coordinate(mine, node.address, me="10.0.0.1:7400")
        await until(lambda: told.heard)
        _, told = coordinate(mine, node.address, me="10.0.0.2:7400")
        await until(lambda: told.ended)
        assert "PERMISSION_DENIED: 10.0.0.2:7400 is no member that this node knows of" in told.ended[0]
        _, visit = exchange(mine, node.address)
        await until(lambda: visit.ended)
        assert visit.opened == 0
        assert node.refused("identity") == 2
        assert [record.levelname for record in caplog.records].count("WARNING") == 1, "once for a host"


async def test_a_port_that_is_taken() -> None:
    async with house() as node:
        with pytest.raises(NotConfigured, match=node.address):
            async with house(listen=node.address):
                pass


async def test_channels_are_shared_and_given_back(tmp_path: Path) -> None:
    closed: list[object] = []
    ca = make_ca(tmp_path)
    identity = identity_of(issue(ca, tmp_path))
    channels = Channels(identity, closed.append)
    with channels.use("127.0.0.1:1") as first, channels.use("127.0.0.1:1") as second:
        assert first is second
        second.retired = True
        with channels.use("127.0.0.1:1") as third:
            assert third is not first
        assert not closed
    assert closed == [first.channel]
    channels.close()
    assert closed == [first.channel, third.channel]
    for held in (first, third):
        await held.channel.close(None)
