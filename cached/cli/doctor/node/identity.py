"""This node's certificate, as the daemon would load it now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.parts import daemons_part

if TYPE_CHECKING:
    from cached.config.settings import Peers
    from cached.peers.certificate import Files
    from cached.peers.identity import Identity


def peers_of(scene: Scene) -> tuple[Peers, str]:
    """The settings of peers, and the host by which others know this node. Raises Skipped without any."""
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    peers = scene.settings.peers
    if peers.advertise is None:
        raise Skipped("peers.advertise is not set")
    return peers, peers.advertise.rpartition(":")[0]


def files_of(scene: Scene, peers: Peers) -> Files:
    """Where its files are found from here. Raises PermissionError for those that this user may not read."""
    with daemons_part("read certificates"):
        from cached.peers.certificate import Files
    tls = peers.tls
    assert tls.ca is not None
    assert tls.cert is not None
    assert tls.key is not None
    files = [scene.seen(file) for file in (tls.ca, tls.cert, tls.key)]
    for file in files:
        if file.exists() and not os.access(file, os.R_OK):
            raise PermissionError(None, None, str(file))
    return Files(*files)


def identity_of(scene: Scene, peers: Peers, host: str) -> Identity:
    """Raises NotConfigured with what is wrong with it, and PermissionError as `files_of` does."""
    files = files_of(scene, peers)
    from cached.peers.identity import Identity
    from cached.telemetry.metrics import Metrics

    return Identity.load(files.ca, files.cert, files.key, name=peers.tls.name, host=host, metrics=Metrics())
