"""Hosts on a switch, each behind a link of a known rate."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.net.namespace import Namespace

_NETWORK = "10.77.0"
_MTU = 9000
"""So that heads take less than a hundredth of a link, and links rather than processors are the limit."""
_BURST = 64 << 10
"""Bytes: what one packet of a veth may have at most, or the shaper would have to cut it up."""
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
"""Of those that any namespace may choose. BBR would take seconds to find room that came free."""
_QUEUE_SECONDS = 0.02
"""A request that waits behind what is sent the same way costs its answer as long."""


class Host:
    """A namespace with one address and one link to the switch, shaped to the same rate both ways."""

    def __init__(self, switch: Namespace, number: int, rate: int) -> None:
        """rate: bytes per second."""
        self.rate = rate
        self.address = f"{_NETWORK}.{number}"
        self.namespace = Namespace()
        self._switch = switch
        self._port = f"port{number}"
        switch.run(
            *("ip", "-batch", "-"),
            told=f"link add {self._port} mtu {_MTU} type veth peer name eth0 mtu {_MTU} "
            f"netns {self.namespace.path}\n"
            f"link set {self._port} master bridge up\n",
        )
        self.namespace.run(
            *("ip", "-batch", "-"),
            told=f"address add {self.address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n",
        )
        self.namespace.call(lambda: _CONGESTION.write_text("reno"))
        self.shape(rate)

    def shape(self, rate: int) -> None:
        """Bytes per second that pass from now on, each way."""
        for where, device in ((self.namespace, "eth0"), (self._switch, self._port)):
            where.run(
                *("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{8 * rate}bit"),
                *("burst", str(_BURST), "limit", str(_BURST + int(rate * _QUEUE_SECONDS))),
            )

    def unplug(self) -> None:
        """Pull the cable: what is sent either way is lost, and nobody is told."""
        self._switch.run("ip", "link", "set", self._port, "down")

    def plug(self) -> None:
        """Put the cable back."""
        self._switch.run("ip", "link", "set", self._port, "up")

    def ignore(self, others: Iterable[Host]) -> None:
        """Drop all that comes from these hosts, from now on, and from nobody else."""
        rules = [f"ip saddr {other.address} drop;" for other in others]
        self.namespace.run(
            *("nft", "-f", "-"),
            told="table ip cut; flush table ip cut;"
            f"table ip cut {{ chain in {{ type filter hook input priority 0; {' '.join(rules)} }}; }}",
        )

    def count(self, port: int) -> None:
        """Count from now on what TCP carries to and from this port, of this host or of another."""
        rules = f"tcp dport {port} counter name carried; tcp sport {port} counter name carried;"
        chains = " ".join(
            f"chain {hook} {{ type filter hook {hook} priority -1; {rules} }};"
            for hook in ("input", "output")
        )
        self.namespace.run("nft", "-f", "-", told=f"table ip count {{ counter carried {{ }}; {chains} }}")

    @property
    def counted(self) -> int:
        """Bytes of packets that `count` counted so far."""
        said = json.loads(self.namespace.run("nft", "-j", "list", "counter", "ip", "count", "carried"))
        counters = (each["counter"]["bytes"] for each in said["nftables"] if "counter" in each)
        return int(next(counters))

    @property
    def sent(self) -> int:
        """Bytes that left by the link so far, heads and repetitions of TCP included."""
        said = json.loads(self.namespace.run("ip", "-s", "-j", "link", "show", "eth0"))
        count: int = said[0]["stats64"]["tx"]["bytes"]
        return count


class Switch:
    """A bridge in a namespace of its own, and the hosts on it, while the `with` block runs."""

    def __init__(self) -> None:
        """Raises OSError where the kernel permits no namespaces."""
        self._namespace = Namespace()
        self._stack = ExitStack()
        self._stack.callback(self._namespace.close)
        self.hosts: list[Host] = []

    def __enter__(self) -> Self:
        self._namespace.run(
            "ip", "-batch", "-", told="link add bridge type bridge forward_delay 0\nlink set bridge up\n"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def host(self, rate: int) -> Host:
        """One more host, behind a link of `rate` bytes per second."""
        host = Host(self._namespace, len(self.hosts) + 1, rate)
        self._stack.callback(host.namespace.close)
        self.hosts.append(host)
        return host


def part(*groups: Iterable[Host]) -> None:
    """Let hosts reach only those of their own group, and the hosts of no group."""
    sides = [list(group) for group in groups]
    for side in sides:
        for host in side:
            host.ignore(other for others in sides if others is not side for other in others)


def heal(hosts: Iterable[Host]) -> None:
    """All reach all again."""
    for host in hosts:
        host.ignore(())
