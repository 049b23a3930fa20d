"""What a registry's hosts.toml says, and should say. Texts in, texts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cached.cli.containerd.marks import Marked, Passage
from cached.cli.containerd.toml import inserted, parse, quoted, table
from cached.core.errors import InvalidRequest

DEFAULT: Final = "_default"
# `referrers` is left out: containerd 1.x knows no such word, and ignores a file that has it.
CAPABILITIES: Final = ["pull", "resolve"]
# What a request costs when the mirror's host is gone. One on loopback refuses at once.
DIAL_TIMEOUT: Final = "200ms"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What containerd should do about a registry: ask `mirror`, a URL, and then `server`.

    server: None leaves it to containerd, which asks the registry by its name. ca: bundle to trust it by.
    """

    registry: str
    mirror: str
    server: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files that containerd takes for a registry without hosts.toml, by their names: CAs; and certificates of
    its own, each with its key, or "" where it holds that itself."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()

    @classmethod
    def among(cls, names: Iterable[str]) -> Certificates:
        """By their endings, as Docker has them."""
        found = set(names)
        clients = [
            (name, name.removesuffix(".cert") + ".key") for name in sorted(found) if name.endswith(".cert")
        ]
        return cls(
            tuple(sorted(name for name in found if name.endswith(".crt"))),
            tuple((cert, key if key in found else "") for cert, key in clients),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where containerd looks for a registry: a directory, and what lies in it.

    text: of its hosts.toml, None without one. missing: how many directories would have to be made for it.
    """

    directory: Path
    text: str | None = None
    certificates: Certificates = Certificates()
    missing: int = 0

    @property
    def file(self) -> Path:
        return self.directory / "hosts.toml"

    @property
    def says_something(self) -> bool:
        """Whether containerd does anything because of it."""
        return bool(parse(self.text or "", str(self.file))) or self.certificates != Certificates()


def hosts_of(parsed: Mapping[str, Any]) -> list[str]:
    """URLs in the order in which containerd asks them; the server, which comes last, is not among them."""
    return list(table(parsed, "host"))


def configured(wanted: Wanted, place: Place, default: Place) -> str:
    """The text of hosts.toml as it should be: what the operator wrote, and our entry before any other.

    default: `_default`, which counts for a registry that has no directory of its own. Raises InvalidRequest
    where nothing can be written without changing what the operator means.
    """
    where = str(place.file)
    marked = Marked.of(place.text or "", where)
    old, own = marked.passage, parse(marked.own, where)
    if place.missing and default.says_something:
        raise InvalidRequest(
            f"{default.directory} says where images of {wanted.registry} come from now, and would count for"
            f" them no more with {place.directory} beside it",
            hint=f"cp -a {default.directory} {place.directory}, and configure again; or take it away",
        )
    if wanted.mirror in hosts_of(own):
        return _by_hand(wanted, marked.own, own, where)
    whole = old.whole if old else place.text is None
    root = _root(wanted, place.certificates) if whole or not marked.own else {}
    root = {key: value for key, value in root.items() if key not in own}
    entry = {"capabilities": CAPABILITIES, "dial_timeout": DIAL_TIMEOUT}
    text = "".join(f"{key} = {quoted(value)}\n" for key, value in root.items())
    text += "\n" * bool(root) + f"[host.{quoted(wanted.mirror)}]\n"
    text += "".join(f"  {key} = {quoted(value)}\n" for key, value in entry.items())
    passage = Passage(text, whole, old.directories if old else place.missing)
    hosts = {wanted.mirror: entry, **table(own, "host")}
    for result in inserted(marked.own, str(passage), {**own, **root, "host": hosts}):
        if hosts_of(parse(result, where))[0] == wanted.mirror:
            return result
    raise InvalidRequest(
        f"{where} is written such that no entry can be put first without changing others",
        hint=f'give each host a table as in [host."URL"], or begin with [host."{wanted.mirror}"] by hand',
    )


def _root(wanted: Wanted, certificates: Certificates) -> dict[str, Any]:
    """What holds for the registry itself, in a file that nobody else has written.

    Names of the certificates are relative to the file.
    """
    authorities = [*certificates.authorities, *([str(wanted.ca)] if wanted.ca else [])]
    root: dict[str, Any] = {"server": wanted.server} if wanted.server else {}
    root |= {"ca": authorities} if authorities else {}
    return root | ({"client": [list(pair) for pair in certificates.clients]} if certificates.clients else {})


def _by_hand(wanted: Wanted, text: str, own: Mapping[str, Any], where: str) -> str:
    """The operator has put the mirror there himself: leave it, if it does."""
    able = table(own, "host", wanted.mirror).get("capabilities", CAPABILITIES)
    if hosts_of(own)[0] == wanted.mirror and isinstance(able, list) and set(CAPABILITIES) <= set(able):
        return text
    raise InvalidRequest(
        f"{where} has an entry for {wanted.mirror} that is not the first, or may not pull and resolve",
        hint="take it out by hand; configure puts its own there",
    )
