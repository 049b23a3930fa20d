"""This node's own object at the Kubernetes API server: read and patched, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from httpx2 import Response

from cached.cluster.access import FAULTS, Config, client, found_config, text, usable
from cached.core.clock import Clock
from cached.core.errors import NotConfigured
from cached.core.kubernetes import Condition, NodeView, Unanswered
from cached.kit.retry_after import retry_after

_MANAGER: Final = {"fieldManager": "cached"}
_MERGE: Final = "application/merge-patch+json"
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_TRIES: Final = 5
_MOST_TEXT: Final = 300

# What RBAC refuses is 403, what an admission policy refuses is 422 unless the policy says otherwise.
_REFUSED: Final = (401, 403, 422)

_Raw = dict[str, Any]


class _Conflict(Exception):
    """Somebody else has changed the object meanwhile."""


class KubernetesNode:
    """Implements `cached.core.kubernetes.NodeObject`. For one caller at a time.

    Others change the same object all the time: kubelet its status, autoscalers and controllers its taints and
    labels. Labels and conditions are merged by the server, key by key. Taints are a list to it, so a patch
    that takes one away names the version that the rest of the list is from, and is made anew when somebody
    came in between. Every patch names the uid: what is true of one node is not of its successor.
    """

    def __init__(self, name: str, clock: Clock, config: Config = found_config) -> None:
        self._name = name
        self._path = f"/api/v1/nodes/{quote(name, safe='')}"
        self._clock = clock
        self._config = config
        self._seen: _Raw | None = None

    async def read(self) -> NodeView:
        return self._keep(await self._get(newest=False))

    async def change(self, labels: Mapping[str, str | None], without_taint: str) -> NodeView:
        seen = self._seen or await self._get(newest=False)
        same = seen["metadata"]["uid"]
        for _ in range(_TRIES):
            patch: _Raw = {"metadata": {"uid": same, "labels": dict(labels)}}
            taints = seen["spec"].get("taints") or []
            left = [taint for taint in taints if taint["key"] != without_taint]
            if without_taint and left != taints:
                patch["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"]
                patch["spec"] = {"taints": left}
            try:
                return self._keep(await self._patch("", patch, _MERGE))
            except _Conflict:
                seen = await self._get(newest=True)
        raise Unanswered(f"node {self._name} is changed by others faster than it can be changed here")

    async def report(self, condition: Condition) -> NodeView:
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = {
            "type": condition.type,
            "status": str(condition.true),
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": now,
        }
        seen = self._seen or await self._get(newest=False)
        before = _view(seen).conditions.get(condition.type)
        if before is None or before.true is not condition.true:
            entry["lastTransitionTime"] = now
        patch = {"metadata": {"uid": seen["metadata"]["uid"]}, "status": {"conditions": [entry]}}
        try:
            return self._keep(await self._patch("/status", patch, _STRATEGIC))
        except _Conflict as conflict:
            raise Unanswered(str(conflict)) from None

    async def _get(self, *, newest: bool) -> _Raw:
        return await self._ask("GET", "", {} if newest else {"resourceVersion": "0"})

    async def _patch(self, subresource: str, patch: _Raw, kind: str) -> _Raw:
        headers = {"Content-Type": kind}
        return await self._ask("PATCH", subresource, _MANAGER, json.dumps(patch).encode(), headers)

    async def _ask(
        self,
        method: str,
        subresource: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Raw:
        """One request on a connection of its own: the CA or the token may have been replaced, and the next
        request is minutes away. Raises Unanswered, _Conflict."""
        try:
            async with client(usable(self._config, f"node {self._name}")) as http:
                url = self._path + subresource
                answer = await http.request(method, url, params=query, content=body, headers=headers)
        except FAULTS as error:
            raise Unanswered(text(error)) from None
        except NotConfigured as error:
            raise Unanswered(str(error)) from None
        return self._checked(answer)

    def _checked(self, answer: Response) -> _Raw:
        found, code = _parsed(answer), answer.status_code
        if code == 200:
            try:
                _view(found)
            except (LookupError, TypeError, AttributeError):
                raise Unanswered("the answer is no Node") from None
            return found
        why = f"HTTP {code}: {found.get('message', '')}"[:_MOST_TEXT].rstrip(": ")
        if code == 409:
            raise _Conflict(why)
        after = retry_after(answer.headers.get("Retry-After", ""), self._clock.now())
        raise Unanswered(why, refused=code in _REFUSED, after=after or 0.0)

    def _keep(self, found: _Raw) -> NodeView:
        self._seen = found
        return _view(found)


def _parsed(answer: Response) -> _Raw:
    """The object of the answer, or an empty one."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _view(found: _Raw) -> NodeView:
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    conditions = [
        Condition(each["type"], each["status"] == "True", each.get("reason", ""), each.get("message", ""))
        for each in status.get("conditions") or []
    ]
    return NodeView(
        uid=metadata["uid"],
        taints=frozenset(taint["key"] for taint in spec.get("taints") or []),
        labels=metadata.get("labels") or {},
        conditions={each.type: each for each in conditions},
    )
