"""Sockets, health, reflection and stopping."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1.cache_pb2_grpc import CacheServiceStub
from cached.core.errors import Busy, CachedError, NotConfigured
from cached.serve.api import ApiServer, Listen
from cached.telemetry.metrics import Metrics
from tests.serve.conftest import Api
from tests.serve.fake_engine import RESOLVED, FakeEngine

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def server(run: Path, pods: Path | None = None, socket_mode: int = 0o600) -> ApiServer:
    return ApiServer(
        FakeEngine(run / "trees"),
        Metrics(),
        pods=Listen(pods or run / "pods/cached.sock", socket_mode=socket_mode, directory_mode=0o755),
        operators=Listen(run / "operator/cached.sock"),
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def acquire(path: Path) -> str:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        [event] = [e async for e in CacheServiceStub(channel).Acquire(cache.AcquireRequest(ref="minilm"))]
        return event.ready.path


async def test_rights_of_sockets_and_their_directories(run: Path) -> None:
    loose = os.umask(0)
    try:
        api = server(run, socket_mode=0o666)
        await api.start()
    finally:
        os.umask(loose)
    assert mode(run / "pods") == 0o755
    assert mode(run / "pods/cached.sock") == 0o666
    assert mode(run / "operator") == 0o700
    assert mode(run / "operator/cached.sock") == 0o600
    assert os.listdir(run / "pods") == os.listdir(run / "operator") == ["cached.sock"]
    await api.stop(0)
    assert os.listdir(run / "pods") == os.listdir(run / "operator") == []


async def test_a_socket_never_stands_with_looser_rights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bound is chmodded where nobody else can reach it, and only then renamed."""
    seen = []
    rename = os.rename

    def watched(old: Path, new: Path) -> None:
        seen.append((mode(old), mode(old.parent), new.exists()))
        rename(old, new)

    monkeypatch.setattr(os, "rename", watched)
    api = server(run)
    await api.start()
    await api.stop(0)
    assert seen == [(0o600, 0o700, False)] * 2


async def test_a_stale_socket_is_replaced(run: Path) -> None:
    (run / "pods").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run / "pods/cached.sock"))
    api = server(run)
    await api.start()
    assert await acquire(run / "pods/cached.sock")
    await api.stop(0)


async def test_a_living_daemons_socket_is_left_to_it(run: Path) -> None:
    first = server(run)
    await first.start()
    with pytest.raises(Busy, match=r"another daemon listens at .*pods/cached\.sock"):
        await server(run).start()
    assert await acquire(run / "pods/cached.sock")
    assert os.listdir(run / "pods") == ["cached.sock"]
    await first.stop(0)


async def test_a_daemon_that_closes_late_leaves_its_successors_socket(run: Path) -> None:
    old = server(run)
    await old.start()
    for door in ("pods", "operator"):
        (run / door / "cached.sock").unlink()
    new = server(run)
    await new.start()
    await old.stop(0)
    assert await acquire(run / "pods/cached.sock")
    await new.stop(0)


async def test_a_file_that_is_no_socket_is_left_alone(run: Path) -> None:
    path = run / "precious"
    path.write_text("data")
    with pytest.raises(NotConfigured, match="precious is there and is no socket"):
        await server(run, path).start()
    assert path.read_text() == "data"


@pytest.mark.parametrize("length", [99, 108, 300])
async def test_a_path_too_long_is_named(run: Path, length: int) -> None:
    """108 is too long for the kernel; at 99, the name in the private directory would be."""
    base = run / "d"
    name = "s" if length == 99 else "cached.sock"
    path = base / ("x" * (length + 7 - len(str(base)) - len(name) - 2)) / name
    with pytest.raises(NotConfigured) as caught:
        await server(run, path).start()
    assert str(path) in str(caught.value)
    assert "sockets.directory" in caught.value.hint


async def test_one_socket_that_fails_leaves_no_other_behind(run: Path) -> None:
    (run / "operator").write_text("in the way")
    with pytest.raises(CachedError, match="operator"):
        await server(run).start()
    assert os.listdir(run / "pods") == []


async def test_a_path_with_odd_characters(run: Path) -> None:
    path = run / "a b%20?#é" / "cached.sock"
    api = server(run, path)
    await api.start()
    assert stat.S_ISSOCK(path.stat().st_mode)
    await api.stop(0)


async def check(channel: grpc.aio.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int((await health_pb2_grpc.HealthStub(channel).Check(request)).status)


async def test_health_of_each_service_at_each_door(api: Api) -> None:
    both = ["", "cached.v1.CacheService", "cached.v1.OperatorService"]
    for wanted, serving in ((SERVING, True), (NOT_SERVING, False), (SERVING, True)):
        await api.server.set_serving(serving)
        assert {await check(api.operators_channel, name) for name in both} == {wanted}
        assert {await check(api.pods_channel, name) for name in both[:2]} == {wanted}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(api.pods_channel, both[2])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_not_serving_until_told(run: Path) -> None:
    api = server(run)
    await api.start()
    async with grpc.aio.insecure_channel(f"unix:{run}/pods/cached.sock") as channel:
        assert await check(channel, "") == NOT_SERVING
    await api.stop(0)


async def test_reflection_lists_what_each_door_offers(api: Api) -> None:
    standard = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    for channel, services in (
        (api.pods_channel, ["cached.v1.CacheService"]),
        (api.operators_channel, ["cached.v1.CacheService", "cached.v1.OperatorService"]),
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([question])):
            listed = [service.name for service in answer.list_services_response.service]
            assert listed == sorted([*services, *standard])


async def test_stop_lets_calls_end_within_the_grace(api: Api) -> None:
    landed = asyncio.Event()
    api.engine.steps["cold"] = [RESOLVED, landed]
    call = api.pod.Acquire(cache.AcquireRequest(ref="cold"))
    events = aiter(call)
    await anext(events)
    async with asyncio.TaskGroup() as group:
        stop = group.create_task(api.server.stop(10))
        await asyncio.sleep(0.1)
        assert not stop.done()
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # new work is refused at once
            await acquire(api.pods)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        landed.set()
        assert (await anext(events)).HasField("ready")
        assert await call.code() is grpc.StatusCode.OK


async def test_stop_cuts_calls_off_after_the_grace_and_waits_for_their_leaving(api: Api) -> None:
    api.engine.steps["cold"] = [RESOLVED, asyncio.Event()]
    call = api.pod.Acquire(cache.AcquireRequest(ref="cold"))
    events = aiter(call)
    await anext(events)
    api.engine.slow_to_leave = 0.3
    began = time.monotonic()
    await api.server.stop(0.2)
    assert 0.2 <= time.monotonic() - began < 2
    assert api.engine.present["cold"] == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(events)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_stop_does_not_wait_for_those_who_watch_health(api: Api) -> None:
    watch = health_pb2_grpc.HealthStub(api.pods_channel).Watch(health_pb2.HealthCheckRequest())
    states = aiter(watch)
    assert (await anext(states)).status == SERVING
    began = time.monotonic()
    await api.server.stop(30)
    assert time.monotonic() - began < 5
    assert (await anext(states)).status == NOT_SERVING
