"""What users ask for: a model of the catalog, or a source URI where policy permits it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote

from cached.core.errors import InvalidRequest
from cached.core.names import check_model_name, check_pattern, check_revision

_URI = re.compile(r"[a-z][a-z0-9+.-]*://")
MAX_URI = 2048
MAX_PATTERNS: Final = 32

FLAT: Final = "flat"
HUB: Final = "hub"
VIEWS: Final = (FLAT, HUB)


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref. Exactly one of `name` and `uri` is set, and all else goes with a name only.

    include: globs; only files of the model that one of them takes are wanted; all when empty. view: how the
    files are laid out: empty as at the source, `hub` as in a cache of the Hugging Face hub.
    """

    name: str = ""
    revision: str = ""
    uri: str = ""
    include: tuple[str, ...] = ()
    view: str = ""

    @classmethod
    def of(cls, name: str, revision: str = "", include: Iterable[str] = (), view: str = "") -> Ref:
        """A model by its parts, checked. Raises InvalidRequest."""
        check_model_name(name)
        if revision:
            check_revision(revision)
        patterns = tuple(sorted({check_pattern(pattern) for pattern in include}))
        if len(patterns) > MAX_PATTERNS:
            raise InvalidRequest(
                f"{len(patterns)} patterns for one model", hint=f"use at most {MAX_PATTERNS}"
            )
        if view not in ("", *VIEWS):
            raise InvalidRequest(f"no such view: {view[:100]!r}", hint=f"there are {' and '.join(VIEWS)}")
        return cls(name=name, revision=revision, include=patterns, view="" if view == FLAT else view)

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `name`, `name@revision`, either with `?include=GLOB&view=hub` behind it, or `scheme://…`.

        Raises InvalidRequest for anything else.
        """
        if _URI.match(text):
            if len(text) > MAX_URI or any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
                raise InvalidRequest(f"not a source URI: {text[:100]!r}")
            return cls(uri=text)
        plain, asked, query = text.partition("?")
        name, at, revision = plain.partition("@")
        check_model_name(name)
        if at:
            check_revision(revision)
        try:
            given = parse_qsl(query, strict_parsing=True, max_num_fields=MAX_PATTERNS + 1)
        except ValueError:
            given = []
        views = [value for key, value in given if key == "view"]
        strange = any(key not in ("include", "view") for key, _ in given) or len(views) > 1
        if strange or bool(asked) != bool(given):
            raise InvalidRequest(
                f"not a ref: {text[:200]!r}", hint="write name@revision?include=*.json&include=…&view=hub"
            )
        return cls.of(name, revision, [value for key, value in given if key == "include"], *views)

    def __str__(self) -> str:
        if self.uri:
            return self.uri
        plain = f"{self.name}@{self.revision}" if self.revision else self.name
        query = [f"include={quote(pattern, safe='/*')}" for pattern in self.include]
        query += [f"view={self.view}"] if self.view else []
        return f"{plain}?{'&'.join(query)}" if query else plain
