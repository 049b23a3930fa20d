"""containerd, as kubelet sees it: CRI, and its own API for pins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from cached._proto.containerd.services.images.v1 import images_pb2 as records
from cached._proto.containerd.services.images.v1.images_pb2_grpc import ImagesStub
from cached._proto.containerd.types.descriptor_pb2 import Descriptor
from cached._proto.runtime.v1 import images_pb2 as cri
from cached._proto.runtime.v1.images_pb2_grpc import ImageServiceStub
from cached.core.image import ImageName
from cached.core.runtime import Login
from cached.runtime.refusals import refusal

# It is restarted while nodes boot: look for it often, and go on with it at once.
_OPTIONS: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))

_PIN: Final = "io.cri-containerd.pinned"
_NAMESPACE: Final = (("containerd-namespace", "k8s.io"),)
_LOOKS: Final = (0.0, 0.02, 0.05, 0.1, 0.3, 0.5, 1.0, 1.0)
"""Seconds before each look whether a pin is seen: CRI learns of it by an event."""


class Containerd:
    """Implements `cached.core.runtime.Runtime`. Made, used and closed on one event loop.

    A call fails at once while nobody answers at the socket, and works again within a second of its return.
    """

    def __init__(self, socket: Path, *, answer_seconds: float = 10.0) -> None:
        """answer_seconds: how long it may take to answer, but for pulls, which their caller bounds."""
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._cri = ImageServiceStub(self._channel)
        self._records = ImagesStub(self._channel)
        self._seconds = answer_seconds

    async def has(self, image: ImageName) -> bool:
        """See Runtime.has. A tag is what it was when it was pulled."""
        return (await self._status(image)).HasField("image")

    async def pull(self, image: ImageName, login: Login | None) -> None:
        """See Runtime.pull."""
        request = cri.PullImageRequest(image=cri.ImageSpec(image=_name(image)))
        if login is not None:
            # Without server_address, as kubelet does it: then mirrors may ask for it, too, to let a puller
            # prove itself.
            request.auth.CopyFrom(cri.AuthConfig(username=login.user, password=login.password))
        try:
            await self._cri.PullImage(request)
        except grpc.aio.AioRpcError as error:
            raise refusal(error, image, "pull", login) from None

    async def pin(self, image: ImageName) -> bool:
        """See Runtime.pin. Raises NotFound.

        Whether kubelet will be told of the pin is looked up rather than guessed from a version: 1.6.25 and
        1.7.10 see it at once, 1.6.22 and 1.7.3 only after their next start, and distributions patch theirs.
        Another pull of the same name takes it away.
        """
        label = records.Image(name=_name(image), labels={_PIN: "pinned"}, target=Descriptor())
        request = records.UpdateImageRequest(image=label, update_mask=FieldMask(paths=[f"labels.{_PIN}"]))
        try:
            await self._records.Update(request, metadata=_NAMESPACE, timeout=self._seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is StatusCode.UNIMPLEMENTED:  # a runtime other than containerd
                return False
            raise refusal(error, image, "pin") from None
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            if (await self._status(image)).image.pinned:
                return True
        return False

    async def close(self) -> None:
        await self._channel.close(None)

    async def _status(self, image: ImageName) -> cri.ImageStatusResponse:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=_name(image)))
        try:
            return await self._cri.ImageStatus(request, timeout=self._seconds)
        except grpc.aio.AioRpcError as error:
            raise refusal(error, image, "look for") from None


def _name(image: ImageName) -> str:
    """By which containerd knows it: with a digest, the tag is of no account."""
    return f"{image.repository}@{image.digest}" if image.digest else f"{image.repository}:{image.tag}"
