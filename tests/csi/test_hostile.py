"""What nobody should send, and paths that lead elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from cached._proto.csi.v1 import csi_pb2 as csi
from cached.core.errors import InvalidRequest
from cached.engine.publish.volume import place_of, relative_of
from cached.serve.api.checks import checked_holder
from tests.csi.kubelet import Mounter
from tests.csi.node import Node, shown
from tests.publish.playground import Playground, run

Code = grpc.StatusCode
ROOT = Path("/var/lib/kubelet")
GOOD = "/var/lib/kubelet/pods/0a-1b/volumes/kubernetes.io~csi/model/mount"

OUTSIDE = [
    "/etc",
    "/",
    "mount",
    "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/m/mount/",
    "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/m/mount/more",
    "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/../mount",
    "/var/lib/kubelet/pods/../volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/pods/./volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/pods//volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/../kubelet/pods/u/volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/m/mount",
    "/var/lib/kubelet2/pods/u/volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/plugins/u/volumes/kubernetes.io~csi/m/mount",
    "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/m\0x/mount",
    "/var/lib/kubelet/pods/" + "u" * 5000 + "/volumes/kubernetes.io~csi/m/mount",
]


def test_where_targets_are() -> None:
    assert str(place_of(ROOT, GOOD)) == GOOD
    assert str(relative_of(ROOT, GOOD)) == GOOD.removeprefix(f"{ROOT}/")


@pytest.mark.parametrize("path", OUTSIDE, ids=range(len(OUTSIDE)))
def test_where_none_is(path: str) -> None:
    with pytest.raises(InvalidRequest, match="kubelet"):
        place_of(ROOT, path)


async def refusal(node: Node, request: csi.NodePublishVolumeRequest) -> grpc.aio.AioRpcError:
    async with node.kubelet.node() as calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls.NodePublishVolume(request, timeout=5)
    return caught.value


async def unpublish(node: Node, volume_id: str, target: str) -> None:
    async with node.kubelet.node() as calls:
        request = csi.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target)
        await calls.NodeUnpublishVolume(request, timeout=5)


@pytest.fixture
def volume(node: Node) -> Mounter:
    made = node.volume(model="org/m")
    made.prepare()
    return made


async def test_targets_outside_of_kubelets_root(node: Node, playground: Playground, volume: Mounter) -> None:
    outside = playground.path / "outside"
    outside.mkdir()
    for path in (str(outside), f"{node.kubelet.root}/pods/../../outside", str(volume.target.parent)):
        request = volume.request
        request.target_path = path
        error = await refusal(node, request)
        assert error.code() is Code.INVALID_ARGUMENT
        assert "csi.kubelet_root" in str(error.details())
        await unpublish(node, volume.id, path)
    run("mount", "-t", "tmpfs", "precious", outside)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unpublish(node, volume.id, str(outside))
    assert caught.value.code() is Code.FAILED_PRECONDITION
    assert [mount.point for mount in playground.mounts()] == [str(outside)]


@pytest.mark.parametrize("part", ["mount", "model", "kubernetes.io~csi", "volumes", "uid", "pods"])
async def test_links_on_the_way_lead_nowhere(
    node: Node, playground: Playground, volume: Mounter, part: str
) -> None:
    """Each directory on the way is replaced by a link to one that looks just like it, elsewhere."""
    link = volume.target
    if part != "mount":
        part = volume.pod.uid if part == "uid" else part
        link = next(parent for parent in volume.target.parents if parent.name == part)
    elsewhere = playground.path / "elsewhere"
    if link.exists():
        link.rename(elsewhere)
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    error = await refusal(node, volume.request)
    assert error.code() is Code.INVALID_ARGUMENT
    assert shown(playground) == []
    run("mount", "-t", "tmpfs", "precious", elsewhere)
    await unpublish(node, volume.id, str(volume.target))
    assert [mount.point for mount in playground.mounts()] == [str(elsewhere)]
    assert link.is_symlink()
    assert node.leases == []


async def test_a_file_at_the_target_stays(node: Node, volume: Mounter) -> None:
    volume.target.write_text("precious")
    assert (await refusal(node, volume.request)).code() is Code.INVALID_ARGUMENT
    await unpublish(node, volume.id, str(volume.target))
    assert volume.target.read_text() == "precious"


@pytest.mark.parametrize("volume_id", ["", "x" * 129, "é" * 65, "a\nb", "\x1b[2J", "a\0b"])
async def test_strange_ids_of_volumes(node: Node, volume: Mounter, volume_id: str) -> None:
    request = volume.request
    request.volume_id = volume_id
    assert (await refusal(node, request)).code() is Code.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unpublish(node, volume_id, str(volume.target))
    assert caught.value.code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("volume_id", ["../../etc", "csi/x", "a b", "%2e%2e", "' OR 1=1", "x" * 128])
async def test_odd_ids_are_only_names(
    node: Node, playground: Playground, volume: Mounter, volume_id: str
) -> None:
    request = volume.request
    request.volume_id = volume_id
    async with node.kubelet.node() as calls:
        await calls.NodePublishVolume(request, timeout=5)
    assert [lease.holder for lease in node.leases] == [f"csi/{volume_id}"]
    await unpublish(node, volume_id, str(volume.target))
    assert (shown(playground), node.leases) == ([], [])


async def test_no_directory_above_the_target(node: Node, volume: Mounter) -> None:
    os.unlink(volume.target.parent / "vol_data.json")
    volume.target.parent.rmdir()
    assert (await refusal(node, volume.request)).code() is Code.NOT_FOUND
    assert node.leases == []


async def test_nobody_on_the_sockets_poses_as_a_volume() -> None:
    with pytest.raises(InvalidRequest, match="csi/"):
        checked_holder("csi/csi-0123")
