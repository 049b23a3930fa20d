"""Which endpoints of a Service are members: deciding code alone."""

from __future__ import annotations

from typing import Any

import pytest

from cached.core.peer import Member
from cached.peers.membership.address import Address
from cached.peers.membership.endpoints import Endpoints

PORTS = [{"name": "peer", "protocol": "TCP", "port": 7500}]


def slice_of(
    *endpoints: dict[str, Any], name: str = "one", family: str = "IPv4", ports: Any = PORTS
) -> dict[str, Any]:
    return {"metadata": {"name": name}, "addressType": family, "endpoints": list(endpoints), "ports": ports}


def endpoint(
    address: str, zone: str | None = None, conditions: dict[str, bool | None] | None = None
) -> dict[str, Any]:
    return {"addresses": [address, "10.9.9.9"], "zone": zone, "conditions": conditions}


def members(*slices: dict[str, Any], advertise: str = "10.0.0.1:7400") -> list[Member]:
    endpoints = Endpoints(Address.parse(advertise))
    endpoints.replace(slices)
    return sorted(set(endpoints.members()))


@pytest.mark.parametrize(
    ("conditions", "counts"),
    [
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({"ready": None, "serving": None, "terminating": None}, True),
        ({}, True),
        ({"ready": False, "serving": False, "terminating": False}, True),  # boots
        ({"ready": False, "serving": True, "terminating": True}, True),  # drains
        ({"ready": False, "serving": None, "terminating": True}, True),
        ({"ready": False, "serving": False, "terminating": True}, False),
        # As a Service that publishes the addresses of pods that are not ready has it.
        ({"ready": True, "serving": False, "terminating": False}, True),
        ({"ready": True, "serving": False, "terminating": True}, False),
    ],
)
def test_those_that_boot_or_drain_count_too(conditions: dict[str, bool | None], counts: bool) -> None:
    found = members(slice_of(endpoint("10.0.0.2", None, conditions)))
    assert found == ([Member("10.0.0.2:7500")] if counts else [])


def test_conditions_may_be_missing() -> None:
    assert members(slice_of({"addresses": ["10.0.0.2"]})) == [Member("10.0.0.2:7500")]


@pytest.mark.parametrize(
    ("ports", "port"),
    [
        (None, 7400),
        ([], 7400),
        ([{"name": "", "port": None}], 7400),
        ([{"name": "metrics", "port": 9464}], 9464),
        ([{"port": 9464}, {"name": "other", "port": 1}], 9464),
        ([{"name": "metrics", "port": 9464}, {"name": "peer", "port": 7500}], 7500),
    ],
)
def test_the_port_named_peer_or_the_first_or_that_of_advertise(ports: Any, port: int) -> None:
    assert members(slice_of(endpoint("10.0.0.2"), ports=ports)) == [Member(f"10.0.0.2:{port}")]


@pytest.mark.parametrize(
    ("advertise", "expected"),
    [
        ("10.0.0.1:7400", ["10.0.0.2:7500"]),
        ("[fd00::1]:7400", ["[fd00::2]:7500"]),
        ("node1:7400", ["10.0.0.2:7500", "[fd00::2]:7500"]),
    ],
)
def test_a_service_of_two_families_counts_each_pod_once(advertise: str, expected: list[str]) -> None:
    four = slice_of(endpoint("10.0.0.2"))
    six = slice_of(endpoint("fd00:0::2"), name="six", family="IPv6")
    named = slice_of(endpoint("node.example"), name="named", family="FQDN")
    assert members(four, six, named, advertise=advertise) == [Member(each) for each in expected]


def test_slices_are_merged_replaced_and_removed() -> None:
    endpoints = Endpoints(Address("10.0.0.1", 7400))
    one = slice_of(endpoint("10.0.0.2", "a"), endpoint("10.0.0.3", "b"))
    two = slice_of(endpoint("10.0.0.3", "b"), endpoint("10.0.0.4"), name="two")
    endpoints.replace([one, two])
    four = [Member("10.0.0.2:7500", "a"), Member("10.0.0.3:7500", "b"), Member("10.0.0.4:7500")]
    assert sorted(set(endpoints.members())) == four
    endpoints.put(slice_of(endpoint("10.0.0.2", "a")))
    assert sorted(endpoints.members()) == four
    endpoints.remove(two)
    endpoints.remove(two)
    assert list(endpoints.members()) == four[:1]
    endpoints.put({**one, "endpoints": None, "ports": None})
    assert list(endpoints.members()) == []
    endpoints.replace([two])
    assert sorted(endpoints.members()) == four[1:]
