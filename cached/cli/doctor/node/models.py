"""Whether models and images came as the catalog wants, and the node was opened for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import Denied

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import ReadinessResponse
    from cached._proto.v1.types_pb2 import Artifact

_PATIENCE: Final = 3.0
_FAILED: Final = 4  # ARTIFACT_STATE_FAILED
_OPEN_DEADLINE: Final = 3  # GATE_STATE_OPEN_DEADLINE
_NAMED: Final = 5


def look(scene: Scene) -> Iterator[Finding]:
    with scene.operator() as operator:
        artifacts = [*operator.list(timeout=_PATIENCE), *operator.list(images=True, timeout=_PATIENCE)]
        yield from of_failures(artifacts)
        try:
            yield from of_readiness(operator.readiness(timeout=_PATIENCE))
        except Denied:  # an older daemon
            yield Finding("skipped", "readiness", "this daemon is older than cachectl, and cannot be asked")


def of_failures(artifacts: Sequence[Artifact]) -> Iterator[Finding]:
    failed = [each for each in artifacts if each.state == _FAILED]
    for each in failed[:_NAMED]:
        yield Finding(
            "problem",
            each.ref,
            f"{each.ref} failed: {each.last_error}",
            f"mend that; cachectl warm {each.ref}",
        )
    if len(failed) > _NAMED:
        yield Finding("problem", "models", f"{len(failed) - _NAMED} more failed", "cachectl ls")


def of_readiness(told: ReadinessResponse) -> Iterator[Finding]:
    wanted, missing = told.wanted_count, [each.ref for each in told.missing]
    if missing:
        some = ", ".join(missing[:_NAMED]) + (" and others" if len(missing) > _NAMED else "")
        message = f"{len(missing)} of {wanted} that are to be warm from the start are not: {some}"
        yield Finding(
            "warning", "readiness", message, "cachectl node ready says how far they are; wait, or see why"
        )
    elif wanted:
        yield Finding("ok", "readiness", f"warm is all that is to be from the start: {wanted}")
    else:
        yield Finding("ok", "readiness", "nothing is to be warm from the start")
    if told.gate.trouble:
        yield Finding(
            "problem",
            told.gate.node,
            f"node {told.gate.node} cannot be opened to pods: {told.gate.trouble}",
            "see gate.node, the ClusterRole and the admission policy of daemonset/components/gate",
        )
    elif told.gate.state == _OPEN_DEADLINE and missing:
        message = f"node {told.gate.node} was opened by gate.deadline, before all was warm"
        yield Finding(
            "warning",
            told.gate.node,
            message,
            "pods wait for their models; a longer gate.deadline waits more",
        )
