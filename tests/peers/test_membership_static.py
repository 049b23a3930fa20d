"""Members from the settings, the spelling of addresses, and what `membership_of` makes of the settings."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys

import pytest

from cached.config.settings import Members
from cached.core.errors import NotConfigured
from cached.core.peer import Member
from cached.kit.clock import SystemClock
from cached.peers.membership import Membership, membership_of
from cached.peers.membership.address import Address
from cached.peers.membership.roll import Roll
from tests.peers.following import following

ME = "10.0.0.1:7400"


def made(members: Members, advertise: str = ME) -> Membership | None:
    return membership_of(members, advertise, SystemClock(), random.Random(1))


async def test_a_list_is_told_once_sorted_and_without_duplicates() -> None:
    membership = made(Members(static=("node2:7400", "[fd00:0::1]:7400", "NODE2.:7400", "10.0.0.1:7400")))
    assert membership is not None
    assert membership.source == "static"
    async with following(membership) as heard:
        await heard.until("10.0.0.1:7400", "[fd00::1]:7400", "node2:7400")
        await asyncio.sleep(0)
        assert len(heard.told) == 1


def test_nothing_is_made_when_nothing_is_named() -> None:
    assert made(Members()) is None


@pytest.mark.parametrize(
    "text",
    ["", "node", "node:", ":7400", "node:0", "node:65536", "node:-1", "fd00::1:7400", "[node]:7400", "[]:1"],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Address.parse(text)
    with pytest.raises(NotConfigured) as refused:
        made(Members(static=("node:1", text)))
    assert repr(text) in refused.value.message


@pytest.mark.parametrize(
    ("text", "spelled", "family"),
    [
        ("10.0.0.1:7400", "10.0.0.1:7400", "IPv4"),
        ("[FD00::0:1]:7400", "[fd00::1]:7400", "IPv6"),
        ("Node.Example.:7400", "node.example:7400", None),
    ],
)
def test_an_address_has_one_spelling(text: str, spelled: str, family: str | None) -> None:
    assert str(Address.parse(text)) == spelled
    assert Address.parse(text).family == family


def test_only_differences_are_told_and_a_known_zone_wins() -> None:
    told: list[tuple[Member, ...]] = []
    roll = Roll(told.append)
    roll.call([])
    roll.call([])
    roll.call([Member("b:1"), Member("a:1", "z"), Member("a:1")])
    roll.call([Member("a:1"), Member("a:1", "z"), Member("b:1")])
    roll.call([Member("b:1")])
    assert told == [(), (Member("a:1", "z"), Member("b:1")), (Member("b:1"),)]


@pytest.mark.parametrize("members", [Members(dns="peers.test"), Members(endpoint_slices="ns/peers")])
def test_a_port_is_needed_where_the_others_have_none(members: Members) -> None:
    with pytest.raises(NotConfigured, match=r"peers\.advertise: 'fd00::1:7400' is no address"):
        made(members, "fd00::1:7400")


@pytest.mark.parametrize(
    ("setting", "package"), [("dns='peers.test'", "dnspython"), ("endpoint_slices='ns/peers'", "lightkube")]
)
def test_a_missing_library_is_named_and_none_is_imported_unasked(setting: str, package: str) -> None:
    script = f"""
import random, sys
from cached.config.settings import Members
from cached.core.errors import NotConfigured
from cached.kit.clock import SystemClock
from cached.peers.membership import membership_of
def made(members):
    return membership_of(members, {ME!r}, SystemClock(), random.Random(1))
made(Members())
made(Members(static=("a:1",)))
assert not {{"dns", "lightkube", "httpx2"}} & set(sys.modules)
sys.modules.update(dns=None, lightkube=None)
try:
    made(Members({setting}))
except NotConfigured as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"needs the package {package}" in done.stdout
