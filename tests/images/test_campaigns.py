"""Three nodes that pull at once, undisturbed and while their daemons are killed and stopped: minutes long."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.images.cluster import Cluster, daemon_of
from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node
from tests.peers.ca import make_ca
from tests.servers.containerd import lacking
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

pytestmark = pytest.mark.slow


@contextmanager
def cluster(home: Path, *, room: int, rate: int, containerd: str = "1.7") -> Iterator[Cluster]:
    """Three nodes; skips the test where `home` has not `room` bytes. The registry's are given back."""
    if why := lacking(containerd):
        pytest.skip(why)
    if (free := shutil.disk_usage(home).free) < room:
        pytest.skip(f"{room >> 20} MiB of disk are needed, and {free >> 20} are free")
    with Cluster(home, make_ca(home / "ca"), nodes=3, rate=rate, containerd=containerd) as site:
        yield site
    shutil.rmtree(home / "registry")


def test_three_nodes_read_two_gibibytes_once(tmp_path: Path) -> None:
    with cluster(tmp_path, room=30 << 30, rate=60_000_000) as site:
        made = hello(2048 * MIB)
        name = site.upstream.offer("team/large", made)
        site.start()
        site.pull(name)
        for node in site.nodes:
            assert node.containerd.run(name, *SAID) == "hello\n"
        print(f"the registry was read {site.upstream.read() / made.size:.4f} times")
        assert site.upstream.gets(by="containerd") == 0
        assert site.upstream.read() <= 1.02 * made.size


def test_one_of_three_daemons_is_killed_amid_a_pull(tmp_path: Path) -> None:
    with cluster(tmp_path, room=8 << 30, rate=60_000_000) as site:
        made = hello(400 * MIB)
        name = site.upstream.offer("team/app", made)
        site.start()
        victim = site.nodes[1]

        def kill() -> None:
            eventually(lambda: sum(victim.containerd.ingests().values()) > made.size // 3, 120)
            victim.daemon.kill9()

        killer = threading.Thread(target=kill)
        killer.start()
        site.pull(name)
        killer.join()
        assert not victim.daemon.running
        for node in site.nodes:
            assert node.containerd.run(name, *SAID) == "hello\n"
        size, straight = made.size, site.upstream.read(by="containerd")
        assert 0 < straight < size, "it goes on where its daemon left off"
        assert site.upstream.read() - straight <= 1.2 * size, "what the victim was reading is read again"


class Mischief:
    """Kills, stops and wedges daemons at random, and brings them back."""

    def __init__(self, nodes: Sequence[Node], rng: random.Random) -> None:
        self._nodes = nodes
        self._rng = rng
        self._over = threading.Event()
        self.done: list[str] = []

    def during(self, work: Callable[[], None]) -> None:
        """Go on while `work` is under way, in a thread; raises what it raises. All daemons run afterwards.

        It is this thread that starts daemons, since they die with the one that did.
        """
        self._over.clear()
        with ThreadPoolExecutor(1) as threads:
            working = threads.submit(work)
            working.add_done_callback(lambda _: self._over.set())
            while not self._over.wait(self._rng.uniform(0, 0.8)):
                number = self._rng.randrange(len(self._nodes))
                how = self._rng.choice([self._kill, self._stop, self._freeze])
                self.done.append(f"{how.__name__} {number}")
                how(self._nodes[number].daemon)
            working.result()

    def _kill(self, daemon: Daemon) -> None:
        daemon.kill9()
        self._over.wait(self._rng.uniform(0, 3))
        daemon.start()

    def _stop(self, daemon: Daemon) -> None:
        daemon.terminate()
        self._over.wait(self._rng.uniform(0, 1))
        daemon.start()

    def _freeze(self, daemon: Daemon) -> None:
        daemon.signal(signal.SIGSTOP)
        self._over.wait(self._rng.uniform(0, 5))
        daemon.signal(signal.SIGCONT)


@pytest.mark.parametrize("version", ["1.6", "1.7", "2"])
@pytest.mark.parametrize("seed", [1, 2])
def test_pulls_end_well_whatever_becomes_of_daemons(tmp_path: Path, version: str, seed: int) -> None:
    rng = random.Random(seed)
    with cluster(tmp_path, room=4 << 30, rate=25_000_000, containerd=version) as site:
        for node in site.nodes:
            node.daemon.settings["drain_timeout"] = 1
        site.start()
        mischief = Mischief(site.nodes, rng)
        for number in range(10):
            made = hello(*(rng.randrange(1, 32) * MIB for _ in range(3)), seed=100 * number, says=str(number))
            name = site.upstream.offer(f"team/app{number}", made)
            mischief.during(partial(site.pull, name))
            for node in site.nodes:
                assert node.containerd.run(name, *SAID) == f"{number}\n"
                node.containerd.remove(name)
        for node in site.nodes:
            assert node.daemon.running
            assert "Traceback" not in node.daemon.log
        # When nobody disturbs them any more, all is as ever.
        eventually(lambda: all(daemon_of(node).usable_peers == 2 for node in site.nodes), 60)
        made = hello(24 * MIB, seed=5, says="at last")
        name = site.upstream.offer("team/last", made)
        site.upstream.front.forget()
        site.pull(name)
        large = f"/v2/*/blobs/{made.layers[-1].digest}"  # others may count as troubled for a while
        assert site.upstream.gets(large, by="containerd") == 0
