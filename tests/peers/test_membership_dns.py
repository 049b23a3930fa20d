"""Members from the DNS, against NSD: a real server, with datagrams too small for many members."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns.asyncresolver import Resolver

from cached.core.errors import NotConfigured
from cached.kit.clock import SystemClock
from cached.peers.membership.address import Address
from cached.peers.membership.dns import DnsMembers
from tests.peers.following import following, outages, warned
from tests.servers.nsd import NSD, DnsServer

pytestmark = pytest.mark.skipif(NSD is None, reason="nsd is not installed")

REFRESH = 0.1
TWO = ["peers.svc A 10.0.0.1", "peers.svc A 10.0.0.2"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DnsServer]:
    monkeypatch.setattr("cached.peers.membership.dns.LIFETIME", 0.3)
    with DnsServer(tmp_path) as server:
        yield server


def members(server: DnsServer, name: str = "peers", advertise: str = "10.0.0.1:7400") -> DnsMembers:
    return DnsMembers(
        name, Address.parse(advertise), REFRESH, SystemClock(), random.Random(1), server.resolver
    )


async def test_addresses_found_in_the_search_domains_and_followed(server: DnsServer) -> None:
    server.serve(TWO)
    membership = members(server)
    assert membership.source == "dns peers"
    async with following(membership) as heard:
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")
        server.serve([*TWO, "peers.svc A 10.0.0.3"])  # the TTL is an hour
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400")
        server.serve(TWO[:1])
        await heard.until("10.0.0.1:7400")
        assert len(heard.told) == 3


async def test_only_the_complete_name_is_asked_once_it_is_known(server: DnsServer) -> None:
    server.serve(TWO)
    async with following(members(server)) as heard:
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")
        # Whoever searched again would find this one first.
        server.serve([*TWO, "peers.nowhere A 10.9.9.9", "peers.svc A 10.0.0.3"])
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400")


async def test_two_hundred_members_come_over_tcp(server: DnsServer) -> None:
    many = [f"10.0.{number // 100}.{number % 100}" for number in range(200)]
    server.serve(f"peers.svc A {address}" for address in many)
    async with following(members(server)) as heard:
        await heard.until(*(f"{address}:7400" for address in many))


@pytest.mark.parametrize(
    ("advertise", "expected"),
    [
        ("10.0.0.1:7400", ["10.0.0.1:7400", "10.0.0.2:7400"]),
        ("[fd00::1]:7400", ["[fd00::2]:7400"]),
        ("node1:7400", ["10.0.0.1:7400", "10.0.0.2:7400", "[fd00::2]:7400"]),
    ],
)
async def test_a_pod_with_two_addresses_counts_once(
    server: DnsServer, advertise: str, expected: list[str]
) -> None:
    server.serve([*TWO, "peers.svc AAAA fd00::2"])
    async with following(members(server, advertise=advertise)) as heard:
        await heard.until(*expected)


async def test_an_srv_name_tells_hosts_and_ports(server: DnsServer) -> None:
    server.serve(
        [
            "_peer._tcp.peers.svc SRV 0 50 7401 Node1.example.",
            "_peer._tcp.peers.svc SRV 0 50 7402 node2",
            "_peer._tcp.peers.svc SRV 0 0 1 .",
        ]
    )
    async with following(members(server, "_peer._tcp.peers.svc.cluster.test.")) as heard:
        await heard.until("node1.example:7401", "node2.cluster.test:7402")


async def test_a_name_without_members_yet_is_no_outage(
    server: DnsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(members(server)) as heard:
        await heard.until()
        server.serve(TWO)
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")
    assert not outages(caplog)


@pytest.mark.parametrize("fault", ["stopped", "servfail", "nxdomain", "nodata"])
async def test_those_known_last_are_kept_in_an_outage(
    server: DnsServer, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.INFO, "cached")
    server.serve(TWO)
    async with following(members(server)) as heard:
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")
        match fault:
            case "stopped":
                server.stop()
            case "servfail":
                server.fail()
            case "nxdomain":
                server.serve([])
            case "nodata":
                server.serve(["peers.svc TXT nobody"])
        await warned(caplog)
        await asyncio.sleep(3 * REFRESH)
        assert len(heard.told) == 1
        assert [each.levelname for each in outages(caplog)] == ["WARNING"]
        server.stop()
        server.write(TWO[:1])
        server.start()
        await heard.until("10.0.0.1:7400")
    assert [each.levelname for each in outages(caplog)] == ["WARNING", "INFO"]


async def test_nothing_is_told_before_there_is_an_answer(server: DnsServer) -> None:
    server.fail()
    async with following(members(server)) as heard:
        await asyncio.sleep(3 * REFRESH)
        assert not heard.told
        server.stop()
        server.write(TWO)
        server.start()
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")


async def test_a_host_without_a_resolv_conf_waits_for_one(server: DnsServer, tmp_path: Path) -> None:
    there: list[bool] = []

    def resolver() -> Resolver:
        return server.resolver() if there else Resolver(filename=str(tmp_path / "nothing"))

    server.serve(TWO)
    membership = DnsMembers(
        "peers", Address("10.0.0.1", 7400), REFRESH, SystemClock(), random.Random(1), resolver
    )
    async with following(membership) as heard:
        await asyncio.sleep(2 * REFRESH)
        there.append(True)
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")


async def test_another_resolv_conf_is_noticed_after_a_failure(server: DnsServer, tmp_path: Path) -> None:
    made: list[Resolver] = []

    def resolver() -> Resolver:
        made.append(server.resolver())
        if len(made) == 1:
            made[0].nameservers = ["127.0.0.99"]
        return made[-1]

    server.serve(TWO)
    membership = DnsMembers(
        "peers", Address("10.0.0.1", 7400), REFRESH, SystemClock(), random.Random(1), resolver
    )
    async with following(membership) as heard:
        await heard.until("10.0.0.1:7400", "10.0.0.2:7400")
        await asyncio.sleep(2 * REFRESH)
    assert len(made) == 2


def test_what_is_no_name_is_refused(server: DnsServer) -> None:
    with pytest.raises(NotConfigured, match="is no DNS name"):
        members(server, "a..b")
