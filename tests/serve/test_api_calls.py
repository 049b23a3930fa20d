"""Each method, event and view of the API, over the wire and back."""

from __future__ import annotations

import asyncio
import os

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1 import operator_pb2 as operator
from cached._proto.v1 import types_pb2 as types
from cached.engine.views import ArtifactView, GateState, GateView, ReadinessView, State, SwarmView
from cached.serve.api.server import CACHE, OPERATOR
from tests.serve.conftest import Api
from tests.serve.fake_engine import HALFWAY, IMAGE, MIB, RESOLVED, SAMPLE

pytestmark = pytest.mark.usefixtures("api")


async def test_a_cold_acquire_tells_resolved_progress_and_ready(api: Api) -> None:
    api.engine.steps["minilm"] = [RESOLVED, HALFWAY]
    request = cache.AcquireRequest(ref="minilm", ttl=Duration(seconds=90, nanos=500_000_000), holder="pod-a")
    resolved, progress, ready = [event async for event in api.pod.Acquire(request)]
    assert resolved.resolved == types.Resolved(
        ref="minilm",
        tree=RESOLVED.tree,
        size_bytes=90 * MIB,
        file_count=3,
        present_bytes=10 * MIB,
        stale=True,
    )
    assert progress.progress == types.Progress(
        total_bytes=90 * MIB,
        done_bytes=50 * MIB,
        found_bytes=10 * MIB,
        source_bytes=30 * MIB,
        peer_bytes=10 * MIB,
        bytes_per_second=1e8,
        eta=Duration(nanos=400_000_000),
    )
    said = ready.ready
    assert (said.size_bytes, said.file_count, said.stale, said.sample_file) == (90 * MIB, 3, False, SAMPLE)
    assert said.tree == RESOLVED.tree
    assert os.listdir(said.path) == [SAMPLE]
    held = api.engine.leases[said.lease.id]
    assert said.lease.ttl == Duration(seconds=90, nanos=500_000_000)
    assert said.lease.expire_time.seconds + said.lease.expire_time.nanos / 1e9 == pytest.approx(
        held.expires_at
    )
    assert api.engine.asked == [("minilm", 90.5, "pod-a")]


async def test_a_warm_acquire_is_one_message(api: Api) -> None:
    events = [event async for event in api.pod.Acquire(cache.AcquireRequest(ref="minilm"))]
    assert [event.WhichOneof("event") for event in events] == ["ready"]
    assert api.engine.asked == [("minilm", None, "")]


async def test_renew_and_release(api: Api) -> None:
    [event] = [event async for event in api.pod.Acquire(cache.AcquireRequest(ref="minilm"))]
    lease = event.ready.lease.id
    renewed = await api.pod.Renew(cache.RenewRequest(lease_id=lease, ttl=Duration(seconds=30)))
    assert (renewed.lease.id, renewed.lease.ttl) == (lease, Duration(seconds=30))
    again = await api.pod.Renew(cache.RenewRequest(lease_id=lease))
    assert again.lease.ttl == Duration(seconds=30)
    await api.pod.Release(cache.ReleaseRequest(lease_id=lease))
    assert api.engine.leases == {}
    await api.pod.Release(cache.ReleaseRequest(lease_id=lease))


async def test_describe_tells_all_but_lease_ids(api: Api) -> None:
    told = await api.cache.Describe(cache.DescribeRequest(ref="minilm"))
    assert told.artifact.source == "s3://models/minilm/"
    assert told.artifact.state == types.ARTIFACT_STATE_FETCHING
    assert told.artifact.progress.done_bytes == 50 * MIB
    assert (told.artifact.last_use_time.seconds, told.artifact.last_use_time.nanos) == (
        1_800_000_000,
        750_000_000,
    )
    assert told.artifact.last_error == "the source was down"
    assert [(file.path, file.size_bytes, file.present) for file in told.files] == [
        (SAMPLE, 2, True),
        ("model.safetensors", 7, False),
    ]
    assert [held.holder for held in told.leases] == ["pod-a", "pod-b"]
    assert (list(told.include), list(told.exclude)) == (["*.safetensors"], ["*.bin"])
    assert b"secret" not in told.SerializeToString()


async def test_pods_are_told_neither_the_source_nor_the_swarm(api: Api) -> None:
    told = await api.pod.Describe(cache.DescribeRequest(ref="minilm"))
    assert told.artifact.source == ""
    assert not told.HasField("swarm")
    assert b"10.0.0." not in told.SerializeToString()
    assert told.artifact.ref == "minilm"


async def test_operators_are_told_the_swarm(api: Api) -> None:
    told = (await api.cache.Describe(cache.DescribeRequest(ref="minilm"))).swarm
    assert told == cache.Swarm(
        coordinator="10.0.0.1:7400",
        chunk_count=12,
        have_count=7,
        neighbours=[
            cache.SwarmNeighbour(member="10.0.0.2:7400", have_count=12),
            cache.SwarmNeighbour(member="10.0.0.3:7400", have_count=2),
        ],
        totals=cache.SwarmTotals(
            member_count=4,
            complete_count=1,
            held_count=11,
            granted_count=3,
            read_count=8,
            holders=["10.0.0.2:7400"],
        ),
    )


async def test_totals_are_told_only_when_the_coordinator_said_them(api: Api) -> None:
    api.engine.swarm = SwarmView(coordinator="", chunks=12, have=0, neighbours=())
    told = await api.cache.Describe(cache.DescribeRequest(ref="minilm"))
    assert told.swarm == cache.Swarm(chunk_count=12)
    assert not told.swarm.HasField("totals")
    api.engine.swarm = None
    assert not (await api.cache.Describe(cache.DescribeRequest(ref="minilm"))).HasField("swarm")


async def test_sources_are_told_by_uri_with_what_they_refuse(api: Api) -> None:
    told = await api.operator.CheckSources(operator.CheckSourcesRequest())
    big, tiny = told.sources
    assert (big.source, list(big.refs), big.error.reason) == ("s3://models/big", ["big"], "Denied")
    assert (big.error.message, big.error.hint) == ("S3 does not let this node read it", "grant it")
    assert (tiny.source, list(tiny.refs)) == ("s3://models/tiny", ["tiny", "tiny@v1"])
    assert not tiny.HasField("error")


async def test_peers_are_told_by_address(api: Api) -> None:
    told = await api.operator.ListPeers(operator.ListPeersRequest())
    fine, banned, aside = told.peers
    del told.peers[:]
    assert told == operator.ListPeersResponse(
        address="10.0.0.1:7400",
        data_address="10.0.0.1:7401",
        zone="a",
        encrypted=True,
        membership="dns nodes.cached.svc",
    )
    assert fine == operator.Peer(
        address="10.0.0.2:7400",
        zone="a",
        state=operator.PEER_STATE_OK,
        received_bytes=90 * MIB,
        sent_bytes=10 * MIB,
    )
    assert banned == operator.Peer(
        address="10.0.0.3:7400",
        zone="b",
        state=operator.PEER_STATE_BANNED,
        usable_in=Duration(seconds=58, nanos=500_000_000),
        received_bytes=4096,
        failure_count=2,
    )
    assert (aside.state, aside.usable_in) == (operator.PEER_STATE_ASIDE, Duration(nanos=250_000_000))


async def test_warm_tells_each_event_of_each_model(api: Api) -> None:
    request = operator.WarmRequest(refs=["minilm", "nix"], wait=True)
    events = [event async for event in api.operator.Warm(request)]
    assert [(event.ref, event.WhichOneof("event")) for event in events] == [
        ("minilm", "accepted"),
        ("nix", "accepted"),
        ("minilm", "resolved"),
        ("minilm", "progress"),
        ("minilm", "warmed"),
        ("nix", "failed"),
    ]
    assert (events[4].warmed.path, events[4].warmed.fetched_bytes) == ("/trees/a", 80 * MIB)
    assert (events[5].failed.reason, events[5].failed.hint) == ("NotFound", "cachectl ls shows what is")


async def test_warm_of_an_image_that_the_runtime_unpacks(api: Api) -> None:
    request = operator.WarmRequest(refs=[IMAGE], wait=True, pull=True)
    *_, unpacking, warmed = [event async for event in api.operator.Warm(request)]
    assert (unpacking.ref, unpacking.WhichOneof("event")) == (IMAGE, "unpacking")
    assert (warmed.warmed.path, warmed.warmed.size_bytes) == ("", 90 * MIB)


async def test_images_are_listed_when_asked_for(api: Api) -> None:
    (image,) = (await api.operator.List(operator.ListRequest(images=True))).artifacts
    assert (image.ref, image.in_runtime) == (IMAGE, True)


async def test_list_is_sorted_and_leaves_unknown_fields_unset(api: Api) -> None:
    told = (await api.operator.List(operator.ListRequest())).artifacts
    assert [artifact.ref for artifact in told] == ["minilm", "zephyr"]
    assert told[1] == types.Artifact(ref="zephyr", state=types.ARTIFACT_STATE_COLD)


async def test_evict_pin_and_unpin(api: Api) -> None:
    assert (await api.operator.Evict(operator.EvictRequest(ref="minilm"))).freed_bytes == 123
    assert (await api.operator.Pin(operator.PinRequest(ref="minilm"))).artifact.pinned
    assert not (await api.operator.Unpin(operator.UnpinRequest(ref="minilm"))).artifact.pinned


async def test_status(api: Api) -> None:
    told = await api.operator.Status(operator.StatusRequest())
    assert (told.version, told.root, told.draining) == ("0.1.0", "/var/cache/cached", False)
    assert (told.start_time.seconds, told.start_time.nanos) == (1_800_000_000, 250_000_000)
    assert told.space == operator.Space(
        capacity_bytes=1000,
        used_bytes=600,
        reserved_bytes=50,
        held_bytes=300,
        filesystem_free_bytes=5000,
        min_free_bytes=100,
    )
    assert (told.flight_count, told.lease_count, told.blob_count, told.tree_count) == (2, 3, 40, 5)
    assert (told.catalog.model_count, told.catalog.error) == (7, "line 3: unknown key 'sorce'")
    assert (told.scrub.blob_count, told.scrub.corrupt_count) == (39, 1)
    assert not told.scrub.HasField("last_round_time")
    assert list(told.warnings) == ["the scrub found 1 corrupt blob"]


async def test_a_node_that_is_ready(api: Api) -> None:
    told = await api.operator.Readiness(operator.ReadinessRequest())
    assert told == operator.ReadinessResponse(ready=True, serving=True, wanted_count=2)


async def test_a_node_that_lacks_models(api: Api) -> None:
    missing = (ArtifactView("zephyr", "", State.COLD), api.engine.artifact("minilm"))
    gate = GateView("node-1", GateState.CLOSED, 90.5, "HTTP 403")
    api.engine.ready_view = ReadinessView(True, 3, missing, gate)
    told = await api.operator.Readiness(operator.ReadinessRequest())
    assert (told.ready, told.serving, told.wanted_count) == (False, True, 3)
    assert [each.ref for each in told.missing] == ["minilm", "zephyr"]
    assert told.missing[0].progress.done_bytes == 50 * MIB
    assert told.gate == operator.Gate(
        node="node-1",
        state=operator.GATE_STATE_CLOSED,
        opens_in=Duration(seconds=90, nanos=500_000_000),
        trouble="HTTP 403",
    )


@pytest.mark.parametrize(
    ("view", "wanted"), [(ReadinessView(True, None), False), (ReadinessView(False, 0), True)]
)
async def test_a_node_that_knows_no_catalog_or_does_not_serve(
    api: Api, view: ReadinessView, wanted: bool
) -> None:
    api.engine.ready_view = view
    told = await api.operator.Readiness(operator.ReadinessRequest())
    assert (told.ready, told.HasField("wanted_count"), told.serving) == (False, wanted, view.serving)


@pytest.mark.parametrize("state", GateState)
async def test_every_state_of_a_gate_is_told(api: Api, state: GateState) -> None:
    api.engine.ready_view = ReadinessView(True, 0, gate=GateView("node-1", state, None, ""))
    told = (await api.operator.Readiness(operator.ReadinessRequest())).gate
    assert operator.GateState.Name(told.state).removeprefix("GATE_STATE_") == state.name
    assert not told.HasField("opens_in")


async def test_verify_of_the_whole_store(api: Api) -> None:
    first, last = [event async for event in api.operator.Verify(operator.VerifyRequest())]
    assert (first.done_bytes, first.total_bytes, first.finished) == (4, 9, False)
    assert last.finished
    assert list(last.corrupt[0].refs) == ["minilm", "llama"]


async def test_pods_can_neither_evict_nor_pin(api: Api) -> None:
    for method in OPERATOR.methods:
        call = api.pods_channel.unary_unary(f"/{OPERATOR.full_name}/{method.name}", None, None)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, method.name


async def test_every_call_is_counted_once_by_method_and_code(api: Api) -> None:
    async for _ in api.pod.Acquire(cache.AcquireRequest(ref="minilm")):
        pass
    await api.operator.Status(operator.StatusRequest())
    with pytest.raises(grpc.aio.AioRpcError):
        await api.operator.Evict(operator.EvictRequest(ref="held"))
    await api.operators_channel.unary_unary("/grpc.health.v1.Health/Check", None, None)(b"")
    [metric] = [m for m in api.metrics.registry.collect() if m.name == "cached_rpcs"]
    methods = {sample.labels["method"] for sample in metric.samples}
    assert methods == {method.name for service in (CACHE, OPERATOR) for method in service.methods}
    assert api.count("Acquire", "OK") == api.count("Status", "OK") == 1
    assert (api.count("Evict", "OK"), api.count("Evict", "FAILED_PRECONDITION")) == (0, 1)


async def test_a_thousand_callers_at_once(api: Api) -> None:
    landed = asyncio.Event()
    api.engine.steps["cold"] = [RESOLVED, landed]

    async def acquire() -> str:
        async for event in api.pod.Acquire(cache.AcquireRequest(ref="cold")):
            if event.HasField("ready"):
                return event.ready.path
        raise AssertionError("no ready")

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(acquire()) for _ in range(1000)]
        await api.engine.callers("cold", 1000)
        await api.operator.Status(operator.StatusRequest(), timeout=5)
        landed.set()
    assert len({caller.result() for caller in callers}) == 1
    assert len(api.engine.leases) == 1000
    assert api.engine.present["cold"] == 0


async def test_a_caller_that_goes_away_leaves_alone(api: Api) -> None:
    landed = asyncio.Event()
    api.engine.steps["cold"] = [RESOLVED, landed]
    goes, stays = (api.pod.Acquire(cache.AcquireRequest(ref="cold")) for _ in range(2))
    for call in (goes, stays):
        assert (await anext(aiter(call))).HasField("resolved")
    assert api.engine.present["cold"] == 2
    goes.cancel()
    await api.engine.callers("cold", 1)
    landed.set()
    assert (await anext(aiter(stays))).HasField("ready")
    assert await stays.code() is grpc.StatusCode.OK
    assert (api.count("Acquire", "CANCELLED"), api.count("Acquire", "OK")) == (1, 1)


async def test_a_deadline_ends_the_callers_part_only(api: Api) -> None:
    api.engine.steps["cold"] = [asyncio.Event()]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in api.pod.Acquire(cache.AcquireRequest(ref="cold"), timeout=0.1):
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await api.engine.callers("cold", 0)
