"""What containerd's own configuration says of registries. Parsed files in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cached.cli.containerd.toml import table

# Where the settings of registries stand, by version of the format. 4 is as 3, as far as they go.
_PLUGINS: Final = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"}
_CRI: Final = ("cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images")
# What containerd 2.2 and later take where no path is set.
UNSET_PAIR: Final = "/etc/containerd/certs.d:/etc/docker/certs.d"
_RELEASE = re.compile(r"(?:^|\s)v?(\d+)\.(\d+)\.(\d+)")


class Release(NamedTuple):
    """A version of containerd."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def of(cls, told: str) -> Release | None:
        """From what `containerd --version` tells."""
        found = _RELEASE.search(told)
        return cls(*map(int, found.groups())) if found else None

    def __str__(self) -> str:
        return ".".join(map(str, self))


# From here on images are pulled by the transfer service, which takes config_path for one directory.
TRANSFER: Final = Release(2, 1)
# From here on config_path has a default.
PAIR_BY_DEFAULT: Final = Release(2, 2)
# From here on hosts.toml may have dial_timeout.
DIALS: Final = Release(2, 0, 7)
# From here on files are merged key by key; before, a plugin's section replaces the one before it.
MERGES: Final = Release(2, 0)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One file, parsed."""

    path: Path
    data: Mapping[str, Any]

    @property
    def version(self) -> int:
        """Of the format; 1 where none is named."""
        version = self.data.get("version")
        return version if isinstance(version, int) and version > 0 else 1

    @property
    def imports(self) -> list[str]:
        found = self.data.get("imports")
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

    def config_paths(self) -> Iterator[str]:
        """Plugins that it sets config_path for."""
        for plugin in _CRI:
            if table(self.data, "plugins", plugin, "registry").get("config_path"):
                yield plugin


@dataclass(frozen=True, slots=True)
class Registries:
    """What is in effect. version: of the format. tls: registries with TLS settings of the old kind.

    local_pull: something else is set that the transfer service cannot do, so that it is not used.
    """

    version: int
    config_path: str
    mirrors: tuple[str, ...]
    tls: tuple[str, ...]
    discards_layers: bool
    local_pull: bool
    disabled: bool

    @property
    def plugin(self) -> str:
        return plugin_of(self.version)

    @classmethod
    def of(cls, effective: Mapping[str, Any]) -> Registries:
        version = ConfigFile(Path(), effective).version
        images = table(effective, "plugins", plugin_of(version))
        unpack = images if version >= 3 else table(images, "containerd")
        registry = table(images, "registry")
        path = registry.get("config_path")
        configs = table(registry, "configs")
        disabled = effective.get("disabled_plugins")
        return cls(
            version=version,
            config_path=path if isinstance(path, str) else "",
            mirrors=tuple(table(registry, "mirrors")),
            tls=tuple(name for name in configs if table(configs, name, "tls")),
            discards_layers=unpack.get("discard_unpacked_layers") is True,
            local_pull=_pulls_locally(images, unpack),
            disabled=any(name in (disabled if isinstance(disabled, list) else ()) for name in _CRI),
        )


def plugin_of(version: int) -> str:
    """Whose section has the settings of registries."""
    return _PLUGINS[min(version, 3)]


def section_of(version: int) -> str:
    """The head of the table that config_path stands in."""
    plugin = plugin_of(version)
    return f"[plugins.{plugin}.registry]" if "." not in plugin else f'[plugins."{plugin}".registry]'


def merged(files: Iterable[ConfigFile], release: Release | None) -> dict[str, Any]:
    """The files as one, later ones on top, as containerd of that release reads them; as well as can be told
    where it is not known."""
    found: dict[str, Any] = {"plugins": {}, "disabled_plugins": []}
    for file in files:
        if "version" in file.data or "version" not in found:
            found["version"] = file.version
        disabled = file.data.get("disabled_plugins")
        found["disabled_plugins"] += disabled if isinstance(disabled, list) else []
        deep = release >= MERGES if release else file.version >= 3
        for plugin, section in table(file.data, "plugins").items():
            below = found["plugins"].get(plugin) if deep else None
            found["plugins"][plugin] = _overlaid(below, section)
    return found


def _overlaid(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _overlaid(below.get(key), value) for key, value in above.items()}


def _pulls_locally(images: Mapping[str, Any], unpack: Mapping[str, Any]) -> bool:
    """As containerd 2.1 and later decide it."""
    registry = table(images, "registry")
    return (
        images.get("use_local_image_pull") is True
        or images.get("image_pull_with_sync_fs") is True
        or images.get("max_concurrent_downloads", 3) != 3
        or unpack.get("disable_snapshot_annotations", True) is False
        or unpack.get("discard_unpacked_layers") is True
        or any(table(registry, key) for key in ("mirrors", "configs", "auths"))
    )
