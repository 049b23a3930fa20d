"""From a real S3 server into a real stage."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cached.core.chunks import chunk_size_for
from cached.core.digest import Digest
from cached.core.errors import Denied, NotFound, SourceChanged
from cached.core.source import RangeRequest
from cached.store import blobs
from cached.store.layout import Layout
from cached.store.stage import Stage
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.servers.seaweed import SeaweedFS
from tests.transfer.rig import QUICK, MemorySink, Rig, rigged, some_bytes

DATA = some_bytes((24 << 20) + 4097)
MIB = 1 << 20
PATIENT = replace(QUICK, connect_timeout=10.0, stall_timeout=30.0, give_up_after=60.0)


def presign(s3: S3Server, bucket: str, key: str, *, etag: str = "", expires_in: int = 600) -> RangeRequest:
    params = {"Bucket": bucket, "Key": key}
    url = s3.client.generate_presigned_url("get_object", Params=params, ExpiresIn=expires_in)
    return RangeRequest(url, {"If-Match": etag} if etag else {}, etag=etag)


def with_secret(s3: S3Server, secret: str) -> S3Server:
    return replace(s3, secret_key=secret)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    blobs.prepare(layout)
    return layout


def open_stage(layout: Layout, data: bytes) -> Stage:
    return Stage.open(layout, Digest.sha256(data), len(data), chunk_size=chunk_size_for(len(data)))


async def fill(rig: Rig, stage: Stage, request: RangeRequest) -> None:
    async def opener() -> RangeRequest:
        return request

    await rig.transfer.fetch(stage, opener, origin="s3", label="s3://b/k", on_bytes=lambda count: None)


async def test_an_object_becomes_a_sealed_stage(s3: S3Server, layout: Layout) -> None:
    bucket = s3.make_bucket()
    etag = str(s3.put(bucket, "a b/ü+%/模型.bin", DATA)["ETag"])
    stage = open_stage(layout, DATA)
    async with rigged(PATIENT) as rig:
        await fill(rig, stage, presign(s3, bucket, "a b/ü+%/模型.bin", etag=etag))
        stage.seal()
        stage.close()
    assert (
        hashlib.sha256(layout.stage_data(stage.blob).read_bytes()).digest() == hashlib.sha256(DATA).digest()
    )


async def test_a_cut_fetch_goes_on_where_it_was(
    s3: S3Server, faulty_s3: FaultyServer, layout: Layout
) -> None:
    bucket = s3.make_bucket()
    s3.put(bucket, "m.bin", DATA)
    stalled, loop = asyncio.Event(), asyncio.get_running_loop()
    last = Fault(skip=8 + QUICK.connections, stall=100, before=lambda: loop.call_soon_threadsafe(stalled.set))
    faulty_s3.inject(last)
    faulty_s3.inject(Fault(skip=9, times=None, stall=100))
    request = presign(s3.behind(faulty_s3.endpoint), bucket, "m.bin")
    stage = open_stage(layout, DATA)
    async with rigged(PATIENT) as rig:
        fetching = asyncio.create_task(fill(rig, stage, request))
        await asyncio.wait_for(stalled.wait(), 20)
        fetching.cancel()
        await asyncio.wait({fetching})
        stage.close()  # which gives back what it retained
    faulty_s3.heal()
    faulty_s3.forget()
    stage = open_stage(layout, DATA)
    missing = stage.missing()
    assert 0 < len(missing) <= 25 - 9
    async with rigged(PATIENT) as rig:
        await fill(rig, stage, request)
        stage.seal()
        stage.close()
    asked = {seen.span[0] // MIB for seen in faulty_s3.requests() if seen.span}
    assert asked == set(missing), "chunks that were here came again"


async def test_an_object_that_is_overwritten_in_between_is_noticed(
    s3: S3Server, faulty_s3: FaultyServer
) -> None:
    bucket = s3.make_bucket()
    etag = str(s3.put(bucket, "m.bin", DATA)["ETag"])
    other = some_bytes(len(DATA), seed=2)
    faulty_s3.inject(Fault(skip=6, before=lambda: s3.put(bucket, "m.bin", other)))
    sink = MemorySink(len(DATA), MIB)
    async with rigged(replace(PATIENT, connections=1)) as rig:
        with pytest.raises(SourceChanged):
            await rig.fetch(sink, presign(s3.behind(faulty_s3.endpoint), bucket, "m.bin", etag=etag))
    for index in sink.order:
        assert sink.data[index * MIB :][:MIB] == DATA[index * MIB :][:MIB]


async def test_a_missing_key_and_a_missing_bucket(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    async with rigged(PATIENT) as rig:
        with pytest.raises(NotFound, match="404 NoSuchKey"):
            await rig.fetch(MemorySink(len(DATA)), presign(s3, bucket, "absent"))
        with pytest.raises(NotFound, match="404 NoSuchBucket"):
            await rig.fetch(MemorySink(len(DATA)), presign(s3, "no-such-bucket", "m.bin"))


async def test_a_wrong_secret(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    s3.put(bucket, "m.bin", DATA)
    request = presign(with_secret(s3, "not-the-secret"), bucket, "m.bin")
    async with rigged(PATIENT) as rig:
        with pytest.raises(Denied, match="403 SignatureDoesNotMatch") as raised:
            await rig.fetch(MemorySink(len(DATA)), request)
    assert "X-Amz" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


async def test_an_expired_signature_is_renewed(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    s3.put(bucket, "m.bin", DATA)
    requests = [presign(s3, bucket, "m.bin", expires_in=1), presign(s3, bucket, "m.bin")]
    sink = MemorySink(len(DATA), MIB)
    await asyncio.sleep(2.1)
    async with rigged(PATIENT) as rig:
        await rig.fetch(sink, lambda: requests.pop(0))
        assert rig.errors() == {}
    assert sink.data == DATA
    assert requests == []


async def test_a_server_that_is_killed_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "weed") as weed:
        s3 = S3Server(weed.endpoint, weed.access_key, weed.secret_key)
        bucket = s3.make_bucket()
        s3.put(bucket, "m.bin", DATA)
        sink = MemorySink(len(DATA), MIB)
        once, noticed, loop = threading.Lock(), asyncio.Event(), asyncio.get_running_loop()

        def kill_it_at_the_sixth(index: int) -> None:
            if len(sink.order) >= 5 and once.acquire(blocking=False):
                weed.kill()
                loop.call_soon_threadsafe(noticed.set)

        sink.before = kill_it_at_the_sixth
        async with rigged(PATIENT) as rig:
            fetching = asyncio.create_task(rig.fetch(sink, presign(s3, bucket, "m.bin")))
            await noticed.wait()
            await asyncio.sleep(0.3)
            assert not fetching.done()
            assert await asyncio.to_thread(weed.start)
            await fetching
            assert rig.errors()["connect"] > 0
    assert sink.data == DATA
