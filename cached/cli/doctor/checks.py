"""All checks, in the order in which they are told: what others stand on comes first."""

from __future__ import annotations

from typing import Final

from cached.cli.doctor.check import Check
from cached.cli.doctor.node import (
    catalog,
    certificates,
    clock,
    containerd,
    csi,
    daemon,
    disk,
    limits,
    mirror,
    models,
    mounts,
    peers,
    settings,
    sockets,
    sources,
    systemd,
)
from cached.cli.doctor.pod import hub, socket
from cached.cli.doctor.pod import models as models_of_pod
from cached.cli.doctor.scene import View

_DISK: Final = (
    "the disk, or a filesystem on the way to it, does not answer",
    "see dmesg; replace or unmount it",
)
_FILES: Final = ("a filesystem on the way to it does not answer", "see dmesg, and mount without arguments")
_NETWORK: Final = ("servers are silent", "see the network, firewalls and the name service")

CHECKS: Final = {
    View.NODE: (
        Check("systemd", systemd.look),
        Check("settings", settings.look, silence=_FILES),
        Check("sockets", sockets.look),
        Check("daemon", daemon.look),
        Check("disk", disk.look, silence=_DISK),
        Check("limits", limits.look),
        Check("mounts", mounts.look, silence=_FILES),
        Check("catalog", catalog.look, silence=_FILES),
        Check("sources", sources.look, sources.SECONDS, _NETWORK),
        Check("models", models.look),
        Check("csi", csi.look, 15.0, _NETWORK),
        Check("containerd", containerd.look, 15.0),
        Check("mirror", mirror.look, mirror.SECONDS + 3, _NETWORK),
        Check("certificates", certificates.look, silence=_FILES),
        Check("peers", peers.look, peers.SECONDS, _NETWORK),
        Check("clock", clock.look, silence=_NETWORK),
    ),
    View.POD: (
        Check("socket", socket.look),
        Check("models", models_of_pod.look, 15.0, _FILES),
        Check("hub", hub.look, silence=_FILES),
    ),
}
