"""Settings for how trees become visible to pods."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from cached.config.kinds import Section

# A name that kubelet, CSIDriver objects and the specification all accept.
_DRIVER = re.compile(r"[a-z](?:[a-z0-9.-]{0,61}[a-z])?\Z")
_MOST_NODE_BYTES = 256


class Publish(Section):
    """How what is acquired becomes visible at a path."""

    mode: Literal["directory", "bind"] = "directory"
    """`directory`: where it lies in the store. `bind`: at a read-only mount, while somebody holds it; needs
    CAP_SYS_ADMIN, and is `directory` without."""
    directory: Path = Path("/run/cached/mounts")
    """Where `bind` mounts; on a shared mount, so that pods see what appears."""
    noexec: bool = False
    """Nothing that is mounted, for volumes too, can be executed there."""

    @field_validator("directory")
    @classmethod
    def _whole(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))


class Csi(Section):
    """The CSI node plugin, for inline volumes of pods. Off unless `driver` is set; needs CAP_SYS_ADMIN."""

    driver: str | None = None
    """Name of the CSIDriver object, such as csi.cached.dev."""
    node: str | None = Field(None, min_length=1)
    """Name of this node; the host's name when unset."""
    kubelet_root: Path = Path("/var/lib/kubelet")
    """Kubelet's --root-dir. Volumes are mounted below `pods` in it, and nowhere else."""
    socket: Path | None = None
    """Where kubelet finds the plugin, the same path on the host; `plugins/DRIVER/csi.sock` below kubelet's
    root when unset."""
    registration: Path | None = None
    """The directory in which plugins present themselves; `plugins_registry` below kubelet's root when
    unset."""
    socket_namespaces: tuple[str, ...] = ()
    """Kubernetes namespaces whose pods may mount the pods' socket as a volume, which opens every model of
    the catalog to them; all when empty."""

    @field_validator("driver")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is not None and not _DRIVER.match(value):
            raise ValueError(
                "write up to 63 lower case letters, digits, dots and dashes, a letter at both ends,"
                " such as csi.cached.dev"
            )
        return value

    @field_validator("node")
    @classmethod
    def _short(cls, value: str | None) -> str | None:
        if value is not None and (len(value.encode()) > _MOST_NODE_BYTES or not value.isprintable()):
            raise ValueError(f"a node's name has at most {_MOST_NODE_BYTES} printable bytes")
        return value

    @field_validator("kubelet_root", "socket", "registration")
    @classmethod
    def _whole(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))

    @property
    def socket_path(self) -> Path:
        """The plugin's socket."""
        return self.socket or self.kubelet_root / "plugins" / str(self.driver) / "csi.sock"

    @property
    def registration_path(self) -> Path:
        """The socket by which kubelet learns of the plugin."""
        return (self.registration or self.kubelet_root / "plugins_registry") / f"{self.driver}-reg.sock"
