"""A daemon's two services on a real unix socket, scripted: what a call answers depends on the ref."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cached._proto.v1 import cache_pb2, cache_pb2_grpc, operator_pb2, operator_pb2_grpc, types_pb2

TREE = "sha256:" + "ab" * 32
MIB = 1 << 20
IMAGE = "oci://registry.example:5000/nim/llama:1.8"
CODES = {
    "InvalidRequest": grpc.StatusCode.INVALID_ARGUMENT,
    "NotFound": grpc.StatusCode.NOT_FOUND,
    "Denied": grpc.StatusCode.PERMISSION_DENIED,
    "InUse": grpc.StatusCode.FAILED_PRECONDITION,
    "TooLarge": grpc.StatusCode.FAILED_PRECONDITION,
    "NoSpace": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "SourceUnavailable": grpc.StatusCode.UNAVAILABLE,
    "Draining": grpc.StatusCode.UNAVAILABLE,
    "Corrupt": grpc.StatusCode.DATA_LOSS,
    "DiskFault": grpc.StatusCode.INTERNAL,
}


def detail(reason: str, ref: str) -> types_pb2.ErrorDetail:
    return types_pb2.ErrorDetail(
        reason=reason, message=f"{ref}: {reason} happened", hint=f"do something about {reason}"
    )


def refuse(context: grpc.ServicerContext, reason: str, ref: str) -> NoReturn:
    """Abort as the daemon does."""
    told = detail(reason, ref)
    context.set_trailing_metadata((("cached-error-bin", told.SerializeToString()),))
    context.abort(CODES[reason], told.message)
    raise AssertionError("abort raises")


def progress(done: int, total: int, **more: Any) -> types_pb2.Progress:
    return types_pb2.Progress(
        done_bytes=done,
        total_bytes=total,
        source_bytes=done,
        bytes_per_second=120 * MIB,
        eta=Duration(seconds=3),
        **more,
    )


class Node:
    """What the services answer from, and what they were asked.

    `lost` makes renewals fail as for a lease that has expired, `refused` all new ones, with that reason.

    Refs: `minilm` is warm; `cold` arrives in steps; `slow` never ends; `hidden` lies where nobody sees
    it; `stale` is the revision last known; `fail-REASON` fails so; any other is not found.
    The image IMAGE arrives in steps, all others are here.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "run" / "operator" / "cached.sock"
        self.model = directory / "trees" / "minilm"
        self.model.mkdir(parents=True)
        (self.model / "config.json").write_text("{}")
        self.ttl = 600.0
        self.step = 0.0
        self.steps = 4
        self.acquired: list[cache_pb2.AcquireRequest] = []
        self.warmed: list[operator_pb2.WarmRequest] = []
        self.renewed: list[str] = []
        self.released: list[str] = []
        self.evicted: list[str] = []
        self.pinned: list[str] = []
        self.left = threading.Event()
        self.waiting = threading.Event()
        self.lost = False
        self.refused = ""
        self.corrupt: list[operator_pb2.CorruptBlob] = []
        self.swarm: cache_pb2.Swarm | None = None
        self.peers = operator_pb2.ListPeersResponse()
        self.readiness = [operator_pb2.ReadinessResponse(ready=True, serving=True, wanted_count=2)]
        self.health = health.HealthServicer()

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def __enter__(self) -> Node:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self._server = server = grpc.server(futures.ThreadPoolExecutor(16))
        cache_pb2_grpc.add_CacheServiceServicer_to_server(_Cache(self), server)
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(_Operator(self), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        self.serve(health_pb2.HealthCheckResponse.SERVING)
        server.add_insecure_port(self.address)
        server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def serve(self, status: int) -> None:
        self.health.set("", status)

    def lease(self, ref: str) -> cache_pb2.Lease:
        until = Timestamp()
        until.FromNanoseconds(int((time.time() + self.ttl) * 1e9))
        ttl = Duration()
        ttl.FromNanoseconds(int(self.ttl * 1e9))
        return cache_pb2.Lease(id=f"lease-of-{ref}", expire_time=until, ttl=ttl)

    def artifact(self, ref: str, **more: Any) -> types_pb2.Artifact:
        facts: dict[str, Any] = {
            "ref": ref,
            "source": f"s3://models/{ref}",
            "state": types_pb2.ARTIFACT_STATE_WARM,
            "tree": TREE,
            "path": str(self.model),
            "size_bytes": 90_868_376,
            "file_count": 7,
            "in_catalog": True,
            "last_use_time": Timestamp(seconds=int(time.time()) - 190),
        }
        return types_pb2.Artifact(**(facts | more))

    def fetch(self, ref: str, context: grpc.ServicerContext) -> Iterator[types_pb2.Progress]:
        """Progress until all is here; for `slow` until the caller leaves."""
        total = self.steps * 25 * MIB
        for step in range(self.steps + 1):
            yield progress(step * 25 * MIB, total)
            time.sleep(self.step)
        if ref == "slow":
            self.waiting.set()
            context.add_callback(self.left.set)
            while context.is_active():
                time.sleep(0.02)


def _check(ref: str, context: grpc.ServicerContext) -> None:
    if ref.startswith("fail-"):
        refuse(context, ref.removeprefix("fail-"), ref)
    if ref not in ("minilm", "cold", "slow", "hidden", "stale", IMAGE):
        refuse(context, "NotFound", ref)


def _resolved(ref: str, size: int) -> types_pb2.Resolved:
    return types_pb2.Resolved(ref=ref, tree=TREE, size_bytes=size, file_count=7)


class _Cache(cache_pb2_grpc.CacheServiceServicer):
    def __init__(self, node: Node) -> None:
        self.node = node

    def Acquire(
        self, request: cache_pb2.AcquireRequest, context: grpc.ServicerContext
    ) -> Iterator[cache_pb2.AcquireResponse]:
        node = self.node
        node.acquired.append(request)
        ref = request.ref
        if node.refused:
            refuse(context, node.refused, ref)
        _check(ref, context)
        if ref in ("cold", "slow"):
            yield cache_pb2.AcquireResponse(resolved=_resolved(ref, node.steps * 25 * MIB))
            for step in node.fetch(ref, context):
                yield cache_pb2.AcquireResponse(progress=step)
        yield cache_pb2.AcquireResponse(
            ready=cache_pb2.Ready(
                path="/nowhere/to/be/seen" if ref == "hidden" else str(node.model),
                tree=TREE,
                lease=node.lease(ref),
                size_bytes=90_868_376,
                file_count=7,
                stale=ref == "stale",
                sample_file="config.json",
            )
        )

    def Renew(
        self, request: cache_pb2.RenewRequest, context: grpc.ServicerContext
    ) -> cache_pb2.RenewResponse:
        if self.node.lost:
            refuse(context, "NotFound", request.lease_id)
        self.node.renewed.append(request.lease_id)
        return cache_pb2.RenewResponse(lease=self.node.lease(request.lease_id.removeprefix("lease-of-")))

    def Release(
        self, request: cache_pb2.ReleaseRequest, context: grpc.ServicerContext
    ) -> cache_pb2.ReleaseResponse:
        self.node.released.append(request.lease_id)
        return cache_pb2.ReleaseResponse()

    def Describe(
        self, request: cache_pb2.DescribeRequest, context: grpc.ServicerContext
    ) -> cache_pb2.DescribeResponse:
        _check(request.ref, context)
        return cache_pb2.DescribeResponse(
            artifact=self.node.artifact(request.ref, lease_count=1),
            files=[cache_pb2.File(path="config.json", size_bytes=612, blob=TREE, present=True)],
            leases=[
                cache_pb2.LeaseInfo(
                    holder="pod/\x1b[31mevil", expire_time=Timestamp(seconds=int(time.time()) + 305)
                )
            ],
            exclude=["*.bin"],
            swarm=self.node.swarm,
        )


class _Operator(operator_pb2_grpc.OperatorServiceServicer):
    def __init__(self, node: Node) -> None:
        self.node = node

    def Warm(
        self, request: operator_pb2.WarmRequest, context: grpc.ServicerContext
    ) -> Iterator[operator_pb2.WarmResponse]:
        node, Response = self.node, operator_pb2.WarmResponse
        node.warmed.append(request)
        refs = ["minilm", "cold"] if request.all else list(request.refs)
        for ref in refs:
            yield Response(ref=ref, accepted=Response.Accepted())
        if not request.wait:
            return
        for ref in refs:
            if ref.startswith("fail-"):
                yield Response(ref=ref, failed=detail(ref.removeprefix("fail-"), ref))
                continue
            fetched = 0
            if ref in ("cold", "slow", IMAGE):
                yield Response(ref=ref, resolved=_resolved(ref, node.steps * 25 * MIB))
                for step in node.fetch(ref, context):
                    fetched = step.done_bytes
                    yield Response(ref=ref, progress=step)
            here = ref.startswith("oci://") and not fetched
            if ref.startswith("oci://") and request.pull:
                yield Response(ref=ref, unpacking=Response.Unpacking())
                time.sleep(node.step)
            path = "" if here else str(node.model)
            warmed = Response.Warmed(path=path, tree=TREE, size_bytes=90_868_376, fetched_bytes=fetched)
            yield Response(ref=ref, warmed=warmed)

    def List(
        self, request: operator_pb2.ListRequest, context: grpc.ServicerContext
    ) -> operator_pb2.ListResponse:
        node = self.node
        if request.images:
            return operator_pb2.ListResponse(
                artifacts=[
                    node.artifact("oci://docker.io/library/redis:7", pinned=True, in_runtime=True),
                    types_pb2.Artifact(
                        ref="oci://quay.io/a/b:1?platform=linux/arm64",
                        state=types_pb2.ARTIFACT_STATE_FAILED,
                        last_error="quay.io does not\nanswer",
                    ),
                    types_pb2.Artifact(ref=IMAGE, state=types_pb2.ARTIFACT_STATE_COLD, in_catalog=True),
                ]
            )
        return operator_pb2.ListResponse(
            artifacts=[
                types_pb2.Artifact(ref="big", state=types_pb2.ARTIFACT_STATE_COLD, in_catalog=True),
                node.artifact(
                    "cold", state=types_pb2.ARTIFACT_STATE_FETCHING, progress=progress(50 * MIB, 100 * MIB)
                ),
                node.artifact("minilm", pinned=True, lease_count=2),
            ]
        )

    def Evict(
        self, request: operator_pb2.EvictRequest, context: grpc.ServicerContext
    ) -> operator_pb2.EvictResponse:
        _check(request.ref, context)
        self.node.evicted.append(request.ref)
        return operator_pb2.EvictResponse(freed_bytes=90_868_376)

    def Pin(
        self, request: operator_pb2.PinRequest, context: grpc.ServicerContext
    ) -> operator_pb2.PinResponse:
        _check(request.ref, context)
        self.node.pinned.append(request.ref)
        return operator_pb2.PinResponse(artifact=self.node.artifact(request.ref, pinned=True))

    def Unpin(
        self, request: operator_pb2.UnpinRequest, context: grpc.ServicerContext
    ) -> operator_pb2.UnpinResponse:
        _check(request.ref, context)
        self.node.pinned.remove(request.ref)
        return operator_pb2.UnpinResponse(artifact=self.node.artifact(request.ref))

    def Status(
        self, request: operator_pb2.StatusRequest, context: grpc.ServicerContext
    ) -> operator_pb2.StatusResponse:
        return operator_pb2.StatusResponse(
            version="0.1.0",
            start_time=Timestamp(seconds=int(time.time()) - 7500),
            root="/var/lib/cached",
            space=operator_pb2.Space(
                capacity_bytes=100 << 30,
                used_bytes=12 << 30,
                held_bytes=3 << 30,
                reserved_bytes=1 << 30,
                filesystem_free_bytes=200 << 30,
                min_free_bytes=10 << 30,
            ),
            flight_count=1,
            lease_count=2,
            blob_count=12,
            tree_count=2,
            catalog=operator_pb2.CatalogStatus(
                path="/etc/cached/catalog.yaml", model_count=3, error="models.x.source: field required"
            ),
            scrub=operator_pb2.ScrubStatus(blob_count=12),
            warnings=["the filesystem is nearly full"],
        )

    def Readiness(
        self, request: operator_pb2.ReadinessRequest, context: grpc.ServicerContext
    ) -> operator_pb2.ReadinessResponse:
        """One after the other; the last for ever."""
        answers = self.node.readiness
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def CheckSources(
        self, request: operator_pb2.CheckSourcesRequest, context: grpc.ServicerContext
    ) -> operator_pb2.CheckSourcesResponse:
        return operator_pb2.CheckSourcesResponse()

    def ListPeers(
        self, request: operator_pb2.ListPeersRequest, context: grpc.ServicerContext
    ) -> operator_pb2.ListPeersResponse:
        return self.node.peers

    def Verify(
        self, request: operator_pb2.VerifyRequest, context: grpc.ServicerContext
    ) -> Iterator[operator_pb2.VerifyResponse]:
        if request.ref:
            _check(request.ref, context)
        yield operator_pb2.VerifyResponse(done_bytes=0, total_bytes=100 * MIB)
        time.sleep(self.node.step)
        yield operator_pb2.VerifyResponse(
            done_bytes=50 * MIB, total_bytes=100 * MIB, corrupt=self.node.corrupt[:1]
        )
        yield operator_pb2.VerifyResponse(
            done_bytes=100 * MIB, total_bytes=100 * MIB, corrupt=self.node.corrupt[1:], finished=True
        )
