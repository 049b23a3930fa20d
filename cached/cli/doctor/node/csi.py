"""Asking the CSI plugin what kubelet would ask it, and the API server what it knows of the driver."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cached.cli.doctor.apiserver import get
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node import about_csi
from cached.cli.doctor.node.about_csi import Plugin
from cached.cli.doctor.node.settings import status_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.kubernetes import Unanswered

if TYPE_CHECKING:
    import grpc

    from cached.config.publishing import Csi

T = TypeVar("T")

_PATIENCE: Final = 2.0
_REFUSED: Final = "kubelet refuses the CSI plugin: "
_STORAGE: Final = "/apis/storage.k8s.io/v1"


def look(scene: Scene) -> Iterator[Finding]:
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    csi = scene.settings.csi
    if csi.driver is None:
        raise Skipped("csi.driver is not set")
    status = status_of(scene)
    refusals = [each for each in (status.warnings if status else ()) if each.startswith(_REFUSED)]
    yield from about_csi.of_plugin(_plugin(csi, "".join(refusals).removeprefix(_REFUSED)))
    yield from _of_cluster(csi.driver, csi.node or socket.gethostname())


def _plugin(csi: Csi, refusal: str) -> Plugin:
    from cached._proto.csi.v1.csi_pb2 import GetPluginInfoRequest, ProbeRequest
    from cached._proto.csi.v1.csi_pb2_grpc import IdentityStub
    from cached._proto.pluginregistration.v1.api_pb2 import InfoRequest
    from cached._proto.pluginregistration.v1.api_pb2_grpc import RegistrationStub

    info, fault = _asked(
        csi.socket_path, lambda to: IdentityStub(to).GetPluginInfo(GetPluginInfoRequest(), timeout=_PATIENCE)
    )
    probe, sick = _asked(
        csi.socket_path, lambda to: IdentityStub(to).Probe(ProbeRequest(), timeout=_PATIENCE)
    )
    shown, hidden = _asked(
        csi.registration_path, lambda to: RegistrationStub(to).GetInfo(InfoRequest(), timeout=_PATIENCE)
    )
    return Plugin(
        driver=str(csi.driver),
        socket=csi.socket_path,
        registration=csi.registration_path,
        name=info.name if info else "",
        ready=bool(probe and probe.ready.value),
        fault=fault or sick,
        registered=shown.name if shown else "",
        endpoint=shown.endpoint if shown else "",
        hidden=hidden,
        refusal=refusal,
    )


def _asked(path: Path, call: Callable[[grpc.Channel], T]) -> tuple[T | None, str]:
    """What is answered at a socket, or why nothing is."""
    import grpc

    if not path.exists():
        return None, f"there is no socket {path}"
    with grpc.insecure_channel(f"unix:{path}") as channel:
        try:
            return call(channel), ""
        except grpc.RpcError as error:
            return None, error.details() or error.code().name


def _of_cluster(driver: str, node: str) -> Iterator[Finding]:
    try:
        found = get(f"{_STORAGE}/csidrivers/{driver}")
        yield about_csi.of_object(driver, found.status, found.body)
        if found.status == 200:
            taken = get(f"{_STORAGE}/csinodes/{node}")
            yield about_csi.of_node(driver, node, taken.status, taken.body)
    except Unanswered as reason:
        yield Finding("skipped", "CSIDriver", f"not looked up: {reason}")
