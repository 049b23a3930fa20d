"""Members by list and watch, against the real Kubernetes API server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig, SingleConfig

from cached.core.peer import Member
from cached.kit.clock import SystemClock
from cached.peers.membership.address import Address
from cached.peers.membership.apiserver import ApiServer, Expired
from cached.peers.membership.slices import SliceMembers
from tests.peers.following import following, outages, warned
from tests.servers.kubernetes import API_SERVER, Kubernetes, lacking

_LACKING = lacking(API_SERVER)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]

RIGHTS = "rbac.authorization.k8s.io"
A, B, C = (Member(f"10.0.0.{number}:7500", "zone-1") for number in (1, 2, 3))


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    with Kubernetes(tmp_path) as kubernetes:
        kubernetes.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}}])
        yield kubernetes


@pytest.fixture
def account(kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's files as a pod finds them; the account may do nothing yet."""
    kubernetes.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named("cached")}])
    files = tmp_path / "serviceaccount"
    files.mkdir()
    (files / "token").write_text(kubernetes.token("cached", "models"))
    (files / "namespace").write_text("models")
    (files / "ca.crt").write_bytes(kubernetes.ca.read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(kubernetes.port))
    return files


def named(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "models"}


def allow(kubernetes: Kubernetes) -> None:
    """What the manual asks for, and no more."""
    rule = {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"],
    }
    role = {"apiVersion": f"{RIGHTS}/v1", "kind": "Role", "metadata": named("cached"), "rules": [rule]}
    binding = {
        "apiVersion": f"{RIGHTS}/v1",
        "kind": "RoleBinding",
        "metadata": named("cached"),
        "roleRef": {"apiGroup": RIGHTS, "kind": "Role", "name": "cached"},
        "subjects": [{"kind": "ServiceAccount", "name": "cached", "namespace": "models"}],
    }
    kubernetes.apply([role, binding])


def config(account: Path) -> SingleConfig:
    found = KubeConfig.from_service_account(account).get()
    assert found is not None
    return found


def made(account: Path) -> SliceMembers:
    return SliceMembers(
        "models/peers", Address("10.0.0.1", 7400), SystemClock(), random.Random(1), lambda: config(account)
    )


def put(kubernetes: Kubernetes, name: str, *members: Member, service: str = "peers") -> None:
    endpoints = [
        {
            "addresses": [member.address.partition(":")[0]],
            "conditions": {"ready": False, "serving": False, "terminating": False},
            "zone": member.zone,
        }
        for member in members
    ]
    one = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**named(name), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "peer", "port": 7500}],
    }
    kubernetes.apply([one])


async def test_slices_are_followed_with_the_least_of_rights(
    kubernetes: Kubernetes, account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cached")
    put(kubernetes, "one", A)
    put(kubernetes, "foreign", C, service="other")
    async with following(made(account)) as heard:
        assert "HTTP 403" in await warned(caplog)
        assert not heard.told
        allow(kubernetes)
        await heard.until(A, seconds=30)
        put(kubernetes, "two", B, A)
        await heard.until(A, B)
        put(kubernetes, "one")
        put(kubernetes, "two", B, C)
        await heard.until(B, C)
        kubernetes.kubectl("-n", "models", "delete", "endpointslice", "two")
        await heard.until()
    assert [each.levelname for each in outages(caplog)] == [
        "WARNING",
        "INFO",
    ]


async def test_a_server_that_is_killed_and_comes_back_is_followed_again(
    kubernetes: Kubernetes, account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cached")
    allow(kubernetes)
    put(kubernetes, "one", A)
    async with following(made(account)) as heard:
        await heard.until(A)
        kubernetes.kill()
        await warned(caplog)
        assert heard.told == [(A,)]
        await asyncio.to_thread(kubernetes.start)
        await asyncio.to_thread(put, kubernetes, "two", B)
        await heard.until(A, B, seconds=60)


async def test_what_the_server_has_forgotten_is_expired(kubernetes: Kubernetes, account: Path) -> None:
    allow(kubernetes)
    async with ApiServer(config(account), "models", "peers") as server:
        first, _ = await server.list(newest=True)
        for number in range(3):
            put(kubernetes, f"slice-{number}", A)
    kubernetes.kill()
    kubernetes.start()  # it knows only what comes after its start
    async with ApiServer(config(account), "models", "peers") as server:
        version, slices = await server.list(newest=False)
        assert len(slices) == 3
        assert int(version) > int(first)
        with pytest.raises(Expired):
            async for _ in server.watch(first, 5):
                pass
        versions = [event.version async for event in server.watch(version, 1)]
        assert versions[0] == version
