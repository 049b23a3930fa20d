"""Answers that are passed on to whoever asked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

from cached.core.digest import Digest
from cached.core.errors import InvalidRequest
from cached.core.registry import Passed
from cached.sources.oci.facts import media_type_of
from cached.sources.oci.request import Answer, origin_of
from cached.sources.oci.upstream import Upstream

_LISTS: Final = re.compile(r"tags/list\Z|referrers/(.+)\Z")
_QUERY: Final = ("n", "last", "artifactType")
_NEXT = re.compile(r"\s*<([^<>\s]{1,4096})>\s*;\s*rel=\"?next\"?\s*\Z")
_APPLIED = re.compile(r"[A-Za-z0-9,_ -]{1,200}\Z")


def target(path: str, query: Mapping[str, str]) -> str:
    """Where to ask below the repository. Raises InvalidRequest for what is not a list."""
    found = _LISTS.match(path)
    if not found or (found[1] and Digest.read(found[1]) is None):
        raise InvalidRequest(f"not a list of a repository: {path[:100]!r}")
    asked = urlencode([(name, query[name]) for name in _QUERY if name in query])
    return f"{path}?{asked}" if asked else path


def passed_on(answer: Answer, upstream: Upstream, name: str) -> Passed:
    """The answer, with what a client of a mirror may need of its headers."""
    headers = {"Content-Type": media_type_of(answer) or "application/json"}
    if following := _following(answer, upstream, name):
        headers["Link"] = f'<{following}>; rel="next"'
    applied = answer.headers.get("oci-filters-applied", "")
    if _APPLIED.match(applied):
        headers["OCI-Filters-Applied"] = applied
    if digest := Digest.read(answer.headers.get("docker-content-digest", "")):
        headers["Docker-Content-Digest"] = digest
    return Passed(answer.status, headers, answer.body)


def _following(answer: Answer, upstream: Upstream, name: str) -> str:
    """Path and query of the next page, "" for none; one outside of the repository is none.

    Without a host, so that the client stays with whom it asked.
    """
    link = _NEXT.match(answer.headers.get("link", ""))
    if not link:
        return ""
    try:
        url = urljoin(answer.request.url, link[1])
        if origin_of(url) != origin_of(upstream.base):
            return ""
    except ValueError:
        return ""
    parts = urlsplit(url)
    path = parts.path.removeprefix(urlsplit(upstream.base).path)
    if not path.startswith(f"/v2/{name}/") or not url.isascii() or ".." in path:
        return ""
    return f"{path}?{parts.query}" if parts.query else path
