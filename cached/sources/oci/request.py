"""Small requests to registries and their token services, and where redirects take them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# What RFC 3986 lets stand in a URL, and `%`, so that what is quoted already stays as it is.
_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[]~"
# Headers that tell nothing about the reader, and so may follow a redirect to another server.
_HARMLESS: Final = frozenset({"accept", "range"})


class Reach(Enum):
    """How far redirects are followed: not at all, so that they are the answer; on one server; anywhere."""

    NOWHERE = 0
    THERE = 1
    ANYWHERE = 2


@dataclass(frozen=True, slots=True)
class Request:
    """what: the image, as errors call it. form: the body of a POST. most: bytes of the answer's body to take.

    foreign: it is to another server than was asked first, by a redirect. URL, headers and form may speak
    for the reader, and are not shown.
    """

    method: str
    url: str = field(repr=False)
    what: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    most: int = 0
    reach: Reach = Reach.ANYWHERE
    foreign: bool = False

    def by(self, authorization: str) -> Request:
        """The same with this Authorization header, or none."""
        others = {name: value for name, value in self.headers.items() if name != "Authorization"}
        return replace(self, headers=others | ({"Authorization": authorization} if authorization else {}))


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: names in lower case. body: of a success, if it was asked for. request: the one so answered."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request: Request

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def elsewhere(self) -> bool:
        """Whether it says to ask at another place."""
        return self.status in _REDIRECTS


def redirected(request: Request, location: str) -> Request | None:
    """What a redirect of `request` asks for, or None where following is not safe.

    Another server is told nothing of the reader, only what its own URL says. TLS is not given up on the way.
    """
    if not location:
        return None
    try:
        url = urljoin(request.url, quote(location, safe=_AS_IT_IS))
        old, new = urlsplit(request.url), urlsplit(url)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            return None
        if not new.hostname or "@" in new.netloc:
            return None
        if origin_of(url) == origin_of(request.url):
            return replace(request, url=url)
    except ValueError:
        return None
    if request.reach is not Reach.ANYWHERE:
        return None
    headers = {name: value for name, value in request.headers.items() if name.lower() in _HARMLESS}
    return replace(request, url=url, headers=headers, foreign=True)


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for a malformed port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)
