"""Members by list and watch, against a stand-in for the Kubernetes API server that fails as told."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig, SingleConfig

from cached.cluster.access import found_config
from cached.core.errors import NotConfigured
from cached.core.peer import Member
from cached.kit.clock import SystemClock
from cached.peers.membership.address import Address
from cached.peers.membership.slices import SliceMembers
from tests.peers.ca import issue, make_ca
from tests.peers.following import following, outages, warned
from tests.servers.apiserver import ApiServerFake

PAUSE = (0.05, 0.2)
A, B, C = (Member(f"10.0.0.{number}:7500", "zone-1") for number in (1, 2, 3))


@pytest.fixture
async def server() -> AsyncIterator[ApiServerFake]:
    async with ApiServerFake("ns") as server:
        yield server


@pytest.fixture
def kubeconfig(server: ApiServerFake, tmp_path: Path) -> Path:
    """Of a lab; its token is the right one."""
    path = tmp_path / "kubeconfig"
    config = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {"token": "first"}}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def members(kubeconfig: Path) -> SliceMembers:
    return made(lambda: _of(KubeConfig.from_file(kubeconfig)))


def made(config: Callable[[], SingleConfig]) -> SliceMembers:
    advertise = Address("10.0.0.1", 7400)
    return SliceMembers("ns/peers", advertise, SystemClock(), random.Random(1), config, PAUSE)


def _of(config: KubeConfig) -> SingleConfig:
    found = config.get()
    assert found is not None
    return found


def slice_of(*members: Member) -> dict[str, Any]:
    endpoints = [
        {"addresses": [member.address.partition(":")[0]], "zone": member.zone, "conditions": {"ready": True}}
        for member in members
    ]
    return {
        "addressType": "IPv4",
        "endpoints": endpoints or None,
        "ports": [{"name": "peer", "port": 7500}],
    }


async def watched(server: ApiServerFake, count: int = 1) -> None:
    """Until that many watches have been begun."""
    await server.asked(lambda requests: sum(each.watch and each.status == 200 for each in requests) >= count)


async def test_slices_are_listed_once_and_then_only_watched(
    server: ApiServerFake, members: SliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("one", "peers", slice_of(A))
    server.put("foreign", "other", slice_of(C))
    assert members.source == "endpoint slices ns/peers"
    async with following(members) as heard:
        await heard.until(A)
        server.put("two", "peers", slice_of(B, A))
        await heard.until(A, B)
        server.put("foreign", "other", slice_of(B, C))
        server.put("one", "peers", slice_of())
        server.put("two", "peers", slice_of(B, C))
        await heard.until(B, C)
        server.remove("two")
        await heard.until()
        assert heard.told == [(A,), (A, B), (B, C), ()]
    assert [request.watch for request in server.requests] == [False, True]
    listed, watch = (request.query for request in server.requests)
    assert listed["resourceVersion"] == "0"  # from memory, not from etcd
    assert watch["resourceVersion"] == "102"
    assert watch["allowWatchBookmarks"] == "true"
    assert 300 <= int(watch["timeoutSeconds"]) <= 600
    assert not outages(caplog)


@pytest.mark.parametrize("how", ["end_watches", "break_off"])
async def test_a_watch_that_ends_goes_on_from_the_last_bookmark(
    server: ApiServerFake, members: SliceMembers, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("one", "peers", slice_of(A))
    async with following(members) as heard:
        await heard.until(A)
        await watched(server)
        server.bookmark()
        server.put("two", "peers", slice_of(B))
        await heard.until(A, B)
        server.bookmark()
        await asyncio.sleep(0.05)
        getattr(server, how)()
        server.put("one", "peers", slice_of(C))
        await heard.until(B, C)
    assert [request.watch for request in server.requests] == [False, True, True]
    assert server.requests[-1].query["resourceVersion"] == "104"
    assert not outages(caplog)


async def test_all_is_listed_anew_once_the_server_has_forgotten(
    server: ApiServerFake, members: SliceMembers
) -> None:
    server.put("one", "peers", slice_of(A))
    server.put("two", "peers", slice_of(B))
    async with following(members) as heard:
        await heard.until(A, B)
        await watched(server)
        await server.stop()
        server.remove("one")
        server.put("two", "peers", slice_of(C))
        server.forget()
        await server.start()
        await heard.until(C)
        assert heard.told == [(A, B), (C,)]
        await watched(server, 3)
    assert [request.watch for request in server.requests] == [False, True, True, False, True]
    assert "resourceVersion" not in server.requests[3].query  # what is in memory may be what it forgot


async def test_http_410_and_noise_in_a_watch_lead_to_a_list(
    server: ApiServerFake, members: SliceMembers
) -> None:
    async with following(members) as heard:
        await watched(server)
        server.say(b"<html>")
        await watched(server, 2)
        server.say(b'{"type": "ADDED", "object": []}')
        await watched(server, 3)
        server.refuse = 410
        server.end_watches()
        await server.asked(lambda requests: requests[-1].status == 410)
        server.refuse = None
        server.put("one", "peers", slice_of(A))
        await heard.until(A)
    assert [request.watch for request in server.requests if request.status == 200].count(False) == 4


async def test_an_outage_keeps_the_members_and_is_logged_once(
    server: ApiServerFake, members: SliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cached")
    server.put("one", "peers", slice_of(A))
    async with following(members) as heard:
        await heard.until(A)
        await watched(server)
        await server.stop()
        await warned(caplog)
        await asyncio.sleep(2 * PAUSE[1])
        assert heard.told == [(A,)]
        assert [each.levelname for each in outages(caplog)] == ["WARNING"]
        server.put("one", "peers", slice_of(A, B))
        await server.start()
        await heard.until(A, B)
    assert [each.levelname for each in outages(caplog)] == ["WARNING", "INFO"]
    assert [request.watch for request in server.requests] == [False, True, True]


async def test_a_server_that_refuses_is_asked_with_growing_pauses(
    server: ApiServerFake, members: SliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = 403
    began = asyncio.get_running_loop().time()
    async with following(members) as heard:
        await server.asked(lambda requests: len(requests) == 7)
        # Two pauses of 0.05 and 0.1 s, four of 0.2 s, each shortened to a half at most.
        assert asyncio.get_running_loop().time() - began >= 0.475
        assert not heard.told
        server.refuse = None
        server.put("one", "peers", slice_of(A))
        await heard.until(A)
    (warning,) = outages(caplog)
    assert "get, list and watch" in warning.__dict__["reason"]


async def test_a_watch_that_ends_at_once_is_not_begun_again_at_once(
    server: ApiServerFake, members: SliceMembers
) -> None:
    began = asyncio.get_running_loop().time()
    async with following(members):
        for count in range(1, 7):
            await watched(server, count)
            server.end_watches()
    # Two pauses of 0.05 and 0.1 s, three of 0.2 s, each shortened to a half at most.
    assert asyncio.get_running_loop().time() - began >= 0.375


async def test_a_connection_that_died_silently_is_given_up(
    server: ApiServerFake, members: SliceMembers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cached.peers.membership.apiserver.SILENCE", 0.2)
    async with following(members):
        await watched(server, 3)
    assert [request.watch for request in server.requests][:3] == [False, True, True]


async def test_a_list_without_sense_is_an_outage(
    server: ApiServerFake, members: SliceMembers, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("one", "peers", slice_of(A))
    server.nonsense = b'{"kind": "Status"}'
    async with following(members) as heard:
        await warned(caplog)
        server.nonsense = None
        await heard.until(A)
    (warning,) = outages(caplog)
    assert warning.__dict__["reason"] == "the answer is no list of EndpointSlices"


@pytest.fixture
async def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ApiServerFake, Path]]:
    """A server over TLS, and the files of a service account that it lets in."""
    files = issue(make_ca(tmp_path), tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.cert, files.key)
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "ca.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    (account / "namespace").write_text("elsewhere")
    (account / "token").write_text("first\n")
    async with ApiServerFake("ns", tls=tls) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        server.put("one", "peers", slice_of(A))
        yield server, account


async def test_in_a_pod_whose_token_is_replaced(pod: tuple[ApiServerFake, Path]) -> None:
    server, account = pod
    async with following(made(lambda: _of(KubeConfig.from_service_account(account)))) as heard:
        await heard.until(A)
        await watched(server)
        server.token = "second"
        (account / "token").write_text("second\n")
        server.put("one", "peers", slice_of(B))
        await heard.until(B)  # the open watch goes on
        server.break_off()
        server.put("one", "peers", slice_of(C))
        await heard.until(C)


@pytest.mark.parametrize("fault", ["no token", "no ca", "foreign ca", "garbled ca", "token lost in between"])
async def test_in_a_pod_whose_files_are_wrong_for_a_while(
    pod: tuple[ApiServerFake, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    server, account = pod
    token, ca = account / "token", account / "ca.crt"
    right = ca.read_bytes()

    def config() -> SingleConfig:
        found = _of(KubeConfig.from_service_account(account))
        if fault == "token lost in between" and len(server.requests) >= 2:
            token.unlink()
        return found

    async with following(made(config)) as heard:
        await heard.until(A)
        await watched(server)
        match fault:
            case "no token":
                token.unlink()
            case "no ca":
                ca.unlink()
            case "foreign ca":
                ca.write_bytes(make_ca(tmp_path / "other").pair.cert)
            case "garbled ca":
                ca.write_text("garbage")
        server.break_off()
        server.put("one", "peers", slice_of(B))
        await warned(caplog)
        await asyncio.sleep(PAUSE[1])
        assert heard.told == [(A,)]
        assert len(outages(caplog)) == 1
        fault = "over"
        ca.write_bytes(right)
        token.write_text("first")
        await heard.until(B)
    assert "first" not in caplog.text


def test_kubeconfig_is_found_by_the_environment(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert found_config().context_name == "lab"


@pytest.mark.parametrize("content", [None, "{", "clusters: 5", "users: [{name: a, user: {token: 5}}]"])
def test_an_unusable_configuration_is_told_at_once(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(NotConfigured, match="no usable Kubernetes configuration") as refused:
        made(found_config)
    assert "KUBECONFIG" in refused.value.hint


@pytest.mark.parametrize("service", ["peers", "/peers", "ns/", "a/b/c", ""])
def test_what_names_no_service_is_refused(service: str, server: ApiServerFake) -> None:
    with pytest.raises(NotConfigured, match="names no Service"):
        SliceMembers(service, Address("10.0.0.1", 7400), SystemClock(), random.Random(1))
