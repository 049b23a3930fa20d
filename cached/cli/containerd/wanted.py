"""What the daemon's settings want of containerd."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cached.cli.containerd.hosts import Wanted
from cached.cli.parts import daemons_part
from cached.core.errors import NotConfigured
from cached.core.image import DOCKER_HUB

if TYPE_CHECKING:
    from cached.config.settings import Images

USUAL: Final = Path("/etc/cached/cached.yaml")


def read_wanted(file: Path) -> list[Wanted]:
    """One for each upstream, from the settings as the daemon would have them here.

    Raises NotConfigured when they have no mirror, InvalidRequest when they cannot be read.
    """
    with daemons_part("read the daemon's settings"):
        from cached.config import settings
    here = file.exists() or file != USUAL
    images = settings.load(file if here else None, os.environ).images
    if not images.mirror or not images.upstreams:
        lacking = "images.upstreams" if images.mirror else "images.mirror"
        raise NotConfigured(
            f"{file if here else 'the environment'} sets no {lacking}",
            hint="containerd can only be told of a mirror that has an address and upstreams",
        )
    return wanted_of(images, images.mirror)


def wanted_of(images: Images, address: str) -> list[Wanted]:
    """One for each upstream, by its host; `address` is that of the mirror."""
    mirror = f"http://{reachable(address)}"
    return [
        Wanted(host, mirror, upstream.endpoint or _server(host), upstream.ca_file)
        for host, upstream in sorted(images.upstreams.items())
    ]


def reachable(address: str) -> str:
    """The address to ask where the mirror listens at every one."""
    host, _, port = address.rpartition(":")
    try:
        ip = ip_address(host.strip("[]"))
    except ValueError:
        return address
    if not ip.is_unspecified:
        return address
    return f"127.0.0.1:{port}" if ip.version == 4 else f"[::1]:{port}"


def _server(host: str) -> str | None:
    """What to ask once the mirror has failed. containerd speaks HTTP to registries on loopback by itself."""
    if host == DOCKER_HUB:
        return "https://registry-1.docker.io"
    return None if is_loopback(host) else f"https://{host}"


def is_loopback(address: str) -> bool:
    """Whether `host[:port]` is on this machine."""
    host = address if address.endswith("]") else address.rpartition(":")[0] or address
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
