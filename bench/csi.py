"""What a volume with a warm model costs its pod, beside a plain bind mount."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench.daemon import Daemon
from bench.process import Failed
from cached._proto.csi.v1 import csi_pb2, csi_pb2_grpc
from cached.kit.mounts import may_mount

EMPTY = "empty RPC (Probe)"
PUBLISH = "NodePublishVolume"
PUBLISH_DIALLED = "NodePublishVolume, connection made anew"
PUBLISH_CROWDED = "NodePublishVolume, among {} volumes"
UNPUBLISH = "NodeUnpublishVolume"
SYSCALL = "mkdir and mount(2), a bind that is writable"
PROGRAM = "mount --bind, the program"

_DRIVER = "csi.cached.dev"
_WARM_UP = 20
_BIND, _DETACH = 0x1000, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Terms:
    """calls: of each kind. crowd: volumes that are there already, for one of the kinds."""

    calls: int
    crowd: int


class Targets:
    """Directories of pods that nobody runs, as kubelet makes them before it asks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0

    def new(self) -> Path:
        self._number += 1
        volume = self._root / "pods" / f"pod-{self._number}" / "volumes" / "kubernetes.io~csi" / "model"
        volume.mkdir(parents=True)
        return volume / "mount"


def run(work: Path, terms: Terms) -> dict[str, list[float]]:
    """Seconds of each call, by kind; all kinds in turn, on a warm model of one small file.

    From the call to its answer, by when the volume is mounted. Raises Failed without the right to mount.
    """
    if not may_mount():
        raise Failed("mounting needs CAP_SYS_ADMIN")
    source, kubelet = work / "source", work / "kubelet"
    for directory in (source, kubelet / "pods"):
        directory.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"weights" * 1000)
    catalog = work / "catalog.yaml"
    catalog.write_text(f'models: {{tiny: {{source: "file://{source}", revision: v1}}}}')
    with tempfile.TemporaryDirectory(prefix="cached-") as short, _no_mounts_left(work):
        socket = f"{short}/csi.sock"
        csi = {"driver": _DRIVER, "kubelet_root": str(kubelet), "socket": socket, "registration": short}
        with Daemon(work / "root", {"catalog": str(catalog), "csi": csi}):
            return _measure(f"unix:{socket}", Targets(kubelet), source, terms)


def _measure(address: str, targets: Targets, source: Path, terms: Terms) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    with grpc.insecure_channel(address) as channel:
        node = csi_pb2_grpc.NodeStub(channel)
        identity = csi_pb2_grpc.IdentityStub(channel)

        def publish(kind: str, calls: csi_pb2_grpc.NodeStub) -> None:
            request = _request(targets.new())
            with _timed(samples, kind):
                calls.NodePublishVolume(request, timeout=120)
            with _timed(samples, UNPUBLISH):
                calls.NodeUnpublishVolume(_ending(request), timeout=120)

        def dialled() -> None:
            request = _request(targets.new())
            own = [("grpc.use_local_subchannel_pool", 1)]
            with _timed(samples, PUBLISH_DIALLED), grpc.insecure_channel(address, own) as fresh:
                csi_pb2_grpc.NodeStub(fresh).NodePublishVolume(request, timeout=120)
            node.NodeUnpublishVolume(_ending(request), timeout=120)

        def empty() -> None:
            with _timed(samples, EMPTY):
                identity.Probe(csi_pb2.ProbeRequest())

        kinds = (
            empty,
            lambda: publish(PUBLISH, node),
            dialled,
            lambda: _by_syscall(samples, source, targets.new()),
            lambda: _by_program(samples, source, targets.new()),
        )
        _repeat(kinds, samples, terms.calls)
        crowd = [_request(targets.new()) for _ in range(terms.crowd)]
        for request in crowd:
            node.NodePublishVolume(request, timeout=120)
        crowded = PUBLISH_CROWDED.format(terms.crowd)
        unpublished = samples.pop(UNPUBLISH)
        for _ in range(terms.calls):
            publish(crowded, node)
        samples[UNPUBLISH] = unpublished
        for request in crowd:
            node.NodeUnpublishVolume(_ending(request), timeout=120)
    return samples


def _repeat(kinds: tuple[Callable[[], None], ...], samples: dict[str, list[float]], calls: int) -> None:
    for number in range(calls + _WARM_UP):
        for kind in kinds:
            kind()
        if number + 1 == _WARM_UP:
            samples.clear()


def _by_syscall(samples: dict[str, list[float]], source: Path, target: Path) -> None:
    with _timed(samples, SYSCALL):
        target.mkdir()
        failed = _libc.mount(os.fsencode(source), os.fsencode(target), None, _BIND, None)
    if failed:
        raise Failed(f"mount: {os.strerror(ctypes.get_errno())}")
    _libc.umount2(os.fsencode(target), 0)


def _by_program(samples: dict[str, list[float]], source: Path, target: Path) -> None:
    target.mkdir()
    with _timed(samples, PROGRAM):
        subprocess.run(["mount", "--bind", source, target], check=True)
    _libc.umount2(os.fsencode(target), 0)


def _request(target: Path) -> csi_pb2.NodePublishVolumeRequest:
    return csi_pb2.NodePublishVolumeRequest(
        volume_id=f"csi-{target.parts[-5]}",
        target_path=str(target),
        readonly=True,
        volume_capability=csi_pb2.VolumeCapability(mount=csi_pb2.VolumeCapability.MountVolume()),
        volume_context={
            "model": "tiny",
            "csi.storage.k8s.io/pod.namespace": "default",
            "csi.storage.k8s.io/ephemeral": "true",
        },
    )


def _ending(request: csi_pb2.NodePublishVolumeRequest) -> csi_pb2.NodeUnpublishVolumeRequest:
    return csi_pb2.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)


@contextmanager
def _timed(samples: dict[str, list[float]], kind: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    samples.setdefault(kind, []).append(time.perf_counter() - began)


@contextmanager
def _no_mounts_left(work: Path) -> Iterator[None]:
    """Whatever a run that failed left mounted below `work` goes, before its directories do."""
    try:
        yield
    finally:
        mounted = Path("/proc/self/mounts").read_text().splitlines()
        for point in (line.split()[1] for line in mounted):
            if point.startswith(f"{work}/"):
                _libc.umount2(os.fsencode(point), _DETACH)
