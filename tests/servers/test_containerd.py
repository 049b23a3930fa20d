"""containerd as tests start it: it pulls and runs, and nothing of it is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from tests.servers.containerd import Containerd, lacking
from tests.servers.images import push, runnable
from tests.servers.layers import Noise, layer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.system.waiting import eventually

IMAGE = runnable(layer({"etc/motd": b"from a layer", "noise": Noise(3_000_000)}))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed; see make packages")
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as registry:
        push(registry.endpoint, "tests/some", "1", IMAGE)
        yield registry


@pytest.fixture(params=["1.6", "1.7", pytest.param("2", marks=pytest.mark.slow)])
def containerd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Containerd]:
    if reason := lacking(request.param):
        pytest.skip(reason)
    with Containerd(tmp_path / "containerd", version=request.param) as containerd:
        yield containerd


def blobs(containerd: Containerd) -> set[str]:
    return {f"sha256:{file.name}" for file in containerd.blobs.glob("*")}


def processes(containerd: Containerd) -> list[psutil.Process]:
    """Those that name its directory: itself, and shims."""
    ours = str(containerd.socket.parent)
    return [one for one in psutil.process_iter(["cmdline"]) if ours in " ".join(one.info["cmdline"] or [])]


def test_an_image_comes_runs_and_goes(containerd: Containerd, registry: DockerRegistry) -> None:
    name = f"{registry.host}/tests/some:1"
    with pytest.raises(grpc.RpcError, match="not found"):
        containerd.pull(f"{registry.host}/tests/none:1")
    containerd.pull(name)
    assert containerd.images() == {name, f"{registry.host}/tests/some@{IMAGE.digest}"}
    assert blobs(containerd) == {IMAGE.digest, *(blob.digest for blob in IMAGE.blobs)}
    containerd.restart()
    assert containerd.run(name, "/bin/busybox", "cat", "/etc/motd") == "from a layer"
    containerd.kill9()
    containerd.start()
    containerd.remove(name)
    assert not containerd.images()
    assert not blobs(containerd)


def test_nothing_outlives_it(registry: DockerRegistry, tmp_path: Path) -> None:
    """Not even a container that runs for an hour."""
    if reason := lacking("1.7"):
        pytest.skip(reason)
    name = f"{registry.host}/tests/some:1"
    with ThreadPoolExecutor(1) as threads, Containerd(tmp_path, discard_unpacked_layers=True) as containerd:
        containerd.pull(name)
        eventually(lambda: blobs(containerd) == {IMAGE.digest, IMAGE.blobs[0].digest})
        ran = threads.submit(containerd.run, name)
        eventually(lambda: "RUNNING" in containerd.ctr("tasks", "ls"))
        assert containerd.cgroups()
        assert processes(containerd)
    assert isinstance(ran.exception(), AssertionError)
    assert not containerd.cgroups()
    assert not processes(containerd)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not containerd.content_root.exists()
    assert not containerd.socket.parent.exists()
