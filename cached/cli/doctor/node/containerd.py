"""All of `cachectl containerd check`, where containerd's files are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from cached.cli.containerd import installed
from cached.cli.containerd.check import findings_of
from cached.cli.containerd.options import certs_d_of
from cached.cli.containerd.wanted import wanted_of
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding


def look(scene: Scene) -> Iterator[Finding]:
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    images = scene.settings.images
    if not images.mirror or not images.upstreams:
        raise Skipped("images.mirror is not set")
    if not installed.USUAL.parent.exists() and shutil.which("containerd") is None:
        raise Skipped("containerd's files are not seen from here: look on the node, not in a container")
    found = installed.look(installed.USUAL)
    for finding in findings_of(found, certs_d_of(found), wanted_of(images, images.mirror)):
        if finding.subject != "mirror":  # which is looked at by itself
            yield finding
