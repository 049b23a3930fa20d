"""What kubelet's requests must be like, and what the volume attributes of a pod mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from cached._proto.csi.v1.csi_pb2 import NodePublishVolumeRequest, NodeUnpublishVolumeRequest
from cached.core.errors import InvalidRequest
from cached.core.ref import Ref

MAX_ID_BYTES: Final = 128

# What podInfoOnMount adds.
_KUBELETS: Final = "csi.storage.k8s.io/"
_NAMESPACE: Final = f"{_KUBELETS}pod.namespace"
_EPHEMERAL: Final = f"{_KUBELETS}ephemeral"

_OURS: Final = frozenset({"model", "revision", "include", "view", "socket"})
_BETWEEN: Final = re.compile(r"[,\s]+")


def checked_id(request: NodePublishVolumeRequest | NodeUnpublishVolumeRequest) -> str:
    """The volume's id. Raises InvalidRequest for none, or for one that would spoil a log."""
    volume = request.volume_id
    if not volume:
        raise InvalidRequest("no volume is named", hint="send volume_id")
    if len(volume.encode()) > MAX_ID_BYTES or not volume.isprintable():
        raise InvalidRequest(
            f"not a volume's id: {volume[:100]!r}", hint=f"use at most {MAX_ID_BYTES} printable bytes"
        )
    return volume


def checked_target(request: NodePublishVolumeRequest | NodeUnpublishVolumeRequest) -> str:
    """Where the volume is to be. Raises InvalidRequest when that is not said."""
    if not request.target_path:
        raise InvalidRequest("no target path is named", hint="send target_path")
    return request.target_path


def check_use(request: NodePublishVolumeRequest) -> None:
    """Raises InvalidRequest unless it is an inline volume to be read as a directory."""
    capability = request.volume_capability
    if not request.HasField("volume_capability") or capability.WhichOneof("access_type") is None:
        raise InvalidRequest("it is not said how the volume would be used", hint="send volume_capability")
    if not capability.HasField("mount"):
        raise InvalidRequest("models are directories, not block devices", hint="leave volumeDevices out")
    if capability.mount.mount_flags:
        raise InvalidRequest("a model is mounted in one way only", hint="leave mountOptions out")
    if not request.readonly:
        raise InvalidRequest("volumes are for reading only", hint="set readOnly: true in the volume's csi")
    if request.volume_context.get(_EPHEMERAL, "true") != "true":
        raise InvalidRequest(
            "only inline volumes of pods are served, no persistent ones",
            hint="write csi: into the pod's volumes, without a PersistentVolume",
        )


def wanted(attributes: Mapping[str, str]) -> Ref | None:
    """The model that a pod's volumeAttributes ask for, or None for the pods' socket.

    Raises InvalidRequest that names the attribute.
    """
    given = {key: value for key, value in attributes.items() if not key.startswith(_KUBELETS)}
    if strange := sorted(given.keys() - _OURS):
        raise InvalidRequest(
            f"unknown volume attribute {strange[0][:100]!r}", hint=f"there are {', '.join(sorted(_OURS))}"
        )
    if "socket" in given:
        if given != {"socket": "true"}:
            raise InvalidRequest(
                'socket is "true", and alone', hint="make a volume of its own for each model beside it"
            )
        return None
    model, revision = given.get("model", ""), given.get("revision", "")
    if not model:
        raise InvalidRequest("no model is named", hint="set volumeAttributes.model to a name of the catalog")
    ref = Ref.parse(model)
    if ref.uri or ref.include or ref.view:
        raise InvalidRequest(
            f"not the name of a model: {model[:200]!r}",
            hint="name a model of the catalog; include and view are attributes of their own",
        )
    if revision and ref.revision not in ("", revision):
        raise InvalidRequest(
            f"two revisions of {ref.name}: {ref.revision} and {revision[:140]}", hint="leave one of them out"
        )
    include = [pattern for pattern in _BETWEEN.split(given.get("include", "")) if pattern]
    return Ref.of(ref.name, revision or ref.revision, include, given.get("view", ""))


def namespace_of(attributes: Mapping[str, str]) -> str:
    """The pod's namespace, as podInfoOnMount has kubelet say it; empty when it does not."""
    return attributes.get(_NAMESPACE, "")
