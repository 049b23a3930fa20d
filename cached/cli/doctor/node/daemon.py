"""What the daemon says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cached import __version__
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node.settings import status_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import StatusResponse

# Of the daemon's own warnings, those that other checks explain, by what they say.
TOLD_ELSEWHERE: Final = (
    "the catalog file was refused",  # catalog
    "that min_free demands",  # disk
    "without CAP_SYS_ADMIN",  # mounts
    "is on no shared mount",  # mounts
    "kubelet refuses the CSI plugin",  # csi
    "the scrub found",  # here
)


def look(scene: Scene) -> Iterator[Finding]:
    status = status_of(scene)
    if status is None:
        raise Skipped("the daemon does not answer")
    yield from judge(status, __version__)


def judge(status: StatusResponse, version: str) -> Iterator[Finding]:
    """version: of this cachectl."""
    if status.version != version:
        yield Finding(
            "warning",
            "version",
            f"the daemon is {status.version}, this cachectl {version}",
            "use the one that came with the daemon; what is newer may not be known to the other",
        )
    else:
        yield Finding("ok", "version", f"{version}, {status.tree_count} models and images here")
    if status.draining:
        yield Finding("warning", "daemon", "it is stopping, and takes no new work", "wait for the next one")
    if status.scrub.corrupt_count:
        count = status.scrub.corrupt_count
        yield Finding(
            "problem",
            "scrub",
            f"{count} blob{'s' * (count > 1)} found corrupt on this disk since the daemon started",
            "see dmesg; cachectl verify; replace the disk",
        )
    for warning in status.warnings:
        if not any(part in warning for part in TOLD_ELSEWHERE):
            yield Finding("warning", "daemon", warning, "cachectl status, and its log")
