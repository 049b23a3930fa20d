"""The Kubernetes API server, asked for the EndpointSlices of one Service."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from httpx2 import AsyncClient, HTTPError, Response, Timeout
from lightkube.config.kubeconfig import SingleConfig

from cached.cluster.access import FAULTS, TIMEOUT, client, text
from cached.core.kubernetes import Unanswered
from cached.peers.membership.endpoints import Slice

log = logging.getLogger(__name__)

Kind = Literal["put", "removed", "bookmark"]

_KINDS: dict[str, Kind] = {"ADDED": "put", "MODIFIED": "put", "DELETED": "removed"}

SILENCE = 90.0
"""Seconds without any event before a watch is given up: bookmarks come every minute."""


class Expired(Exception):
    """The server cannot go on from the version that was given: list again."""


@dataclass(frozen=True, slots=True)
class Event:
    """`version` is where a watch goes on from after it. A bookmark says nothing but that."""

    kind: Kind
    version: str
    slice: Slice


class ApiServer:
    """A connection to it; a context manager, to be entered once.

    lightkube's own watch is not used: it asks for no bookmarks, waits for ever on a connection that died
    silently, asks again without a pause when the server ends a watch, and takes the null that the server
    writes for an empty list of endpoints for a fault.
    """

    def __init__(self, config: SingleConfig, namespace: str, service: str) -> None:
        self._config = config
        self._url = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._of_service = {"labelSelector": f"kubernetes.io/service-name={service}"}

    async def __aenter__(self) -> Self:
        """Reads certificates; connects later. Raises Unanswered when they are unreadable."""
        self._http: AsyncClient = client(self._config)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def list(self, *, newest: bool) -> tuple[str, list[Slice]]:
        """The version, and all slices: the newest, or as new as the server has at hand.

        The latter spares etcd, which matters when a thousand nodes boot. Raises Unanswered.
        """
        version = {} if newest else {"resourceVersion": "0"}
        try:
            response = await self._http.get(self._url, params={**self._of_service, **version})
            _check(response)
            listed = response.json()
            return listed["metadata"]["resourceVersion"], listed["items"] or []
        except FAULTS as error:
            raise Unanswered(text(error)) from None
        except (ValueError, TypeError, LookupError):
            raise Unanswered("the answer is no list of EndpointSlices") from None

    async def watch(self, version: str, seconds: int) -> AsyncGenerator[Event, None]:
        """What changes after `version`. The first event is a bookmark: the server has agreed.

        Ends when the server ends it, after `seconds` at the latest, and when the connection breaks; go on
        from the last version then. Raises Unanswered when it never began, and Expired. Close it after use.
        """
        asked = {
            **self._of_service,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        request = self._http.build_request(
            "GET", self._url, params=asked, timeout=Timeout(TIMEOUT, read=SILENCE)
        )
        try:
            response = await self._http.send(request, stream=True)
        except FAULTS as error:
            raise Unanswered(text(error)) from None
        try:
            _check(response)
            yield Event("bookmark", version, {})
            rest = b""
            async for some in response.aiter_bytes():
                *lines, rest = (rest + some).split(b"\n")
                for line in lines:
                    yield _event(line)
        except HTTPError as error:
            log.debug("a watch broke off", extra={"reason": text(error)})
        finally:
            await response.aclose()


def _check(response: Response) -> None:
    if response.status_code == 410:
        raise Expired
    if response.status_code in (401, 403):
        raise Unanswered(
            f"HTTP {response.status_code}: the service account needs get, list and watch"
            " on endpointslices.discovery.k8s.io in the namespace of the Service"
        )
    if response.status_code != 200:
        raise Unanswered(f"HTTP {response.status_code}")


def _event(line: bytes) -> Event:
    try:
        told = json.loads(line)
        kind, about = told["type"], told["object"]
        if kind != "ERROR":
            return Event(_KINDS.get(kind, "bookmark"), about["metadata"]["resourceVersion"], about)
        reason = f"{about.get('code')} {about.get('reason')}"
    except (ValueError, TypeError, LookupError, AttributeError):
        reason = "no event of a watch"
    log.debug("a watch was ended", extra={"reason": reason})
    raise Expired
