"""URIs of local files: absolute, percent-encoded, nothing to resolve."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes

from cached.core.errors import InvalidRequest


def path_of(uri: str) -> str:
    """The path that `uri` names. Raises InvalidRequest for one that is not plain and absolute."""
    try:
        path = os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
    except UnicodeEncodeError:
        path = ""
    parts = path.removesuffix("/").split("/")[1:]
    plain = parts and all(part not in ("", ".", "..") for part in parts) and "\0" not in path
    if not plain or not uri.startswith("file:///"):
        raise InvalidRequest(f"{uri[:200]!r} names no file", hint="write file:///absolute/path, without '..'")
    return "/" + "/".join(parts)


def uri_of(path: str) -> str:
    """The one URI of an absolute path."""
    return "file://" + quote(os.fsencode(path))
