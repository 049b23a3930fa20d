"""What is said of neighbours, of the CSI plugin, of the mirror, and of certificates."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cached._proto.v1.operator_pb2 import (
    PEER_STATE_ASIDE,
    PEER_STATE_BANNED,
    PEER_STATE_OK,
    ListPeersResponse,
    Peer,
)
from cached.cli.doctor import dial
from cached.cli.doctor.dial import Fault
from cached.cli.doctor.node import about_csi, about_mirror, about_peers, certificates
from cached.cli.doctor.node.about_csi import Plugin
from cached.cli.doctor.node.about_mirror import Reply
from cached.cli.doctor.node.about_peers import Neighbour
from cached.cli.doctor.node.certificates import Life
from tests.doctor.found import bad, only

ME = Neighbour("10.0.0.1:7400", None, None)
SILENT = Fault("network", "no answer within 2 s")
STRANGER = Fault("theirs", "its certificate is not believed: expired")


def known(*peers: str, **more: Any) -> ListPeersResponse:
    return ListPeersResponse(
        **{
            "address": "10.0.0.1:7400",
            "data_address": "10.0.0.1:7403",
            "encrypted": True,
            "membership": "static",
            "peers": [Peer(address=address, state=PEER_STATE_OK) for address in peers],
            **more,
        }
    )


def others(*faults: tuple[Fault | None, Fault | None]) -> list[Neighbour]:
    return [
        Neighbour(f"10.0.1.{number}:7500", control, data) for number, (control, data) in enumerate(faults)
    ]


def test_neighbours_that_are_all_reached() -> None:
    found = others((None, None), (None, None))
    told = list(about_peers.judge(known("a:1", "b:1"), ME, found, turned_away=0))
    assert [(each.level, each.message) for each in told] == [
        ("ok", "2 others are reached at both ports, encrypted")
    ]
    told = list(about_peers.judge(known(*"abc", encrypted=False), ME, found, turned_away=0))
    assert told[0].message == "2 of 3 others are reached at both ports, in plaintext"


def test_one_fault_is_told_once_whomever_it_has_each_at_its_own_port() -> None:
    found = bad(
        about_peers.judge(
            known(*"abcde"),
            ME,
            others((SILENT, SILENT), (SILENT, None), (STRANGER, None), (None, SILENT), (None, None)),
            turned_away=0,
        )
    )
    assert found == [
        (
            "problem",
            "10.0.1.0:7500, 10.0.1.0:7503, 10.0.1.1:7500 and 1 more: no answer within 2 s",
        ),
        ("problem", "10.0.1.2:7500: its certificate is not believed: expired"),
    ]


@pytest.mark.parametrize(
    ("told", "own", "turned_away", "level", "said"),
    [
        (known(membership=""), ME, 0, "warning", "names nobody"),
        (known(membership="dns x.svc"), ME, 0, "warning", "no other node is known from dns x.svc"),
        (known("a:1"), replace(ME, control=SILENT), 0, "problem", "reaches itself at 10.0.0.1:7400: no"),
        (known("a:1"), replace(ME, data=SILENT), 0, "problem", "reaches itself at 10.0.0.1:7403: no answer"),
        (known("a:1"), ME, 3, "warning", "has turned 3 requests of others away"),
        (
            known(peers=[Peer(address="a:1", state=PEER_STATE_BANNED)]), ME, 0,
            "problem", "a:1 sent wrong bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_among_neighbours(
    told: ListPeersResponse, own: Neighbour, turned_away: int, level: str, said: str
) -> None:
    found = only(about_peers.judge(told, own, [], turned_away=turned_away))
    assert found[0] == level
    assert said in found[1]


def test_one_that_is_left_alone_and_is_there() -> None:
    told = known(peers=[Peer(address="10.0.1.0:7500", state=PEER_STATE_ASIDE, failure_count=4)])
    level, message = only(about_peers.judge(told, ME, others((None, None)), turned_away=0))
    assert (level, "left alone for a while after 4 failures" in message) == ("warning", True)
    found = bad(about_peers.judge(told, ME, others((SILENT, None)), turned_away=0))
    assert found == [("problem", "10.0.1.0:7500: no answer within 2 s")]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ssl.SSLCertVerificationError(1, "x"), "theirs", "its certificate is not believed"),
        (ssl.SSLError(1, "x"), "theirs", "no TLS is spoken there"),
        (TimeoutError(), "network", "a firewall"),
        (socket.gaierror(-2, "x"), "network", "no such name"),
        (ConnectionRefusedError(111, "Connection refused"), "network", "Connection refused"),
    ],
)
def test_why_a_connection_fails(error: OSError, kind: str, said: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = 10, "certificate has expired"
    fault = dial.explain(error)
    assert fault.kind == kind
    assert said in fault.text


PLUGIN = Plugin(
    driver="csi.cached.dev",
    socket=Path("/k/plugins/csi.cached.dev/csi.sock"),
    registration=Path("/k/plugins_registry/csi.cached.dev-reg.sock"),
    name="csi.cached.dev",
    ready=True,
    fault="",
    registered="csi.cached.dev",
    endpoint="/k/plugins/csi.cached.dev/csi.sock",
    hidden="",
    refusal="",
)


def test_a_plugin_that_kubelet_finds() -> None:
    (finding,) = about_csi.of_plugin(PLUGIN)
    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"fault": "there is no socket"}, "problem", "kubelet cannot ask the plugin: there is no socket"),
        ({"name": "other"}, "problem", "calls itself other"),
        ({"ready": False}, "warning", "is not ready"),
        ({"hidden": "there is no socket"}, "problem", "kubelet does not find the plugin"),
        ({"endpoint": "/old/csi.sock"}, "problem", "presents csi.cached.dev at /old/csi.sock"),
        ({"registered": "other"}, "problem", "presents other at"),
        ({"refusal": "name is taken"}, "problem", "kubelet refuses the plugin: name is taken"),
    ],
)
def test_a_plugin_that_kubelet_cannot_use(change: dict[str, Any], level: str, said: str) -> None:
    found = only(about_csi.of_plugin(replace(PLUGIN, **change)))
    assert found[0] == level
    assert said in found[1]


SPEC = {"attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}


@pytest.mark.parametrize(
    ("status", "spec", "level", "said"),
    [
        (200, SPEC, "ok", "is as it must be"),
        (404, {}, "problem", "the cluster has no CSIDriver csi.cached.dev"),
        (403, {}, "skipped", "the API server answers 403"),
        (200, SPEC | {"attachRequired": True}, "problem", "is wrong in attachRequired"),
        (200, {**SPEC, "podInfoOnMount": None}, "problem", "is wrong in podInfoOnMount"),
        (200, SPEC | {"volumeLifecycleModes": ["Persistent"]}, "problem", "no inline volume"),
        (200, None, "problem", "podInfoOnMount"),
    ],
)
def test_the_object_of_the_driver(status: int, spec: Any, level: str, said: str) -> None:
    finding = about_csi.of_object("csi.cached.dev", status, {"spec": spec})
    assert finding.level == level
    assert said in finding.message
    assert finding.hint or level in ("ok", "skipped")


@pytest.mark.parametrize(
    ("status", "found", "level"),
    [
        (200, {"spec": {"drivers": [{"name": "csi.cached.dev"}]}}, "ok"),
        (200, {"spec": {"drivers": None}}, "problem"),
        (200, {}, "problem"),
        (404, {}, "skipped"),
        (403, {}, "skipped"),
    ],
)
def test_what_kubelet_says_of_the_driver(status: int, found: dict[str, Any], level: str) -> None:
    assert about_csi.of_node("csi.cached.dev", "n1", status, found).level == level


def requests(**codes: int) -> dict[str, float]:
    """The mirror's metric, by code."""
    name = "cached_mirror_requests_total"
    return {
        f'{name}{{code="{code.strip("c")}",kind="manifest"}}': float(count) for code, count in codes.items()
    } | {f'{name}{{code="200",kind="base"}}': 99.0}


@pytest.mark.parametrize(
    ("samples", "level", "said"),
    [
        ({}, "ok", "http://m answers"),
        (requests(), "ok", "no pull has come by since"),
        (requests(c200=3, c404=1), "ok", "3 of 4 requests were served"),
        (requests(c404=19), "ok", "0 of 19"),
        (requests(c404=20), "warning", "none of 20 requests of runtimes was served"),
        (requests(c206=20), "ok", "20 of 20"),
        ({"cached_mirror_wedged_total": 2.0}, "warning", "2 times not answered"),
    ],
)
def test_what_came_by_the_mirror(samples: dict[str, float], level: str, said: str) -> None:
    finding = next(about_mirror.of_traffic("http://m", samples))
    assert finding.level == level
    assert said in finding.message


@pytest.mark.parametrize(
    ("reply", "known", "level"),
    [
        (Reply(404, "MANIFEST_UNKNOWN", "no such tag"), True, "ok"),
        (Reply(401, "UNAUTHORIZED", "who are you"), True, "ok"),
        (Reply(200), False, "ok"),
        (Reply(404, "DENIED", "not yours"), False, "ok"),
        (Reply(404, "DENIED", "not yours"), True, "warning"),
        (Reply(404, "UNAVAILABLE", "does not answer"), False, "problem"),
        (Reply(404, "UNKNOWN", "internal error, reference 1234"), False, "problem"),
        (Reply(0, "", "timed out"), False, "problem"),
    ],
)
def test_what_the_mirror_says_for_a_registry(reply: Reply, known: bool, level: str) -> None:
    finding = about_mirror.of_upstream("quay.io", reply, known=known)
    assert finding.level == level
    assert level == "ok" or (reply.message in finding.message and finding.hint)


DAY = 86400.0


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (-1, 365, ""),
        (-100, 15, ""),
        (-100, 13, "expires in 13 days"),
        (-1, 0.2, ""),
        (-0.9, 0.1, "expires in 2 hours"),
        (-80, 5, "expires in 5 days"),
    ],
)
def test_certificates_are_told_before_they_expire(begin: float, end: float, said: str) -> None:
    file = Path("/tls.crt")
    lives = [Life(file, begin * DAY, end * DAY), Life(Path("/ca.crt"), -DAY, 3650 * DAY)]
    found = bad(certificates.judge(lives, "10.0.0.1", 0.0))
    assert [(level, said in message) for level, message in found] == ([("warning", True)] if said else [])
    assert bad(certificates.judge([lives[1], lives[0]], "x", 0.0)) == found
