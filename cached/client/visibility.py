"""Whether this process sees what the daemon published."""

from __future__ import annotations

import os

from cached.client.errors import NotVisible
from cached.client.grant import Grant


def check_visible(grant: Grant) -> None:
    """Raises NotVisible, with what to mount, unless the tree's directory is here with its files.

    One stat when all is well; it blocks no longer than the local disk does.
    """
    try:
        os.stat(os.path.join(grant.path, grant.sample_file))
    except OSError as error:
        raise _explain(grant, error) from None


def _explain(grant: Grant, error: OSError) -> NotVisible:
    path = grant.path
    if isinstance(error, PermissionError):
        return NotVisible(
            f"the model is at {path} on the node, but this user may not read it there",
            hint="every directory above it must be open to this user (mode o+x), and SELinux or AppArmor "
            "must let the pod read host paths",
        )
    if not os.path.lexists(path):
        return NotVisible(
            f"the model is at {path} on the node, but there is no such path here",
            hint="mount the daemon's data directory into the pod read-only at the same path: a hostPath "
            "volume whose path and mountPath are equal, with mountPropagation: HostToContainer",
        )
    return NotVisible(
        f"the model is at {path} on the node, but what is here at that path does not hold "
        f"{grant.sample_file!r}",
        hint="another directory is mounted there, or the mount is older than the model: mount the daemon's "
        "data directory itself, with mountPropagation: HostToContainer",
    )
