"""The daemon as a CSI driver, killed and replaced under running pods."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from tests.csi.kubelet import Kubelet, Mounter
from tests.csi.node import refused, shown
from tests.publish.playground import Playground
from tests.system.daemon import BIN, Daemon
from tests.system.waiting import eventually

_ONLY_MOUNT = ["setpriv", "--bounding-set", "-all,+sys_admin", "--inh-caps", "-all"]
_NO_MOUNT = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all"]


@pytest.fixture
def kubelet(playground: Playground) -> Kubelet:
    return Kubelet(playground.path / "kubelet")


def daemon_for(kubelet: Kubelet, directory: Path, may: Sequence[str]) -> Daemon:
    """`may`: what goes before its command."""
    source = directory / "source"
    (source / "d").mkdir(parents=True)
    (source / "f").write_text("model")
    (source / "d" / "x").write_text("x")
    csi = {"driver": kubelet.driver, "node": "node-1", "kubelet_root": str(kubelet.root)}
    models = {"m": {"source": f"file://{source}", "revision": "v1"}}
    return Daemon(directory / "node", models=models, settings={"csi": csi}, command=may)


@pytest.fixture
def daemon(playground: Playground, kubelet: Kubelet, tmp_path: Path) -> Iterator[Daemon]:
    with daemon_for(kubelet, tmp_path, _ONLY_MOUNT) as started:
        yield started


def volume_of(kubelet: Kubelet, **attributes: str) -> Mounter:
    return kubelet.pod().volume(attributes)


async def test_pods_start_and_end_around_daemons_that_die(
    daemon: Daemon, kubelet: Kubelet, playground: Playground
) -> None:
    receiver = playground.receiver("slave")
    assert await kubelet.register() == "node-1"
    stays, ends = volume_of(kubelet, model="m"), volume_of(kubelet, model="m")
    await stays.mount()
    await ends.mount()
    assert daemon.operator().status().lease_count == 2
    assert not daemon.operator().status().warnings
    daemon.kill9()
    assert receiver.sees(stays.target / "f") == "model"
    assert (await refused(ends)).code() is grpc.StatusCode.UNAVAILABLE
    daemon.launch()
    await torn_down_at_once(ends)
    daemon.wait_until_serving()
    await stays.mount()
    assert receiver.cannot_write(stays.target)
    assert shown(playground) == [stays.target]
    eventually(lambda: daemon.operator().status().lease_count == 1)
    assert daemon.metric('cached_volumes{model="m"}') == 1
    described = daemon.cachectl("describe", "m").stdout
    assert f"csi/{stays.id}" in described
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert list((kubelet.root / "plugins_registry").iterdir()) == []
    assert shown(playground) == [stays.target], "a stop takes nothing from running pods"
    daemon.start()
    await kubelet.register()
    await stays.tear_down()
    assert shown(playground) == []
    assert daemon.operator().status().lease_count == 0


async def torn_down_at_once(volume: Mounter) -> None:
    """As soon as anybody listens; the daemon's store may still be opening."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await volume.tear_down(seconds=1)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.01)


async def test_a_pod_gets_its_model_over_the_socket_that_is_mounted_into_it(
    daemon: Daemon, kubelet: Kubelet, playground: Playground
) -> None:
    """Client library and socket volume together, in the pod's namespace."""
    receiver = playground.receiver("slave")
    await kubelet.register()
    volume = volume_of(kubelet, socket="true")
    await volume.mount()
    inside = playground.path / "s"
    inside.mkdir()
    assert receiver.run("mount", "--rbind", volume.target, inside).returncode == 0
    got = receiver.run(BIN / "cachectl", "get", "--address", f"unix:{inside}/cached.sock", "m")
    assert got.stdout.strip().startswith(str(daemon.root / "trees")), got.stderr
    posing = (
        f"from cached.client import CacheClient\n"
        f"with CacheClient('unix:{inside}/cached.sock') as client: client.acquire('m', holder='csi/x')"
    )
    assert "does not begin with csi/" in receiver.run(sys.executable, "-c", posing).stderr
    await volume.tear_down()


async def test_a_driver_that_may_not_mount_says_so(
    playground: Playground, kubelet: Kubelet, tmp_path: Path
) -> None:
    with daemon_for(kubelet, tmp_path, _NO_MOUNT) as daemon:
        assert any("CAP_SYS_ADMIN" in each for each in daemon.operator().status().warnings)
        await kubelet.register()
        volume = volume_of(kubelet, model="m")
        error = await refused(volume)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "CAP_SYS_ADMIN" in str(error.details())
        assert daemon.operator().status().lease_count == 0
        assert not volume.target.exists()
