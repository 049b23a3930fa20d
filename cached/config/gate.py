"""Settings for what this node's object says at the Kubernetes API server."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from cached.config.kinds import Seconds, Section

_DOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_NODE = re.compile(rf"{_DOMAIN}\Z")
_QUALIFIED = re.compile(rf"({_DOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9._-]{{0,61}}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(rf"{_DOMAIN}/\Z")
_KUBERNETES = re.compile(r"(.*\.)?(kubernetes|k8s)\.io/\Z")
_LONGEST = 253


class Labels(Section):
    """Labels of the node that say which models of the catalog are warm on it."""

    prefix: str = "model.cached.dev/"
    """What their keys begin with. Labels below it that say `warm` belong to the daemon."""
    most: Annotated[int, Field(ge=0, le=100)] = 20
    """How many at most; 0 for none."""

    @field_validator("prefix")
    @classmethod
    def _own(cls, value: str) -> str:
        if len(value) > _LONGEST or not _PREFIX.match(value) or _KUBERNETES.match(value):
            raise ValueError("write a domain of your own and a slash, such as model.cached.dev/")
        return value


class Gate(Section):
    """Says in this node's object whether it is ready for pods, and which models are warm. Off unless `node`
    is set."""

    node: str | None = None
    """Name of the node's object, such as $(NODE_NAME) of the downward API."""
    taint: str | None = "cached.dev/not-ready"
    """Key of the startup taint that is taken away once the node is ready; empty for none."""
    condition: str | None = None
    """Type of a condition of the node that becomes true then, such as cached.dev/Ready; empty for none."""
    deadline: Seconds = 600.0
    """The node is ready when it serves, and all is warm that the catalog wants warm at the start, or so much
    time has passed since the daemon first started after a boot; 0 to wait for nothing."""
    labels: Labels = Labels()
    """Labels that say which models are warm."""

    @field_validator("node")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is not None and (len(value) > _LONGEST or not _NODE.match(value)):
            raise ValueError("write the node's name as kubectl get nodes does")
        return value

    @field_validator("taint", "condition")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value and (len(value) > _LONGEST or not _QUALIFIED.match(value)):
            raise ValueError("write a name with a domain before it, such as cached.dev/not-ready")
        return value or None
