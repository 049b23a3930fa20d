"""Whether nodes reach and believe each other. Facts in, findings out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cached.cli.doctor.dial import Fault
from cached.cli.finding import Finding

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import ListPeersResponse

_NAMED: Final = 3
_ASIDE: Final = 2  # PEER_STATE_ASIDE
_BANNED: Final = 3  # PEER_STATE_BANNED
_HINTS: Final = {
    "network": "see that the daemon there runs, and open both ports between nodes: NetworkPolicies, security"
    " groups, firewalls",
    "theirs": "see `cachectl doctor` there: the same CA, a certificate that has not expired and carries its"
    " address (or peers.tls.name)",
    "ours": "see certificates: the same CA there, and here one that carries the host of peers.advertise (or"
    " peers.tls.name)",
}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node, and what keeps it from being asked at its two ports."""

    address: str
    control: Fault | None
    data: Fault | None


def data_address(peer: str, known: ListPeersResponse) -> str:
    """Where a peer serves ranges: as far from its own port as on this node, since it is not told before."""
    host, _, port = peer.rpartition(":")
    distance = int(known.data_address.rpartition(":")[2]) - int(known.address.rpartition(":")[2])
    return f"{host}:{int(port) + distance}"


def judge(
    known: ListPeersResponse, own: Neighbour, others: Sequence[Neighbour], *, turned_away: int
) -> Iterator[Finding]:
    """own: this node, reached from itself. turned_away: requests of others since the daemon's start that this
    node did not believe."""
    for fault, address in ((own.control, own.address), (own.data, known.data_address)):
        if fault is not None:
            yield Finding(
                "problem",
                address,
                f"not even this node reaches itself at {address}: {fault.text}",
                "peers.advertise must lead to this node, at both ports, and its certificate be for it",
            )
    yield from _of_membership(known)
    yield from _of_faults(known, others)
    if turned_away:
        yield Finding(
            "warning",
            known.address,
            f"this node has turned {turned_away} requests of others away: their certificates are not theirs",
            "its log names them; see `cachectl doctor` there",
        )
    banned = [peer.address for peer in known.peers if peer.state == _BANNED]
    if banned:
        yield Finding(
            "problem",
            "banned",
            f"{_named(banned)} sent wrong bytes",
            "cachectl verify there, and look at its disk; it is asked again after a while",
        )
    reached = {each.address for each in others if each.control is None and each.data is None}
    for peer in known.peers:
        if peer.state == _ASIDE and peer.address in reached:
            yield Finding(
                "warning",
                peer.address,
                f"{peer.address} is reached, but left alone for a while after {peer.failure_count} failures",
                "it is asked again by itself; if this comes back, see its log, its link and its disk",
            )
    well = len(reached)
    if well and well == len(others):
        how = "encrypted" if known.encrypted else "in plaintext"
        of_all = f" of {len(known.peers)}" if len(known.peers) > well else ""
        yield Finding("ok", known.address, f"{well}{of_all} others are reached at both ports, {how}")


def _of_membership(known: ListPeersResponse) -> Iterator[Finding]:
    if not known.membership:
        yield Finding(
            "warning",
            "members",
            "peers.members names nobody: this node only answers those that know it",
            "set members.static, dns or endpoint_slices",
        )
    elif not known.peers:
        yield Finding(
            "warning",
            "members",
            f"no other node is known from {known.membership}",
            "fine for the only node; else see the Service (it selects the pods, and publishes unready ones),"
            " the Role for endpointslices, and the name in the DNS",
        )


def _of_faults(known: ListPeersResponse, others: Sequence[Neighbour]) -> Iterator[Finding]:
    """One finding for each kind of fault, whomever it has."""
    having: dict[Fault, list[str]] = defaultdict(list)
    for each in others:
        if each.control is not None:
            having[each.control].append(each.address)
        if each.data is not None:
            having[each.data].append(data_address(each.address, known))
    for fault, addresses in having.items():
        yield Finding("problem", addresses[0], f"{_named(addresses)}: {fault.text}", _HINTS[fault.kind])


def _named(addresses: Sequence[str]) -> str:
    more = len(addresses) - _NAMED
    return ", ".join(addresses[:_NAMED]) + (f" and {more} more" if more > 0 else "")
