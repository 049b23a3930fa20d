"""How a lab's API server is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightkube.config.kubeconfig import KubeConfig, SingleConfig


def write(path: Path, url: str, token: str = "right", **cluster: Any) -> None:
    """A kubeconfig. cluster: more of it, such as its CA."""
    told = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "clusters": [{"name": "lab", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "me", "user": {"token": token}}],
    }
    path.write_text(json.dumps(told))


def of_lab(url: str, path: Path) -> SingleConfig:
    """Out of a file at `path`, as it would be found."""
    write(path, url)
    found = KubeConfig.from_file(path).get()
    assert found is not None
    return found
