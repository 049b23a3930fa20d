"""From requests of pullers to the ImageSource, and back."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import hdrs, web

from cached.core.digest import Digest
from cached.core.errors import DiskFault, SourceUnavailable
from cached.core.image import MAX_REPOSITORY, Repository
from cached.engine.images.views import BlobReader, ImageSource, Piece, Pull
from cached.serve.mirror import ranges
from cached.serve.mirror.options import MirrorOptions
from cached.serve.mirror.outlet import PIECE
from cached.serve.mirror.ranges import Span
from cached.serve.mirror.refusal import Refusal
from cached.serve.mirror.reply import JSON, Body, Reply
from cached.serve.mirror.target import Kind, Query, Target, read_query
from cached.serve.mirror.traffic import Traffic

_AT_ONCE: Final = 0.25  # seconds that bytes which are here take to be found
_STALE: Final = '299 - "the registry does not answer; this is what the tag meant last"'
_PASSED_QUERY: Final = {Kind.TAGS: ("n", "last"), Kind.REFERRERS: ("artifactType",)}
_PASSED_HEADERS: Final = ("Content-Type", "OCI-Filters-Applied")
_NEXT: Final = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?\Z')


class Face:
    """Only asks and converts; what a reply holds open is closed by the stack that it was given."""

    def __init__(self, images: ImageSource, traffic: Traffic, options: MirrorOptions) -> None:
        self._images = images
        self._traffic = traffic
        self._options = options

    async def reply(self, request: web.BaseRequest, target: Target, stack: AsyncExitStack) -> Reply:
        """What to answer. Raises Refusal, and what the ImageSource raises."""
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            raise Refusal(405, "UNSUPPORTED", "nothing can be pushed or deleted here", {"Allow": "GET, HEAD"})
        if request.body_exists or request.version.major != 1:
            raise Refusal(400, "UNSUPPORTED", "a request here is one of HTTP/1.1, and has no body")
        if target.kind is Kind.BASE:
            return Reply(200, {"Content-Type": JSON}, b"{}")
        if target.kind is Kind.OTHER:
            raise Refusal(404, "UNSUPPORTED", "here are manifests, blobs, tags/list and referrers")
        query = read_query(request.rel_url.raw_query_string)
        if len(query.namespace) > MAX_REPOSITORY:
            raise Refusal(400, "NAME_INVALID", "not a registry")
        repository = Repository.of(self._images.upstream(query.namespace), target.name)
        pull = Pull(repository, request.headers.get(hdrs.AUTHORIZATION))
        if target.kind is Kind.MANIFEST:
            reply = await self._manifest(request, pull, target.manifest)
        elif target.kind is Kind.BLOB:
            reply = await self._blob(request, pull, target.digest, stack)
        else:
            reply = await self._passed(pull, target, query)
        named = {"OCI-Namespace": query.namespace} if query.namespace else {}
        return Reply(reply.status, {**reply.headers, **named}, reply.body)

    async def _manifest(self, request: web.BaseRequest, pull: Pull, reference: str) -> Reply:
        """Whatever the request accepts: it is the manifest that was asked for, or another one would be."""
        if request.method == hdrs.METH_HEAD:
            view, data = await self._images.manifest(pull, reference), b""
            size = view.size
        else:
            view, data = await self._images.manifest_bytes(pull, reference)
            size = len(data)
        headers = _describe(view.digest) | {"Content-Type": view.media_type, "Content-Length": str(size)}
        if view.stale:
            headers["Warning"] = _STALE
        return _unless_known(request, view.digest, headers) or Reply(200, headers, data)

    async def _blob(
        self, request: web.BaseRequest, pull: Pull, digest: Digest, stack: AsyncExitStack
    ) -> Reply:
        size = await self._images.blob(pull, digest)
        headers = _describe(digest) | {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if known := _unless_known(request, digest, headers):
            return known
        headers["Content-Length"] = str(size)
        if request.method == hdrs.METH_HEAD or not size:
            return Reply(200, headers)
        try:
            said = ",".join(request.headers.getall(hdrs.RANGE, [])) or None
            span = ranges.asked(said, request.headers.get(hdrs.IF_RANGE), headers["ETag"], size)
        except ranges.Unsatisfiable:
            beyond = {"Content-Range": f"bytes */{size}"}
            raise Refusal(416, "UNSUPPORTED", f"the blob has {size} bytes", beyond) from None
        whole = Span(0, size)
        reader = await stack.enter_async_context(self._images.read(pull, digest, size))
        first = await self._first(reader, digest, span or whole, size)
        body = Body(digest, span or whole, reader, first)
        stack.callback(body.close)
        if span is None:
            return Reply(200, headers, body)
        headers["Content-Length"] = str(span.length)
        headers["Content-Range"] = f"bytes {span.offset}-{span.offset + span.length - 1}/{size}"
        return Reply(206, headers, body)

    async def _first(self, reader: BlobReader, digest: Digest, span: Span, size: int) -> Piece | None:
        """The first bytes of the answer; None when they may be waited for after its head was sent.

        Who reads a blob in several ranges at once gives up all of it when one is refused, and asks for some
        that will be here only after those that others of its requests get. For the same reason a blob that
        was in trouble is begun only when it is here whole. Raises SourceUnavailable, DiskFault.
        """
        now = asyncio.get_running_loop().time()
        if span.offset and self._traffic.flows(digest, now):
            return None
        if self._traffic.unreadable(digest, now):
            raise DiskFault(f"{digest} could not be read just now")
        if self._traffic.troubled(digest, now):
            os.close((await _soon(reader, digest, size - 1, 1, _AT_ONCE)).fd)
        return await _soon(reader, digest, span.offset, min(span.length, PIECE), self._options.first_piece)

    async def _passed(self, pull: Pull, target: Target, query: Query) -> Reply:
        path = "tags/list" if target.kind is Kind.TAGS else f"referrers/{target.digest}"
        asked = {key: value for key, value in query.others.items() if key in _PASSED_QUERY[target.kind]}
        passed = await self._images.passed(pull, path, asked)
        if passed.status != 200:
            raise SourceUnavailable(f"{pull.repository.host} answered {passed.status} for {path}")
        given = {name.lower(): value for name, value in passed.headers.items()}
        headers = {name: given[name.lower()] for name in _PASSED_HEADERS if name.lower() in given}
        if more := _more(given.get("link", ""), f"/v2/{pull.repository.name}/{path}", query.namespace):
            headers["Link"] = more
        return Reply(200, headers, passed.body)


async def _soon(reader: BlobReader, digest: Digest, offset: int, most: int, seconds: float) -> Piece:
    try:
        async with asyncio.timeout(seconds):
            return await reader.piece(offset, most)
    except TimeoutError:
        raise SourceUnavailable(f"bytes {offset}… of {digest} are not here within {seconds:g} s") from None


def _describe(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


def _unless_known(request: web.BaseRequest, digest: Digest, headers: Mapping[str, str]) -> Reply | None:
    """The answer to a request that is made only for other content, or only for this one."""
    if (wanted := request.if_match) is not None:
        if not any(tag.value in (digest, "*") and not tag.is_weak for tag in wanted):
            raise Refusal(412, "UNSUPPORTED", f"it is {digest}")
    elif (known := request.if_none_match) is not None and any(tag.value in (digest, "*") for tag in known):
        return Reply(304, {name: headers[name] for name in ("Docker-Content-Digest", "ETag")})
    return None


def _more(link: str, path: str, namespace: str) -> str:
    """A link of a registry to more of a list, as one of this mirror; "" without one.

    Of the registry's own only the query is taken: where it leads is known, and may not be chosen.
    """
    found = _NEXT.search(link)
    if found is None:
        return ""
    try:
        query = dict(parse_qsl(urlsplit(found[1]).query, keep_blank_values=True))
    except ValueError:
        return ""
    if namespace:
        query["ns"] = namespace
    return f'<{path}?{urlencode(query)}>; rel="next"'
