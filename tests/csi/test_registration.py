"""How kubelet learns of the driver, and how the driver is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import grpc
import pytest

from cached import __version__
from cached._proto.csi.v1 import csi_pb2 as csi
from cached._proto.pluginregistration.v1 import api_pb2 as registration
from cached._proto.pluginregistration.v1.api_pb2_grpc import RegistrationStub
from cached.config.publishing import Csi
from cached.config.settings import load
from cached.core.errors import InvalidRequest
from tests.csi.kubelet import Kubelet
from tests.csi.node import DRIVER, Node, driving, serving
from tests.engine.house import open_house
from tests.publish.playground import Playground


async def test_kubelet_finds_it_without_a_sidecar(node: Node) -> None:
    assert await node.kubelet.register() == "node-1"
    assert node.kubelet.endpoint == str(node.kubelet.root / "plugins" / DRIVER / "csi.sock")
    assert stat.S_IMODE(os.stat(node.kubelet.endpoint).st_mode) == 0o600
    async with node.kubelet.identity() as calls:
        info = await calls.GetPluginInfo(csi.GetPluginInfoRequest())
        assert (info.name, info.vendor_version) == (DRIVER, __version__)
        assert (await calls.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest())).ByteSize() == 0
    async with node.kubelet.node() as calls:
        assert (await calls.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest())).ByteSize() == 0


async def test_no_socket_is_left_behind(playground: Playground) -> None:
    kubelet = Kubelet(playground.path / "kubelet")
    async with driving(playground, kubelet):
        assert len(list((kubelet.root / "plugins_registry").iterdir())) == 1
    assert list((kubelet.root / "plugins_registry").iterdir()) == []
    assert list((kubelet.root / "plugins" / DRIVER).iterdir()) == []


async def test_kubelet_says_no(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    [path] = (node.kubelet.root / "plugins_registry").iterdir()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        status = registration.RegistrationStatus(plugin_registered=False, error="a driver of that name")
        await RegistrationStub(channel).NotifyRegistrationStatus(status)
        assert node.driver.server.refusal == "a driver of that name"
        assert "kubelet refuses" in caplog.text
        await RegistrationStub(channel).NotifyRegistrationStatus(
            registration.RegistrationStatus(plugin_registered=True)
        )
        assert node.driver.server.refusal == ""


async def test_it_says_how_it_is(playground: Playground, models: dict[str, str]) -> None:
    kubelet = Kubelet(playground.path / "kubelet")
    async with driving(playground, kubelet) as driver, kubelet.identity() as calls:
        starting = await calls.Probe(csi.ProbeRequest())
        assert starting.HasField("ready")
        assert not starting.ready.value
        async with open_house(playground.path / "house", models) as house, serving(driver, house):
            assert (await calls.Probe(csi.ProbeRequest())).ready.value
            driver.well = False
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await calls.Probe(csi.ProbeRequest())
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("method", ["NodeStageVolume", "NodeGetVolumeStats", "NodeExpandVolume"])
async def test_calls_that_it_does_not_serve(node: Node, method: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{node.kubelet.endpoint}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/csi.v1.Node/{method}", None, None)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("authority", ["localhost", "/var/lib/kubelet/plugins/csi.cached.dev/csi.sock"])
async def test_whatever_kubelets_of_any_age_say_of_the_host(node: Node, authority: str) -> None:
    options = [("grpc.default_authority", authority)]
    async with grpc.aio.insecure_channel(f"unix:{node.kubelet.endpoint}", options=options) as channel:
        call = channel.unary_unary("/csi.v1.Identity/Probe", None, csi.ProbeResponse.FromString)
        assert (await call(b"")).ready.value


def test_where_the_sockets_are() -> None:
    plain = Csi(driver="csi.cached.dev")
    assert str(plain.socket_path) == "/var/lib/kubelet/plugins/csi.cached.dev/csi.sock"
    assert str(plain.registration_path) == "/var/lib/kubelet/plugins_registry/csi.cached.dev-reg.sock"
    moved = Csi(
        driver="a", kubelet_root=Path("/data/kubelet"), registration=Path("/reg"), socket=Path("/c.sock")
    )
    assert (str(moved.socket_path), str(moved.registration_path)) == ("/c.sock", "/reg/a-reg.sock")


@pytest.mark.parametrize("name", ["1csi", "csi1", "Csi", "csi_x", "-a", "a.", "a" * 64, "a/b", "a b", "ä"])
def test_names_that_no_driver_may_have(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"csi\.driver"):
        load(None, {"CACHED__CSI__DRIVER": name})


@pytest.mark.parametrize("node", ["x" * 257, "a\nb"])
def test_names_that_no_node_may_have(node: str) -> None:
    with pytest.raises(InvalidRequest, match=r"csi\.node"):
        load(None, {"CACHED__CSI__NODE": node})


def test_settings_from_the_environment() -> None:
    loaded = load(
        None,
        {
            "CACHED__CSI__DRIVER": "csi.cached.dev",
            "CACHED__CSI__NODE": "node-1",
            "CACHED__CSI__SOCKET_NAMESPACES": "[a, b]",
            "CACHED__PUBLISH__MODE": "bind",
            "CACHED__PUBLISH__NOEXEC": "true",
        },
    )
    assert (loaded.csi.driver, loaded.csi.node, loaded.csi.socket_namespaces) == (
        "csi.cached.dev",
        "node-1",
        ("a", "b"),
    )
    assert (loaded.publish.mode, loaded.publish.noexec) == ("bind", True)
    with pytest.raises(InvalidRequest, match=r"publish\.mode"):
        load(None, {"CACHED__PUBLISH__MODE": "copy"})
