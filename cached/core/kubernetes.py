"""This node as Kubernetes knows it: what is asked of its API server, and how that says no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Unanswered(Exception):
    """The API server was not reached, or did not do what it was asked for; the text holds no credential.

    refused: it does not permit it, so that asking again soon is in vain. after: seconds for which it wants to
    be left alone, if it said so.
    """

    def __init__(self, why: str, *, refused: bool = False, after: float = 0.0) -> None:
        super().__init__(why)
        self.refused = refused
        self.after = after


@dataclass(frozen=True, slots=True)
class Condition:
    """Something said of a node, true or not. reason: one word for programs. message: a sentence."""

    type: str
    true: bool
    reason: str
    message: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What its object said when last seen. uid: another one is another node. taints: their keys.

    conditions: by type.
    """

    uid: str
    taints: frozenset[str]
    labels: Mapping[str, str]
    conditions: Mapping[str, Condition]


class NodeObject(Protocol):
    """This node's own object. Whatever is not named stays as others have it. All raise Unanswered.

    Another node of the same name, than was seen last, is only read.
    """

    async def read(self) -> NodeView:
        """As the server has it at hand, which spares its database."""
        ...

    async def change(self, labels: Mapping[str, str | None], without_taint: str) -> NodeView:
        """Set these labels, or take those away that are None, and all taints of that key, unless empty.

        All of it at once, or nothing.
        """
        ...

    async def report(self, condition: Condition) -> NodeView:
        """Set the condition of that type."""
        ...
