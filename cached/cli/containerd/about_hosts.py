"""Whether hosts.toml files make containerd ask the mirror, and let it do without. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cached.cli.containerd.hosts import CAPABILITIES, Place, Wanted, configured, hosts_of
from cached.cli.containerd.marks import Marked
from cached.cli.containerd.toml import parse, table
from cached.cli.finding import Finding
from cached.core.errors import InvalidRequest

CONFIGURE: Final = "cachectl containerd configure"


def of_registry(wanted: Wanted, place: Place, default: Place, *, ca_is_there: bool) -> Finding:
    """The worst that is wrong with one registry's hosts.toml."""
    try:
        message, hint = _fault(wanted, place, default)
    except InvalidRequest as error:
        message, hint = error.message, error.hint
    if not message and wanted.ca and not ca_is_there:
        message = f"{wanted.ca} is not there, and containerd refuses each pull because of that"
        hint = f"put it there, or mend images.upstreams of {wanted.registry}; then {CONFIGURE}"
    if message:
        return Finding("problem", wanted.registry, message, hint)
    server = parse(place.text or "", str(place.file)).get("server", "the registry itself")
    return Finding("ok", wanted.registry, f"{place.file} asks {wanted.mirror}, and then {server}")


def _fault(wanted: Wanted, place: Place, default: Place) -> tuple[str, str]:
    """What is wrong, and what to do; empty where all is well. Raises InvalidRequest as `configured` does."""
    file, mirror = place.file, wanted.mirror
    parsed = parse(place.text or "", str(file))
    hosts = hosts_of(parsed)
    if str(parsed.get("server")).rstrip("/") == mirror:
        return (
            f"{file} has the mirror as its server: while it is down, nothing can be pulled",
            f"set server to {wanted.server or 'the registry'}, or take it out",
        )
    if mirror in hosts and hosts[0] != mirror:
        return (
            f"{file} asks {hosts[0]} before the mirror",
            f'put [host."{mirror}"] first, or take it out',
        )
    should = configured(wanted, place, default)
    able = table(parsed, "host", mirror).get("capabilities", CAPABILITIES)
    if place.text is None:
        return f"{file} is not there: images do not come through the mirror", CONFIGURE
    if mirror not in hosts:
        return f"{file} does not ask {mirror}{_instead(place.text, str(file))}", CONFIGURE
    if not isinstance(able, list) or not set(CAPABILITIES) <= set(able):
        return f"{file} does not let the mirror {' and '.join(CAPABILITIES)}", CONFIGURE
    return ("", "") if should == place.text else (f"{file} is not what the settings ask for now", CONFIGURE)


def _instead(text: str, where: str) -> str:
    """Where our entry points to, if there is one."""
    passage = Marked.of(text, where).passage
    hosts = hosts_of(parse(passage.text, where)) if passage else []
    return f", but {', '.join(hosts)}" if hosts else ""


def of_default(default: Place, places: Mapping[str, Place]) -> Iterator[Finding]:
    """About `_default`: its hosts are not asked for registries with directories of their own."""
    hosts = _readable(default)
    lacking = [
        registry
        for registry, place in places.items()
        if not place.missing and not set(hosts) <= set(_readable(place))
    ]
    if lacking:
        yield Finding(
            "warning",
            "_default",
            f"{default.file} does not count for {', '.join(lacking)}, which have directories of their own:"
            f" {', '.join(hosts)} is not asked there",
            "add to their hosts.toml what should hold for them, too",
        )


def _readable(place: Place) -> list[str]:
    try:
        return hosts_of(parse(place.text or "", str(place.file)))
    except InvalidRequest:  # told by itself
        return []


def of_leftover(file: Path) -> Finding:
    """A hosts.toml of ours for what is no upstream of the mirror any more."""
    message = f"{file} asks the mirror, which has no such upstream now"
    return Finding("warning", file.parent.name, message, CONFIGURE)


def of_mirror(url: str, fault: str) -> Finding:
    """fault: why it does not answer; empty when it does."""
    if fault:
        return Finding(
            "problem", "mirror", f"{url} does not answer: {fault}", "look after the daemon: cachectl health"
        )
    return Finding("ok", "mirror", f"{url} answers")
