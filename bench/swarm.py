"""Many cold nodes that want one model at once, each behind a link of the same rate, as is the source.

Real daemons in network namespaces with peers, the same without, and libtorrent between the same namespaces.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.process import REPOSITORY
from tests.net.fetches import Fetches, assert_whole
from tests.net.node import CONTROL_PORT, Node
from tests.net.rig import Rig
from tests.net.switch import Host, Switch
from tests.peers.ca import make_ca
from tests.servers.s3 import S3Server
from tests.servers.seaweed import SeaweedFS
from tests.system.content import make_content

PEERS, ALONE, TORRENT = "cached", "cached without peers", "libtorrent"
_PROGRAM = (sys.executable, "-m", "bench.swarm_torrent")
_SHARDS = 8
_PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Terms:
    """nodes: daemons. size: bytes of the model. rate: bytes per second of each link. rounds: of those that
    share; those that do not are asked once, for an eighth of the model, since they take as many times longer
    as there are nodes."""

    nodes: int
    size: int
    rate: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Swarm:
    """One round of one way.

    size: bytes of the model. done: seconds from the common start until each node had all of it. read: bytes
    of the model that the source sent. cpu: CPU seconds of each node meanwhile. control: bytes that each node
    sent and received on its control port, heads of TCP and TLS included; empty where there is none.
    """

    way: str
    size: int
    done: list[float]
    read: int
    cpu: list[float]
    control: list[int]


def run(work: Path, terms: Terms) -> Iterator[Swarm]:
    """Measure all ways, round by round. Needs root."""
    content = make_content({f"shard-{n}.bin": terms.size // _SHARDS for n in range(_SHARDS)}, "bench")
    with SeaweedFS(work / "s3") as server:
        s3 = S3Server(server.endpoint, server.access_key, server.secret_key)
        for number in range(terms.rounds):
            for way in (PEERS, TORRENT, ALONE)[: 3 if number == 0 else 2]:
                home = work / f"{way}-{number}"
                home.mkdir()
                if way == TORRENT:
                    swarm = _torrents(home, terms, content)
                elif way == ALONE:
                    swarm = _daemons(home, terms, s3, dict([*content.items()][:1]), way)
                else:
                    swarm = _daemons(home, terms, s3, content, way)
                ideal = swarm.size / terms.rate
                print(f"{way}: last done at {max(swarm.done) / ideal:.2f} of the ideal", file=sys.stderr)
                yield swarm


def _daemons(home: Path, terms: Terms, s3: S3Server, content: dict[str, bytes], way: str) -> Swarm:
    ca = make_ca(home / "ca")
    with Rig(home, s3, ca, nodes=terms.nodes, rate=terms.rate) as rig:
        rig.offer("small", {"config.json": b"{}"})
        rig.offer("model", content)
        for node in rig.nodes:
            node.host.count(CONTROL_PORT)
            if way == ALONE:
                node.alone()
                # Sixteen ranges at once by each of them would come too slowly to be waited for.
                node.settings["transfer"] |= {"connections": 2, "stall_timeout": 120, "give_up_after": 900}
        rig.start()
        with Fetches(rig.nodes, "small", _PATIENCE) as fetches:  # daemons load boto3 with their first call
            fetches.seconds()
        rig.source.forget()
        spent = [node.host.counted for node in rig.nodes]
        before = [_cpu(node) for node in rig.nodes]
        with Fetches(rig.nodes, "model", _PATIENCE) as fetches:
            done = fetches.seconds()
        cpu = [_cpu(node) - old for node, old in zip(rig.nodes, before, strict=True)]
        carried = [node.host.counted - old for node, old in zip(rig.nodes, spent, strict=True)]
        read = rig.read
        assert_whole(rig.nodes, "model", content)
        return Swarm(way, sum(map(len, content.values())), done, read, cpu, carried if way == PEERS else [])


def _cpu(node: Node) -> float:
    times = node.process.cpu_times()
    return times.user + times.system


class _Torrent:
    """`bench.swarm_torrent share` on a host; killed with the `with` block, and with this process."""

    def __init__(self, host: Host, torrent: Path, directory: Path, others: Sequence[str]) -> None:
        directory.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", *host.namespace.command),
                *(*_PROGRAM, "share", str(torrent), str(directory), host.address, *others),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout

    def ready(self) -> None:
        assert self._out.readline() == "READY\n", "libtorrent did not start"

    def go(self) -> None:
        print(file=self._in, flush=True)

    def done(self) -> float:
        moment: float = json.loads(self._out.readline())["done"]
        return moment

    def cpu(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def end(self) -> int:
        """Bytes of pieces that it sent."""
        self._in.close()
        sent: int = json.loads(self._out.readline())["sent"]
        return sent

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _torrents(home: Path, terms: Terms, content: dict[str, bytes]) -> Swarm:
    model = home / "seed" / "model"
    model.mkdir(parents=True)
    for name, data in content.items():
        (model / name).write_bytes(data)
    torrent = home / "model.torrent"
    subprocess.run([*_PROGRAM, "make", torrent, model], cwd=REPOSITORY, check=True)
    with ExitStack() as stack:
        switch = stack.enter_context(Switch())
        hosts = [switch.host(terms.rate) for _ in range(terms.nodes + 1)]
        every = [
            _Torrent(host, torrent, home / ("seed" if place == 0 else host.address), _before(hosts, place))
            for place, host in enumerate(hosts)
        ]
        for each in every:
            stack.callback(each.kill)
        for each in every:
            each.ready()
        seed, *leeches = every
        before = [each.cpu() for each in leeches]
        began = time.monotonic()
        for each in every:
            each.go()
        _, *done = [each.done() - began for each in every]
        cpu = [each.cpu() - spent for each, spent in zip(leeches, before, strict=True)]
        return Swarm(TORRENT, terms.size, done, seed.end(), cpu, [])


def _before(hosts: Sequence[Host], place: int) -> list[str]:
    """Whom it calls; those behind call it, so that each pair has one connection."""
    return [host.address for host in hosts[:place]]
