"""How a registry wants to be convinced: the header WWW-Authenticate, read with suspicion. Pure.

https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_MOST: Final = 8192  # characters that are looked at
_CHALLENGES: Final = 8
_PARAMETERS: Final = 16
_VALUE: Final = 1024  # characters of a value; one that is longer is as good as none

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATOR = re.compile(r"[ \t,]*")
_SCHEME = re.compile(rf"({_WORD})(?=[ \t,]|\Z)")
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))(?=[ \t,]|\Z)')
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_PLAIN = re.compile(r"[ !#-\[\]-~]*\Z")  # what needs no escape between quotes

# What pullers need; anything else is not passed on.
_PASSED: Final = ("realm", "service", "scope", "error")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to be convinced. scheme and the names of parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def realm(self) -> str:
        """Of a bearer challenge, the URL of its token service."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        return self.parameters.get("service", "")

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.parameters.get("scope", "").split())

    def __str__(self) -> str:
        """As a header that says the same: one line, bounded, with what pullers need."""
        said = ((name, self.parameters.get(name, "")) for name in _PASSED)
        parameters = ",".join(f'{name}="{value}"' for name, value in said if value)
        return f"{self.scheme.title()} {parameters}".rstrip()


def choose(header: str) -> Challenge | None:
    """The challenge to answer of those in the header: by a token, or else by a password."""
    found = list(parse_challenges(header))
    bearers = (each for each in found if each.scheme == "bearer" and each.realm)
    return next(bearers, None) or next((each for each in found if each.scheme == "basic"), None)


def parse_challenges(header: str) -> Iterator[Challenge]:
    """The challenges in order, up to where the header makes no sense any more.

    Of a parameter that is said twice, the first counts; one whose value is too long or not plain ASCII
    is left out.
    """
    header, at = header[:_MOST], 0
    for _ in range(_CHALLENGES):
        at = _after(_SEPARATOR, header, at)
        scheme = _SCHEME.match(header, at)
        if not scheme:
            return
        parameters, at = _parameters(header, scheme.end())
        yield Challenge(scheme[1].lower(), parameters)


def _parameters(header: str, at: int) -> tuple[dict[str, str], int]:
    """What follows a scheme, and where the next one may begin."""
    found: dict[str, str] = {}
    for count in range(_PARAMETERS):
        parameter = _PARAMETER.match(header, _after(_SEPARATOR, header, at))
        if not parameter:
            return found, _after(_TOKEN68, header, at) if not count else at
        at = parameter.end()
        name, quoted, bare = parameter.groups()
        value = bare if quoted is None else _ESCAPE.sub(r"\1", quoted)
        if len(value) <= _VALUE and _PLAIN.match(value):
            found.setdefault(name.lower(), value)
    return found, at


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
