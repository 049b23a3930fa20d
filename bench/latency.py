"""What a warm model costs its reader, beside an RPC that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.daemon import CACHECTL, Daemon
from bench.process import environment, measure
from cached._proto.v1 import cache_pb2, cache_pb2_grpc
from cached.client import CacheClient

EMPTY = "empty RPC (health Check)"
EMPTY_STREAM = "empty stream (health Watch)"
ACQUIRE = "Acquire, client library"
ACQUIRE_STUB = "Acquire, bare stub"
_WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of each call, by kind; and of `cachectl get` from process start to its end."""

    calls: dict[str, list[float]]
    cachectl_get: list[float]


def run(work: Path, calls: int, runs: int) -> Latencies:
    """Every kind of call `calls` times in turn, and cachectl `runs` times, on a warm model of one small file.

    The model is pinned to a revision, so no source is asked. Leases are given back outside the time taken.
    """
    source = work / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights" * 1000)
    catalog = work / "catalog.yaml"
    catalog.write_text(f'models: {{tiny: {{source: "file://{source}", revision: v1}}}}')
    with Daemon(work / "root", {"catalog": str(catalog)}) as daemon, CacheClient(daemon.address) as client:
        client.acquire("tiny").release()
        with grpc.insecure_channel(daemon.address) as channel:
            timed = _calls(client, channel)
            samples: dict[str, list[float]] = {kind: [] for kind in timed}
            for number in range(calls + _WARM_UP):
                for kind, call in timed.items():
                    seconds = call()
                    if number >= _WARM_UP:
                        samples[kind].append(seconds)
        get = [str(CACHECTL), "get", "--address", daemon.address, "tiny"]
        shell = [measure(get, environment({})).seconds for _ in range(runs)]
    return Latencies(samples, shell)


def _calls(client: CacheClient, channel: grpc.Channel) -> dict[str, Callable[[], float]]:
    """Each makes one call and returns its seconds."""
    health = health_pb2_grpc.HealthStub(channel)
    cache = cache_pb2_grpc.CacheServiceStub(channel)
    check = health_pb2.HealthCheckRequest()
    acquire_request = cache_pb2.AcquireRequest(ref="tiny", holder="bench")

    def empty() -> float:
        began = time.perf_counter()
        health.Check(check)
        return time.perf_counter() - began

    def empty_stream() -> float:
        began = time.perf_counter()
        stream = health.Watch(check)
        next(stream)
        seconds = time.perf_counter() - began
        stream.cancel()
        return seconds

    def acquire() -> float:
        began = time.perf_counter()
        model = client.acquire("tiny")
        seconds = time.perf_counter() - began
        model.release()
        return seconds

    def acquire_stub() -> float:
        began = time.perf_counter()
        [answer] = cache.Acquire(acquire_request)
        seconds = time.perf_counter() - began
        cache.Release(cache_pb2.ReleaseRequest(lease_id=answer.ready.lease.id))
        return seconds

    return {EMPTY: empty, ACQUIRE: acquire, EMPTY_STREAM: empty_stream, ACQUIRE_STUB: acquire_stub}
