"""What a registry says of manifests and blobs, read with suspicion. Pure."""

from __future__ import annotations

import re

from cached.core.digest import Digest
from cached.core.errors import Corrupt, SourceUnavailable
from cached.core.manifest import MAX_MANIFEST
from cached.core.registry import Found
from cached.sources.oci.request import Answer

_SIZE = re.compile(r"[0-9]{1,15}\Z")
_TOTAL = re.compile(r"bytes 0-0/([0-9]{1,15})\Z")
_WORD = r"[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}\Z")


def headless(answer: Answer) -> bool:
    """Whether a GET may do better than this HEAD: some know none, and signed URLs are for one method."""
    return answer.status in (405, 501) or (answer.request.foreign and answer.status in (400, 403))


def manifest_of_head(answer: Answer, wanted: Digest | None) -> Found | None:
    """The manifest; None when the answer says too little. wanted: its digest, if it was asked for by that.

    Raises Corrupt when it is another one, or larger than any may be.
    """
    digest, size, media_type = _digest(answer, wanted), _size(answer), media_type_of(answer)
    if digest is None or size is None or not media_type:
        return None
    if size > MAX_MANIFEST:
        raise Corrupt(
            f"{answer.request.what} is said to have {size} bytes, more than any manifest may ({MAX_MANIFEST})"
        )
    return Found(digest, size, media_type)


def manifest_of_get(answer: Answer, wanted: Digest | None) -> Found:
    """The manifest whose bytes are the answer's body. Raises Corrupt as above, SourceUnavailable."""
    media_type = media_type_of(answer)
    if not media_type or not _plain(answer):
        raise SourceUnavailable(
            f"{answer.request.what} comes without a usable Content-Type, or encoded",
            hint="see whether the registry is well, and whether a proxy on the way changes its answers",
        )
    digest = Digest.sha256(answer.body)
    if digest != (_digest(answer, wanted) or wanted or digest):
        raise _another(answer, digest)
    return Found(digest, len(answer.body), media_type)


def blob_of_head(answer: Answer, wanted: Digest) -> Found | None:
    """The blob; None when the answer does not tell its size. Raises Corrupt when it is another one."""
    _digest(answer, wanted)
    size = _size(answer)
    return None if size is None else Found(wanted, size)


def blob_of_range(answer: Answer, wanted: Digest) -> Found:
    """The blob, out of the answer to a GET of its first byte. Raises SourceUnavailable."""
    size = _size(answer)
    if answer.status == 206:
        total = _TOTAL.match(answer.headers.get("content-range", ""))
        size = int(total[1]) if total else None
    if size is None:
        raise SourceUnavailable(
            f"nothing says how large {answer.request.what} is", hint="see whether the registry is well"
        )
    return Found(wanted, size)


def media_type_of(answer: Answer) -> str:
    """Without parameters; "" for none, or one that cannot be."""
    text = answer.headers.get("content-type", "").partition(";")[0].strip()
    return text if _MEDIA_TYPE.match(text) else ""


def _digest(answer: Answer, wanted: Digest | None) -> Digest | None:
    """The SHA-256 that the answer states. Raises Corrupt when it is not the one that was wanted."""
    digest = Digest.read(answer.headers.get("docker-content-digest", ""))
    if digest is None or not digest.names_content:
        return None
    if wanted is not None and digest != wanted:
        raise _another(answer, digest)
    return digest


def _another(answer: Answer, digest: Digest) -> Corrupt:
    return Corrupt(
        f"the registry has something else for {answer.request.what}: {digest}",
        hint="push the image again; see whether a proxy on the way changes its answers",
    )


def _size(answer: Answer) -> int | None:
    """Bytes, as Content-Length has them."""
    text = answer.headers.get("content-length", "")
    return int(text) if _SIZE.match(text) and _plain(answer) else None


def _plain(answer: Answer) -> bool:
    return answer.headers.get("content-encoding", "").strip().lower() in ("", "identity")
