"""Clusters for tests. They need root; where namespaces or tools are missing, tests say so and are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from cached.cli.authority import Authority
from tests.net.namespace import Namespace
from tests.net.rig import Rig
from tests.peers.ca import make_ca
from tests.servers.s3 import S3Server

RATE = 12_500_000
"""Bytes per second of a link: 100 Mbit/s, of which TLS and hashes of three daemons use a tenth of a core."""


class Cluster(Protocol):
    """Sets up a rig of so many nodes, behind links of `rate` bytes per second; no daemon runs yet."""

    def __call__(self, nodes: int = 3, rate: int = RATE) -> Rig: ...


@pytest.fixture(scope="session")
def network() -> None:
    """Skips what needs namespaces where there are none to be had."""
    missing = [tool for tool in ("ip", "tc", "bridge", "nft", "nsenter") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: make packages installs iproute2, nftables and util-linux")
    try:
        Namespace().close()
    except OSError as error:
        pytest.skip(f"network namespaces need root: {error}")


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for all nodes of all rigs."""
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def cluster(network: None, tmp_path: Path, s3: S3Server, ca: Authority) -> Iterator[Cluster]:
    """Rigs that end with the test; a test that fails shows the logs of its daemons."""
    with ExitStack() as stack:
        rigs: list[Rig] = []

        def make(nodes: int = 3, rate: int = RATE) -> Rig:
            home = tmp_path / f"rig-{len(rigs)}"
            rigs.append(stack.enter_context(Rig(home, s3, ca, nodes=nodes, rate=rate)))
            return rigs[-1]

        yield make
        for node in (node for rig in rigs for node in rig.nodes):
            print(f"--- {node.address}, {node.fate}\n{node.log[-6000:]}")
