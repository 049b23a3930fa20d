"""What an operator asks of the daemon; cachectl stands on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1 import operator_pb2 as wire
from cached._proto.v1 import types_pb2 as types
from cached._proto.v1.operator_pb2_grpc import OperatorServiceStub
from cached.client.connection import Connection
from cached.client.grant import Grant, OnProgress, acquire_request, default_holder
from cached.client.visibility import check_visible
from cached.core.errors import CachedError


class OperatorClient:
    """The operators' socket, with the messages of the API as they are.

    All raise the errors of `cached.core.errors` as the daemon raised them, TimedOut and Unreachable;
    Denied on the pods' socket. timeout: seconds for the whole call. Closing an iterator ends its call.

    address: as for CacheClient, but the operators' socket is looked for first.
    wait: seconds that a call without a timeout waits for a daemon that is not up.
    """

    def __init__(self, address: str | None = None, *, wait: float = 0.0) -> None:
        self._connection = Connection(address, operator=True, wait=wait)

    def acquire(
        self,
        ref: str,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        holder: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Grant:
        """As CacheClient.acquire, for whoever does not stay: the lease is not renewed, outlives this client
        and ends after its ttl. Released here only when the path is not visible.
        """
        who = default_holder() if holder is None else holder
        grant = self._connection.acquire(acquire_request(ref, ttl, who), timeout, on_progress)
        try:
            check_visible(grant)
        except BaseException:
            with suppress(CachedError):  # it expires by itself
                self._connection.release(grant.lease.id)
            raise
        return grant

    def warm(
        self,
        refs: Sequence[str] = (),
        *,
        everything: bool = False,
        wait: bool = True,
        pull: bool = False,
        timeout: float | None = None,
    ) -> Iterator[wire.WarmResponse]:
        """Events of all models and images, mixed; one's failure is an event. With `pull` the node's container
        runtime unpacks the images, too."""
        request = wire.WarmRequest(refs=refs, all=everything, wait=wait, pull=pull)
        return self._connection.stream(lambda left: self._stub().Warm(request, timeout=left), timeout)

    def list(self, *, images: bool = False, timeout: float | None = None) -> Sequence[types.Artifact]:
        """All models of the catalog and on this node, or all images, by ref."""
        request = wire.ListRequest(images=images)
        return self._connection.call(lambda left: self._stub().List(request, timeout=left), timeout).artifacts

    def describe(self, ref: str, *, timeout: float | None = None) -> cache.DescribeResponse:
        """All about one model or image."""
        request = cache.DescribeRequest(ref=ref)
        return self._connection.call(
            lambda left: self._connection.cache().Describe(request, timeout=left), timeout
        )

    def evict(self, ref: str, *, timeout: float | None = None) -> int:
        """Bytes given back to the disk."""
        request = wire.EvictRequest(ref=ref)
        return self._connection.call(
            lambda left: self._stub().Evict(request, timeout=left), timeout
        ).freed_bytes

    def pin(self, ref: str, *, timeout: float | None = None) -> types.Artifact:
        """Keep a model or an image from eviction, here already or not."""
        request = wire.PinRequest(ref=ref)
        return self._connection.call(lambda left: self._stub().Pin(request, timeout=left), timeout).artifact

    def unpin(self, ref: str, *, timeout: float | None = None) -> types.Artifact:
        """Take the operator's pin away."""
        request = wire.UnpinRequest(ref=ref)
        return self._connection.call(lambda left: self._stub().Unpin(request, timeout=left), timeout).artifact

    def status(self, *, timeout: float | None = None) -> wire.StatusResponse:
        """The daemon's health, room, work and catalog."""
        request = wire.StatusRequest()
        return self._connection.call(lambda left: self._stub().Status(request, timeout=left), timeout)

    def verify(self, ref: str = "", *, timeout: float | None = None) -> Iterator[wire.VerifyResponse]:
        """Read one model or image, or with an empty ref the whole store, again; the last message says so."""
        request = wire.VerifyRequest(ref=ref)
        return self._connection.stream(lambda left: self._stub().Verify(request, timeout=left), timeout)

    def peers(self, *, timeout: float | None = None) -> wire.ListPeersResponse:
        """This node among the others; `address` is empty when it has no peers."""
        request = wire.ListPeersRequest()
        return self._connection.call(lambda left: self._stub().ListPeers(request, timeout=left), timeout)

    def readiness(self, *, timeout: float | None = None) -> wire.ReadinessResponse:
        """Whether what the catalog wants warm from the start is warm, and what is not."""
        request = wire.ReadinessRequest()
        return self._connection.call(lambda left: self._stub().Readiness(request, timeout=left), timeout)

    def check_sources(self, *, timeout: float | None = None) -> Sequence[wire.SourceCheck]:
        """What each source of the catalog says to being asked now."""
        request = wire.CheckSourcesRequest()
        return self._connection.call(
            lambda left: self._stub().CheckSources(request, timeout=left), timeout
        ).sources

    def serving(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether the daemon says SERVING; NotFound for a service that it does not have."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # only health needs it: 5 ms of start

        request = health_pb2.HealthCheckRequest(service=service)
        answer = self._connection.call(
            lambda left: health_pb2_grpc.HealthStub(self._connection.channel()).Check(request, timeout=left),
            timeout,
        )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """End the calls under way."""
        self._connection.close()

    def _stub(self) -> OperatorServiceStub:
        return OperatorServiceStub(self._connection.channel())

    def __enter__(self) -> OperatorClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
