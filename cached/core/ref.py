"""What users ask for: a model of the catalog, or a source URI where policy permits it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cached.core.errors import InvalidRequest
from cached.core.names import check_model_name, check_revision

_URI = re.compile(r"[a-z][a-z0-9+.-]*://")
MAX_URI = 2048


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref. Exactly one of `name` and `uri` is set; only a name may carry a revision."""

    name: str = ""
    revision: str = ""
    uri: str = ""

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read `name`, `name@revision` or `scheme://…`. Raises InvalidRequest for anything else."""
        if _URI.match(text):
            if len(text) > MAX_URI or any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
                raise InvalidRequest(f"not a source URI: {text[:100]!r}")
            return cls(uri=text)
        name, at, revision = text.partition("@")
        check_model_name(name)
        if at:
            check_revision(revision)
        return cls(name=name, revision=revision)

    def __str__(self) -> str:
        if self.uri:
            return self.uri
        return f"{self.name}@{self.revision}" if self.revision else self.name
