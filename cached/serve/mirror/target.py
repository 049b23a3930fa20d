"""What a request is about: the paths of the OCI distribution API. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl

from cached.core.digest import SHA256, Digest
from cached.core.image import check_tag
from cached.serve.mirror.refusal import Refusal

_NAMESPACE: Final = "ns"
_MOST_PARAMETERS: Final = 16
# https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
_DIGEST: Final = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[A-Za-z0-9=_-]+\Z")


class Kind(StrEnum):
    """What can be asked for, as metrics call it."""

    BASE = "base"
    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    OTHER = "other"


_KINDS: Final = {"manifests": Kind.MANIFEST, "blobs": Kind.BLOB, "referrers": Kind.REFERRERS}
# What is not there, in OCI's words.
UNKNOWN: Final = {Kind.MANIFEST: "MANIFEST_UNKNOWN", Kind.BLOB: "BLOB_UNKNOWN"}


@dataclass(frozen=True, slots=True)
class Target:
    """One path, not checked yet but for its form. name: of the repository. reference: a tag or a digest."""

    kind: Kind
    name: str = ""
    reference: str = ""

    @property
    def digest(self) -> Digest:
        """The digest that is asked for. Raises Refusal: 400, or 404 for one of a kind that is not kept."""
        digest = Digest.read(self.reference)
        if digest is not None and digest.names_content:
            return digest
        algorithm = self.reference.partition(":")[0]
        if algorithm == SHA256 or not _DIGEST.match(self.reference):
            raise Refusal(400, "DIGEST_INVALID", f"not a digest: {self.reference[:100]!r}")
        raise Refusal(404, UNKNOWN.get(self.kind, "UNSUPPORTED"), f"nothing is kept by {algorithm[:40]!r}")

    @property
    def manifest(self) -> str:
        """The tag or digest that is asked for. Raises Refusal."""
        if ":" in self.reference:
            return self.digest
        if not check_tag(self.reference):
            raise Refusal(400, "TAG_INVALID", f"not a tag: {self.reference[:140]!r}")
        return self.reference


def read_path(path: str) -> Target:
    """Read the path of a request as it was sent, percent signs and all; what it means nothing by is OTHER.

    Nothing but the colon of a digest may be percent-encoded: no name and no tag has a character that needs
    it, and a slash or a dot that hides is none.
    """
    if path in ("/v2/", "/v2"):
        return Target(Kind.BASE)
    root, _, rest = path.replace("%3A", ":").replace("%3a", ":").partition("/v2/")
    above, _, reference = rest.rpartition("/")
    name, _, word = above.rpartition("/")
    if root or not name or not reference:
        return Target(Kind.OTHER)
    if (word, reference) == ("tags", "list"):
        return Target(Kind.TAGS, name)
    kind = _KINDS.get(word, Kind.OTHER)
    return Target(kind, name, reference)


@dataclass(frozen=True, slots=True)
class Query:
    """namespace: the registry that a runtime means, "" when it does not say. others: all but that."""

    namespace: str
    others: Mapping[str, str]


def read_query(query: str) -> Query:
    """Read the query of a request as it was sent. Raises Refusal for one that can be read in two ways."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:  # too many, or no UTF-8
        raise Refusal(400, "UNSUPPORTED", "not a query of this API") from None
    others = dict(pairs)
    if len(others) < len(pairs):
        raise Refusal(400, "UNSUPPORTED", "a parameter is given twice")
    return Query(others.pop(_NAMESPACE, ""), others)
