"""Why a pull fails, as real containerds tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from cached.core import errors as e
from cached.core.image import ImageName
from cached.core.runtime import Login
from cached.runtime.containerd import Containerd as Adapter
from cached.runtime.refusals import refusal
from tests.servers.containerd import Containerd, lacking
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, basic, image, index, push, runnable
from tests.servers.layers import Noise, layer
from tests.servers.registry import DockerRegistry
from tests.servers.tokens import TokenService
from tests.system.disks import Disk

SOME = runnable(layer({"noise": Noise(1_500_000, seed=3)}))
ELSEWHERE = index([image([layer({"file": b"for others"})], platform="linux/s390x")])

USER, PASSWORD = "carol", "opensesame"


async def refused(runtime: Adapter, name: str, login: Login | None = None) -> e.CachedError:
    with pytest.raises(e.CachedError) as caught:
        await runtime.pull(ImageName.parse(name), login)
    assert name in caught.value.message
    assert caught.value.hint
    assert caught.value.__suppress_context__
    assert PASSWORD not in str(caught.value)
    return caught.value


def offer(registry: DockerRegistry, pushed: Image, tag: str) -> None:
    push(registry.endpoint, "tests/refused", tag, pushed)


async def test_what_is_not_there(runtime: Adapter, registry: DockerRegistry, host: str) -> None:
    offer(registry, ELSEWHERE, "elsewhere")
    for reference in (":none", f"@sha256:{'0' * 64}", ":elsewhere"):
        assert type(await refused(runtime, f"{host}/tests/refused{reference}")) is e.NotFound, reference


async def test_what_a_registry_answers(runtime: Adapter, front: FaultyServer, host: str) -> None:
    meant = {401: e.Denied, 403: e.Denied, 404: e.NotFound}
    for status in (401, 403, 404, 429, 500, 503):
        front.heal()
        front.inject(Fault(method="", status=status, headers={"Content-Length": "0"}, times=None))
        error = await refused(runtime, f"{host}/tests/refused:some")
        assert type(error) is meant.get(status, e.SourceUnavailable), status


async def test_a_layer_that_is_missing(
    runtime: Adapter, registry: DockerRegistry, front: FaultyServer, host: str
) -> None:
    offer(registry, SOME, "some")
    missing = Fault(path=f"*/blobs/{SOME.layers[1].digest}", status=404, times=None)
    front.inject(missing)
    assert type(await refused(runtime, f"{host}/tests/refused:some")) is e.NotFound


async def test_wrong_bytes(
    runtime: Adapter, registry: DockerRegistry, front: FaultyServer, host: str
) -> None:
    offer(registry, SOME, "some")
    front.inject(Fault(path=f"*/blobs/{SOME.layers[1].digest}", flip=1000, times=None))
    assert type(await refused(runtime, f"{host}/tests/refused:some")) is e.Corrupt


async def test_a_registry_that_goes_during_a_pull(
    containerd: Containerd, runtime: Adapter, registry: DockerRegistry
) -> None:
    offer(registry, SOME, "some")
    with FaultyServer(registry.endpoint) as front:
        host = front.endpoint.removeprefix("http://")
        containerd.hosts_toml(host, f'server = "{front.endpoint}"\n[host."{front.endpoint}"]\n')
        front.inject(Fault(path=f"*/blobs/{SOME.layers[1].digest}", rate=500_000, times=None))
        pulling = asyncio.create_task(refused(runtime, f"{host}/tests/refused:some"))
        async with asyncio.timeout(10):
            while not any(size > 0 for size in containerd.ingests().values()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert type(await pulling) is e.SourceUnavailable
    assert type(await refused(runtime, f"{host}/tests/refused:some")) is e.SourceUnavailable


async def test_what_a_redirect_would_give_away(runtime: Adapter, front: FaultyServer, host: str) -> None:
    away = "https://127.0.0.1:1/blob?X-Amz-Signature=0123abcd&token=4567efgh"
    front.inject(Fault(method="", status=307, headers={"Location": away, "Content-Length": "0"}, times=None))
    said = str(await refused(runtime, f"{host}/tests/refused:some"))
    assert "127.0.0.1:1/blob" in said
    assert "0123abcd" not in said
    assert "4567efgh" not in said


@pytest.fixture(params=["passwords", "tokens"])
def closed(request: pytest.FixtureRequest, registry: DockerRegistry, tmp_path: Path) -> Iterator[str]:
    """The name of an image that only Carol may pull."""
    users = {USER: PASSWORD}
    if request.param == "passwords":
        with DockerRegistry(tmp_path / "closed", users=users) as server:
            push(server.endpoint, "tests/closed", "1", SOME, authorization=basic(USER, PASSWORD))
            yield f"{server.host}/tests/closed:1"
    else:
        with TokenService(users) as tokens, DockerRegistry(tmp_path / "closed", tokens=tokens) as server:
            scope = "repository:tests/closed:pull,push"
            push(
                server.endpoint,
                "tests/closed",
                "1",
                SOME,
                authorization=f"Bearer {tokens.token(USER, scope)}",
            )
            yield f"{server.host}/tests/closed:1"


async def test_who_may_pull(runtime: Adapter, closed: str) -> None:
    assert type(await refused(runtime, closed)) is e.Denied
    assert type(await refused(runtime, closed, Login(USER, "wrong"))) is e.Denied
    await runtime.pull(ImageName.parse(closed), Login(USER, PASSWORD))


async def test_a_full_disk(registry: DockerRegistry, tmp_path: Path) -> None:
    if reason := lacking("1.7"):
        pytest.skip(reason)
    offer(registry, SOME, "some")
    with Disk(tmp_path, "tmpfs", 3 << 20) as disk, Containerd(disk.path / "c") as containerd:
        runtime = Adapter(containerd.socket)
        try:
            error = await refused(runtime, f"{registry.host}/tests/refused:some")
        finally:
            await runtime.close()
    assert type(error) is e.NoSpace


def told(code: StatusCode, text: str) -> grpc.RpcError:
    return AioRpcError(code, Metadata(), Metadata(), text, None)


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        # By a containerd that is starting, or has CRI turned off.
        (StatusCode.UNKNOWN, "server is not initialized yet", e.RuntimeUnavailable),
        (StatusCode.UNAVAILABLE, "server is not initialized yet: unavailable", e.RuntimeUnavailable),
        (StatusCode.UNIMPLEMENTED, "unknown service runtime.v1.ImageService", e.NotConfigured),
        # By one that lost something of its own: trying again may help.
        (StatusCode.NOT_FOUND, 'lease "1764": not found', e.SourceUnavailable),
        # By one that says of a registry what gRPC says of containerd.
        (
            StatusCode.UNAVAILABLE,
            'failed to pull and unpack image "docker.io/library/redis:latest": closed: unavailable',
            e.SourceUnavailable,
        ),
        # A registry for which one has to sign on elsewhere, where nobody answers.
        (
            StatusCode.UNKNOWN,
            'failed to pull and unpack image "docker.io/library/redis:latest": failed to authorize: failed '
            'to fetch anonymous token: Get "https://auth.example/token": dial tcp 192.0.2.1:443: i/o timeout',
            e.SourceUnavailable,
        ),
    ],
)
def test_what_is_seldom_seen(code: StatusCode, text: str, error: type[e.CachedError]) -> None:
    assert type(refusal(told(code, text), ImageName.parse("redis"), "pull")) is error


def test_a_login_shows_in_nothing() -> None:
    login = Login(USER, PASSWORD)
    text = f"Authorization: Basic {basic(USER, PASSWORD).split()[1]}, that is {USER} with {PASSWORD}"
    said = str(refusal(told(StatusCode.UNKNOWN, text), ImageName.parse("redis"), "pull", login))
    assert PASSWORD not in said
    assert basic(USER, PASSWORD).split()[1] not in said
