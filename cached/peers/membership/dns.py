"""Members that the DNS names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Literal

import dns.exception
import dns.name
import dns.resolver
from dns.asyncresolver import Resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from cached.core.clock import Clock
from cached.core.errors import NotConfigured
from cached.core.peer import Member
from cached.peers.membership.address import Address
from cached.peers.membership.outage import Outage
from cached.peers.membership.port import Changed
from cached.peers.membership.roll import Roll

LIFETIME = 5.0
"""Seconds for one question, over all servers and search domains."""

Kind = Literal["A", "AAAA", "SRV"]


class DnsMembers:
    """The addresses of a headless Service, or what an SRV name lists. Implements `Membership`.

    Asked again every `refresh` seconds, whatever TTL an answer has.
    """

    def __init__(
        self,
        name: str,
        advertise: Address,
        refresh: float,
        clock: Clock,
        rng: random.Random,
        resolver: Callable[[], Resolver] = Resolver,
    ) -> None:
        """Raises NotConfigured when `name` is none. `resolver` reads /etc/resolv.conf, as is common.

        Addresses get the port of `advertise`. They are of its family, when it is an IP address: a pod
        with two addresses would otherwise count as two members, one of which nobody answers to.
        """
        self.source = f"dns {name}"
        try:
            asked = dns.name.from_text(name, None)
        except dns.exception.DNSException as error:
            raise NotConfigured(
                f"peers.members.dns: {name!r} is no DNS name: {error}", hint="write the name of a Service"
            ) from None
        kinds: tuple[Kind, ...] = ("A", "AAAA")
        if name.startswith("_"):
            kinds = ("SRV",)
        elif advertise.family is not None:
            kinds = ("A",) if advertise.family == "IPv4" else ("AAAA",)
        self._questions = tuple(Question(asked, kind, advertise.port) for kind in kinds)
        self._refresh = refresh
        self._clock = clock
        self._rng = rng
        self._resolver = resolver

    async def follow(self, changed: Changed) -> None:
        roll, outage = Roll(changed), Outage(self.source, self._clock)
        resolver: Resolver | None = None
        while True:
            try:
                resolver = resolver or self._resolver()
                async with asyncio.TaskGroup() as group:
                    for question in self._questions:
                        group.create_task(question.ask(resolver))
                faults = [question.fault for question in self._questions if question.fault]
            except dns.resolver.NoResolverConfiguration as error:
                faults = [str(error)]
            if faults:
                outage.noticed("; ".join(faults))
                resolver = None  # so that another resolv.conf is noticed
            else:
                outage.over()
            answered = [question.found for question in self._questions if question.found is not None]
            if answered:
                roll.call(Member(str(address)) for found in answered for address in found)
            # Nodes that booted together drift apart, so that the DNS is not asked by all of them at once.
            await asyncio.sleep(self._refresh * self._rng.uniform(0.8, 1.2))


class Question:
    """One kind of record of a name, and its last good answer.

    An empty answer is good only as long as there never was another: this node runs, so it should be
    among its Service's addresses itself, and an answer without any means that the Service is being made
    anew or that the DNS knows nothing yet. Nodes that are truly gone are noticed by who speaks to them.
    """

    def __init__(self, name: dns.name.Name, kind: Kind, port: int) -> None:
        self.found: frozenset[Address] | None = None
        """None until the first answer."""
        self.fault = ""
        """Why the last asking was in vain."""
        self._name = name
        self._kind = kind
        self._port = port
        self._complete: dns.name.Name | None = None

    async def ask(self, resolver: Resolver) -> None:
        """Within LIFETIME seconds; over TCP where an answer does not fit a datagram."""
        try:
            found = await self._look_up(resolver)
        except dns.exception.DNSException as error:
            self.fault = str(error)
            return
        if self.found and not found:
            self.fault = f"there are no {self._kind} records of {self._name} any more"
            return
        self.found, self.fault = found, ""

    async def _look_up(self, resolver: Resolver) -> frozenset[Address]:
        # Once found among the search domains, it is asked for there: with the ndots:5 of pods, each look
        # would otherwise cost up to four questions, by every node.
        try:
            answer = await resolver.resolve(
                self._complete or self._name,
                self._kind,
                search=True,
                raise_on_no_answer=False,
                lifetime=LIFETIME,
            )
        except dns.resolver.NXDOMAIN:
            self._complete = None
            return frozenset()
        self._complete = answer.qname
        return frozenset(address for record in answer if (address := self._address(record)) is not None)

    def _address(self, record: object) -> Address | None:
        if isinstance(record, A | AAAA):
            return Address(record.address, self._port)
        # An SRV record with the root for a target says that there is no such service.
        if isinstance(record, SRV) and record.target != dns.name.root and record.port:
            return Address(record.target.to_text(omit_final_dot=True), record.port)
        return None
