"""Whether containerd's own configuration lets it find the mirror. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cached.cli.containerd.config import DIALS, PAIR_BY_DEFAULT, TRANSFER, UNSET_PAIR, plugin_of
from cached.cli.containerd.dropin import RESTART, advice
from cached.cli.containerd.installed import Installed
from cached.cli.finding import Finding, Level


def of_config(installed: Installed, certs_d: Path) -> Iterator[Finding]:
    """About the settings in effect; at least one finding."""
    registries = installed.registries
    path = installed.registries.config_path
    if not installed.accepted:
        yield _finding(
            "problem",
            f"containerd {installed.release or 'in PATH'} does not accept {installed.main}",
            f"containerd --config {installed.main} config dump tells why",
        )
    if registries.disabled:
        yield _finding(
            "problem",
            "its CRI plugin is disabled, so that kubelet cannot pull through it",
            f"take it out of disabled_plugins; {RESTART}",
        )
    yield _about_path(installed, certs_d)
    if registries.discards_layers:
        section = f'"{plugin_of(registries.version)}"' + ("" if registries.version >= 3 else ".containerd")
        yield _finding(
            "warning",
            "discard_unpacked_layers is true, as EKS, kind and Talos set it: its store keeps no layers that"
            " neighbours could have from here",
            f"set it to false below [plugins.{section}]"
            + (", together with a config_path of one directory" if ":" in path else "")
            + f"; {RESTART}",
        )


def of_release(installed: Installed, *, loopback: bool) -> Iterator[Finding]:
    """About what its release lacks. loopback: the mirror is at a loopback address."""
    release = installed.release
    if release is None or release >= DIALS:
        return
    lacks = f"containerd {release} knows no dial_timeout"
    if loopback:
        yield _finding("ok", f"{lacks}; a mirror on loopback that is down refuses at once all the same")
    else:
        yield _finding(
            "warning",
            f"{lacks}: while the mirror's host is gone, each request to it takes 30 s",
            f"put the mirror on loopback, or have containerd {DIALS} or later",
        )


def _about_path(installed: Installed, certs_d: Path) -> Finding:
    registries, release = installed.registries, installed.release
    by_hand = advice(installed, certs_d)
    legacy = [*registries.mirrors, *registries.tls]
    by_default = not registries.config_path and release is not None and release >= PAIR_BY_DEFAULT
    path = UNSET_PAIR if by_default else registries.config_path
    if legacy:
        return _finding(
            "problem",
            f"registry.mirrors or configs.*.tls of {', '.join(legacy)} exclude config_path"
            + (": with both, its CRI plugin does not start" if registries.config_path else ""),
            f"write them as hosts.toml files below {certs_d} and take them out; then {by_hand}",
        )
    if not path:
        return _finding(
            "problem", _misplaced(installed) or "config_path is not set: no hosts.toml is read", by_hand
        )
    if ":" in path:
        return _pair(installed, f"config_path is {path}{', by default' if by_default else ''}", by_hand)
    if not str(certs_d).endswith(path.rstrip("/")):  # below the place where the host's files are mounted, say
        return _finding(
            "warning", f"its config_path is {path}, but {certs_d} is looked at", "leave out --certs-d"
        )
    return _finding("ok", f"{_name(installed)} reads hosts.toml files below {path}")


def _misplaced(installed: Installed) -> str:
    """Whether config_path is set where it does not count, in a sentence."""
    counts, version = installed.registries.plugin, installed.files[0].version if installed.files else 0
    for file in installed.files:
        for plugin in file.config_paths():
            if plugin != counts or version < 2:
                return (
                    f'{file.path} sets config_path for "{plugin}", where {_name(installed)} does not look'
                    f" for it in files of version {version}"
                )
    return ""


def _pair(installed: Installed, said: str, by_hand: str) -> Finding:
    """Two directories, such as many distributions set, and containerd 2.2 by itself."""
    registries, release = installed.registries, installed.release
    if registries.local_pull:
        return _finding(
            "warning",
            f"{said}: works by chance, since other settings keep containerd from its transfer service, which"
            " takes a pair for one directory",
            by_hand,
        )
    if (release is None and registries.version < 3) or (release is not None and release < TRANSFER):
        return _finding(
            "warning", f"{said}: containerd {TRANSFER} and later take a pair for one directory", by_hand
        )
    return _finding(
        "problem",
        f"{said}: {_name(installed)} takes a pair for one directory, and reads no hosts.toml",
        by_hand,
    )


def _name(installed: Installed) -> str:
    return f"containerd {installed.release}" if installed.release else "containerd"


def _finding(level: Level, message: str, hint: str = "") -> Finding:
    return Finding(level, "containerd", message, hint)
