"""How errors look to callers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1 import operator_pb2 as operator
from cached._proto.v1.types_pb2 import ErrorDetail
from cached.core import errors
from cached.core.errors import CachedError, Corrupt, DiskFault, InUse, NoSpace, NotFound
from cached.serve.api.errors import MAX_MESSAGE_BYTES, STATUS, detail_of, refusal, status_of
from tests.serve.conftest import Api
from tests.serve.fake_engine import HALFWAY, RESOLVED

LEAVES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CachedError) and not kind.__subclasses__() and kind is not CachedError
]


def detail(error: grpc.aio.AioRpcError) -> ErrorDetail:
    metadata: Iterable[Any] = error.trailing_metadata()
    return ErrorDetail.FromString(dict(metadata)["cached-error-bin"])


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_has_a_row_of_its_own(kind: type[CachedError]) -> None:
    assert kind in STATUS


def test_the_table_is_the_documented_one() -> None:
    code = grpc.StatusCode
    assert {kind.__name__: status for kind, status in STATUS.items()} == {
        "InvalidRequest": code.INVALID_ARGUMENT,
        "NotFound": code.NOT_FOUND,
        "Incompatible": code.ALREADY_EXISTS,
        "InUse": code.FAILED_PRECONDITION,
        "TooLarge": code.FAILED_PRECONDITION,
        "NotConfigured": code.FAILED_PRECONDITION,
        "Busy": code.ABORTED,
        "NoSpace": code.RESOURCE_EXHAUSTED,
        "Unauthenticated": code.UNAUTHENTICATED,
        "Denied": code.PERMISSION_DENIED,
        "SourceUnavailable": code.UNAVAILABLE,
        "SourceChanged": code.UNAVAILABLE,
        "RuntimeUnavailable": code.UNAVAILABLE,
        "Draining": code.UNAVAILABLE,
        "Corrupt": code.DATA_LOSS,
        "DiskFault": code.INTERNAL,
    }


def test_a_more_special_error_falls_under_its_ancestors_row() -> None:
    class BucketGone(NotFound):
        pass

    assert status_of(BucketGone) is grpc.StatusCode.NOT_FOUND
    assert detail_of(BucketGone("no bucket")).reason == "BucketGone"


async def test_an_error_carries_its_detail(api: Api) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.operator.Evict(operator.EvictRequest(ref="held"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "held is held by a lease of pod-a (stop pod-a first)"
    assert detail(caught.value) == ErrorDetail(
        reason=InUse.__name__, message="held is held by a lease of pod-a", hint="stop pod-a first"
    )


async def test_an_error_in_mid_stream_comes_after_what_was_told(api: Api) -> None:
    full = NoSpace("no room for big", needed=900, free=100, held=700, hint="release something")
    api.engine.steps["big"] = [RESOLVED, HALFWAY, full]
    events = aiter(api.pod.Acquire(cache.AcquireRequest(ref="big")))
    assert (await anext(events)).HasField("resolved")
    assert (await anext(events)).HasField("progress")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(events)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    said = detail(caught.value)
    assert (said.needed_bytes, said.free_bytes, said.held_bytes, said.retryable) == (900, 100, 700, True)
    assert api.count("Acquire", "RESOURCE_EXHAUSTED") == 1


async def test_a_group_of_one_is_that_one(api: Api) -> None:
    api.engine.broken = ExceptionGroup("flight", [ExceptionGroup("chunk", [DiskFault("nvme0 failed")])])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.operator.Status(operator.StatusRequest())
    assert (caught.value.code(), detail(caught.value).message) == (grpc.StatusCode.INTERNAL, "nvme0 failed")


@pytest.mark.parametrize(
    "bug",
    [KeyError("secret"), ExceptionGroup("two", [NotFound("secret"), Corrupt("secret")])],
    ids=["unknown", "several"],
)
async def test_a_bug_is_masked_and_found_by_its_reference(
    api: Api, bug: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    api.engine.broken = bug
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.operator.Status(operator.StatusRequest())
    said = detail(caught.value)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in f"{said}{caught.value.details()}"
    [record] = [record for record in caplog.records if record.name == "cached.serve.rpc.refusal"]
    reference = vars(record)["reference"]
    assert reference in said.message
    assert record.exc_info
    assert record.exc_info[1] is bug


async def test_a_long_message_still_arrives(api: Api) -> None:
    api.engine.broken = NotFound("名" * 50_000, hint="%" * 50_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.operator.Status(operator.StatusRequest())
    said = detail(caught.value)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert said.message.endswith("名…")
    assert MAX_MESSAGE_BYTES - 6 < len(said.message.encode()) <= MAX_MESSAGE_BYTES


def test_a_message_that_is_no_utf8_is_told_all_the_same() -> None:
    assert refusal(NotFound("file \udcff"), "Describe").detail.message == "file ?"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (cache.AcquireRequest(ref="m", ttl=Duration()), "0 seconds"),
        (cache.AcquireRequest(ref="m", ttl=Duration(seconds=-5)), "-5 seconds"),
        (cache.AcquireRequest(ref="m", ttl=Duration(seconds=1, nanos=-1)), "seconds"),
        (cache.AcquireRequest(ref="m", ttl=Duration(seconds=1, nanos=2_000_000_000)), "seconds"),
        (cache.AcquireRequest(ref="m", holder="x" * 257), "holder"),
        (cache.AcquireRequest(ref="m", holder="名" * 86), "holder"),
        (cache.AcquireRequest(ref="m", holder="pod\x1b[2J"), "holder"),
        (cache.RenewRequest(), "no lease"),
        (cache.RenewRequest(lease_id="l", ttl=Duration(seconds=-1)), "-1 seconds"),
        (cache.ReleaseRequest(), "no lease"),
        (operator.WarmRequest(), "no ref"),
        (operator.WarmRequest(refs=["m"], all=True), "both"),
        (operator.WarmRequest(refs=["m"] * 10_001), "10001 refs"),
        (operator.WarmRequest(refs=["m"], pull=True), "no image"),
    ],
    ids=str,
)
async def test_what_the_engine_never_sees(api: Api, request_: Message, why: str) -> None:
    methods: dict[type[Message], Any] = {
        cache.AcquireRequest: api.pod.Acquire,
        cache.RenewRequest: api.pod.Renew,
        cache.ReleaseRequest: api.pod.Release,
        operator.WarmRequest: api.operator.Warm,
    }
    call = methods[type(request_)](request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (anext(aiter(call)) if hasattr(call, "__aiter__") else call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail(caught.value).reason == "InvalidRequest"
    assert why in detail(caught.value).message
    assert api.engine.asked == []
