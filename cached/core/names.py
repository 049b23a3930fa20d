"""What names may look like: models, revisions and paths inside a tree.

Names come from people, pods and buckets. Whatever passes here is safe to use below a directory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from cached.core.errors import InvalidRequest

MAX_NAME = 200
MAX_COMPONENT = 255
MAX_PATH = 1024
MAX_PATTERN = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}\Z")
_REVISION = re.compile(r"(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,127})\Z")


def check_model_name(name: str) -> str:
    """Return `name` if a model may be called so, else raise InvalidRequest."""
    if len(name) > MAX_NAME or not _NAME.match(name):
        raise InvalidRequest(
            f"not a model name: {name[:MAX_NAME]!r}",
            hint="use letters, digits, '.', '_' and '-', each part beginning with a letter or digit, "
            f"at most four parts joined by '/', at most {MAX_NAME} characters",
        )
    return name


def check_revision(revision: str) -> str:
    """Return `revision` if it is a label or a tree digest, else raise InvalidRequest."""
    if not _REVISION.match(revision):
        raise InvalidRequest(
            f"not a revision: {revision[:140]!r}",
            hint="use up to 128 letters, digits, '.', '_' and '-', or sha256: and 64 hex digits",
        )
    return revision


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it may choose files of a model, else raise InvalidRequest."""
    if not pattern.isprintable() or not 0 < len(pattern) <= MAX_PATTERN:
        raise InvalidRequest(
            f"not a pattern: {pattern[:120]!r}", hint=f"use 1 to {MAX_PATTERN} printable characters"
        )
    return pattern


def check_path(path: str) -> str:
    """Return `path` if it is safe and plain below a directory, else raise InvalidRequest.

    Safe means: relative, no empty, `.` or `..` component, no NUL, control character or backslash,
    valid UTF-8, no component over 255 bytes.
    """
    shown = repr(path[:120])
    try:
        size = len(path.encode())
        parts = path.split("/")
        widest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"file name {shown} is not valid UTF-8", hint="rename it at the source"
        ) from None
    if not path or path.startswith("/"):
        problem = "is empty or absolute"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "has an empty, '.' or '..' component"
    elif "\\" in path or any(unicodedata.category(c) == "Cc" for c in path):
        problem = "has a control character or a backslash"
    elif widest > MAX_COMPONENT or size > MAX_PATH:
        problem = f"is too long (at most {MAX_COMPONENT} bytes a component, {MAX_PATH} in all)"
    else:
        return path
    raise InvalidRequest(
        f"file name {shown} {problem}", hint="rename it at the source, or exclude it in the catalog"
    )


def check_paths_together(paths: Iterable[str]) -> None:
    """Raise InvalidRequest if two paths cannot live in one directory tree.

    That is: the same path twice, two that differ only in case or Unicode form (they are one file on
    some filesystems), or one that is a file where another needs a directory.
    """
    folded: dict[str, str] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path).casefold()
        if key in folded:
            raise InvalidRequest(
                f"file names {folded[key][:120]!r} and {path[:120]!r} clash",
                hint="rename one at the source, or exclude one in the catalog",
            )
        folded[key] = path
    for key, path in folded.items():
        cut = key.rfind("/")
        while cut > 0:
            if key[:cut] in folded:
                raise InvalidRequest(
                    f"{folded[key[:cut]][:120]!r} is a file and also the directory of {path[:120]!r}",
                    hint="rename one at the source, or exclude one in the catalog",
                )
            cut = key.rfind("/", 0, cut)
