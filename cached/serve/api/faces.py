"""The methods of the two services: check, delegate, convert."""

from __future__ import annotations

from contextlib import aclosing

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1 import operator_pb2 as operator
from cached.serve.api import convert
from cached.serve.api.checks import checked_holder, checked_lease_id, checked_refs, checked_ttl
from cached.serve.api.port import Engine
from cached.serve.rpc.guard import Context


class CacheFace:
    """`CacheService`.

    Streams are written, not yielded: so a cancellation arrives inside the handler, which leaves the
    engine at once and not when the collector finds out. Only operators are told where a model comes from,
    and who else has it.
    """

    def __init__(self, engine: Engine, *, for_operators: bool) -> None:
        self._engine = engine
        self._for_operators = for_operators

    async def Acquire(self, request: cache.AcquireRequest, context: Context) -> None:
        ttl, holder = checked_ttl(request), checked_holder(request.holder)
        async with aclosing(self._engine.acquire(request.ref, ttl=ttl, holder=holder)) as events:
            async for event in events:
                await context.write(convert.acquire_response(event))

    async def Renew(self, request: cache.RenewRequest, context: Context) -> cache.RenewResponse:
        lease = await self._engine.renew(checked_lease_id(request), checked_ttl(request))
        return cache.RenewResponse(lease=convert.lease(lease))

    async def Release(self, request: cache.ReleaseRequest, context: Context) -> cache.ReleaseResponse:
        await self._engine.release(checked_lease_id(request))
        return cache.ReleaseResponse()

    async def Describe(self, request: cache.DescribeRequest, context: Context) -> cache.DescribeResponse:
        view = await self._engine.describe(request.ref)
        return convert.describe_response(view, for_operators=self._for_operators)


class OperatorFace:
    """`OperatorService`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Warm(self, request: operator.WarmRequest, context: Context) -> None:
        refs = checked_refs(request)
        work = self._engine.warm(refs, everything=request.all, wait=request.wait, pull=request.pull)
        async with aclosing(work) as events:
            async for ref, event in events:
                await context.write(convert.warm_response(ref, event))

    async def List(self, request: operator.ListRequest, context: Context) -> operator.ListResponse:
        found = sorted(await self._engine.list(images=request.images), key=lambda view: view.ref)
        return operator.ListResponse(artifacts=[convert.artifact(view, show_source=True) for view in found])

    async def Evict(self, request: operator.EvictRequest, context: Context) -> operator.EvictResponse:
        return operator.EvictResponse(freed_bytes=await self._engine.evict(request.ref))

    async def Pin(self, request: operator.PinRequest, context: Context) -> operator.PinResponse:
        view = await self._engine.pin(request.ref)
        return operator.PinResponse(artifact=convert.artifact(view, show_source=True))

    async def Unpin(self, request: operator.UnpinRequest, context: Context) -> operator.UnpinResponse:
        view = await self._engine.unpin(request.ref)
        return operator.UnpinResponse(artifact=convert.artifact(view, show_source=True))

    async def Status(self, request: operator.StatusRequest, context: Context) -> operator.StatusResponse:
        return convert.status_response(await self._engine.status())

    async def Verify(self, request: operator.VerifyRequest, context: Context) -> None:
        async with aclosing(self._engine.verify(request.ref)) as events:
            async for event in events:
                await context.write(convert.verify_response(event))

    async def ListPeers(
        self, request: operator.ListPeersRequest, context: Context
    ) -> operator.ListPeersResponse:
        return convert.list_peers_response(self._engine.peers())

    async def CheckSources(
        self, request: operator.CheckSourcesRequest, context: Context
    ) -> operator.CheckSourcesResponse:
        return convert.check_sources_response(await self._engine.check_sources())

    async def Readiness(
        self, request: operator.ReadinessRequest, context: Context
    ) -> operator.ReadinessResponse:
        return convert.readiness_response(self._engine.readiness())
