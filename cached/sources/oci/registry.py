"""`oci://`: registries of container images."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import Denied, InvalidRequest, SourceUnavailable
from cached.core.image import SCHEME, Repository, check_tag
from cached.core.manifest import INDEXES, MANIFESTS, MAX_MANIFEST
from cached.core.registry import Found, Passed, Reader
from cached.core.runtime import Login
from cached.core.source import RangeRequest, SourceFile
from cached.kit.clock import SystemClock
from cached.sources.counting import counted_errors
from cached.sources.oci.asking import Asking
from cached.sources.oci.client import Client
from cached.sources.oci.credentials import Credentials
from cached.sources.oci.errors import refusal
from cached.sources.oci.facts import blob_of_head, blob_of_range, headless, manifest_of_get, manifest_of_head
from cached.sources.oci.grants import Grants
from cached.sources.oci.options import UpstreamOptions
from cached.sources.oci.passing import passed_on, target
from cached.sources.oci.request import Answer, Reach, Request
from cached.sources.oci.tokens import Tokens
from cached.sources.oci.upstream import Upstream
from cached.telemetry.metrics import Metrics

_SECONDS: Final = 10.0  # for all that one call takes, so that whoever mirrors can answer in time
_MOST_PASSED: Final = 4 << 20  # bytes
_ACCEPT: Final = {"Accept": ", ".join((*sorted(INDEXES | MANIFESTS), "*/*;q=0.1"))}
_FILE = re.compile(r"/(manifests|blobs)/(sha256:[0-9a-f]{64})\Z")


class OciRegistry:
    """Implements `cached.core.registry.Registry`.

    Small calls are made here, each within ten seconds; the bytes of manifests and blobs go elsewhere.
    Belongs to one event loop.
    """

    def __init__(
        self,
        metrics: Metrics,
        upstreams: Mapping[str, UpstreamOptions],
        credentials: Sequence[Path] = (),
        *,
        ca_file: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`upstreams` by host as image names have it. credentials: files and directories, see Credentials.

        ca_file: PEM bundle to trust where an upstream names none; None for the system's. Raises NotConfigured
        for an endpoint that makes no sense.
        """
        clock = clock or SystemClock()
        self._metrics = metrics
        self._upstreams = {host: Upstream.of(host, options) for host, options in upstreams.items()}
        self._credentials = Credentials(credentials, clock)
        self._client = Client(clock, ca_file)
        self._grants = Grants(Tokens(self._client, clock), self._credentials, clock)
        self._asking = Asking(self._client, self._grants)

    @property
    def hosts(self) -> frozenset[str]:
        """See Registry.hosts."""
        return frozenset(self._upstreams)

    @property
    def ca_files(self) -> Mapping[str, Path]:
        """For TransferOptions: bundles of CAs by the `host:port` of upstreams that have their own."""
        return {each.address: each.ca_file for each in self._upstreams.values() if each.ca_file}

    async def manifest(self, repository: Repository, reference: str, reader: Reader) -> Found:
        """See Registry.manifest. Where a HEAD does not say enough, the manifest is read and hashed."""
        wanted = Digest.read(reference)
        if not (wanted.names_content if wanted else check_tag(reference)):
            raise InvalidRequest(f"neither a tag nor a digest: {reference[:140]!r}")
        what = f"manifest {repository}{'@' if wanted else ':'}{reference}"
        async with self._call(repository, what) as upstream:
            url = upstream.url(repository.name, f"manifests/{reference}")
            answer = await self._ask(repository, Request("HEAD", url, what, _ACCEPT), reader)
            if answer.good and (found := manifest_of_head(answer, wanted)):
                return found
            if answer.good or headless(answer):
                request = Request("GET", url, what, _ACCEPT, most=MAX_MANIFEST)
                answer = await self._ask(repository, request, reader)
            return manifest_of_get(_good(answer, upstream), wanted)

    async def blob(self, repository: Repository, digest: Digest, reader: Reader) -> Found:
        """See Registry.blob. Where a HEAD does not tell the size, the first byte is asked for."""
        what = f"blob {repository}@{digest}"
        async with self._call(repository, what) as upstream:
            url = upstream.url(repository.name, f"blobs/{digest}")
            answer = await self._ask(repository, Request("HEAD", url, what), reader)
            if answer.good and (found := blob_of_head(answer, digest)):
                return found
            if answer.good or headless(answer):
                request = Request("GET", url, what, {"Range": "bytes=0-0"})
                answer = await self._ask(repository, request, reader)
            return blob_of_range(_good(answer, upstream), digest)

    async def open_blob(self, repository: Repository, file: SourceFile, reader: Reader) -> RangeRequest:
        """See Registry.open_blob.

        Without a call, if the repository let the reader in a moment ago. Who comes back with the same file
        may have been refused, so then the registry is asked.
        """
        found = _FILE.search(file.uri)
        if not found:
            raise InvalidRequest(f"{file.uri[:200]!r} is neither a manifest nor a blob of a registry")
        path, headers = f"{found[1]}/{found[2]}", _ACCEPT if found[1] == "manifests" else {}
        what = f"{found[1].removesuffix('s')} {repository}@{found[2]}"
        async with self._call(repository, what) as upstream:
            url = upstream.url(repository.name, path)
            grant = await self._asking.current(upstream, repository.name, reader, what)
            if grant is None or path in grant.opened:
                request = Request("HEAD", url, what, headers, reach=Reach.NOWHERE)
                answer, grant = await self._asking.ask(upstream, repository.name, request, reader)
                if not (answer.elsewhere or headless(answer)):
                    _good(answer, upstream)
            grant.opened.add(path)
            shown = {"Authorization": grant.authorization} if grant.authorization else {}
            return RangeRequest(url, {**headers, **shown}, grant.expires_at)

    async def passed(
        self, repository: Repository, path: str, query: Mapping[str, str], reader: Reader
    ) -> Passed:
        """See Registry.passed. Of the query, n, last and artifactType are asked.

        Raises InvalidRequest for a path that is neither `tags/list` nor `referrers/DIGEST`.
        """
        where, what = target(path, query), f"{path} of {repository}"
        async with self._call(repository, what) as upstream:
            url = upstream.url(repository.name, where)
            request = Request("GET", url, what, most=_MOST_PASSED, reach=Reach.THERE)
            answer = await self._ask(repository, request, reader)
            return passed_on(_good(answer, upstream), upstream, repository.name)

    async def login(self, host: str) -> Login | None:
        """User and password that the node has for a registry, for its runtime; None without, or with a token.

        Raises NotConfigured.
        """
        upstream = self._upstreams.get(host)
        if upstream is None:
            return None
        with counted_errors(self._metrics, SCHEME):
            secret = await self._credentials.find(upstream)
        return Login(secret.user, secret.password) if secret and secret.basic else None

    async def close(self) -> None:
        await self._grants.close()
        await self._client.close()
        self._credentials.close()

    async def _ask(self, repository: Repository, request: Request, reader: Reader) -> Answer:
        upstream = self._upstreams[repository.host]
        answer, _ = await self._asking.ask(upstream, repository.name, request, reader)
        return answer

    @asynccontextmanager
    async def _call(self, repository: Repository, what: str) -> AsyncIterator[Upstream]:
        """The upstream, for a block that ends in time; its errors are counted."""
        with counted_errors(self._metrics, SCHEME):
            upstream = self._upstreams.get(repository.host)
            if upstream is None:
                raise Denied(
                    f"{what}: no image may come from {repository.host}",
                    hint="add the registry to images.upstreams if it should",
                )
            try:
                async with asyncio.timeout(_SECONDS):
                    yield upstream
            except TimeoutError:
                raise SourceUnavailable(
                    f"{upstream.host} did not answer for {what} within {_SECONDS:g} s",
                    hint="check the network and the registry",
                ) from None


def _good(answer: Answer, upstream: Upstream) -> Answer:
    if not answer.good:
        raise refusal(answer, upstream)
    return answer
