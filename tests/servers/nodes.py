"""A stand-in for the Kubernetes API server: nodes that are read and patched, and the failures of both.

A fake, because the real one takes minutes to build and seconds to start, and nobody comes in between there
at a chosen moment. `tests/daemonset/test_gate_at_work.py` holds the daemon against the real one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Raw = dict[str, Any]
Fence = Callable[[str, Raw, Raw], list[str]]
"""What an admission policy has against a change: of a subresource, from an object, to an object."""

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass
class Request:
    """One that came, and what it was answered."""

    method: str
    path: str
    query: dict[str, str]
    body: Raw
    status: int = 0


@dataclass
class NodesFake:
    """Serves on the loop of whoever enters it. `between` is called once, before the next patch is applied."""

    nodes: dict[str, Raw] = field(default_factory=dict)
    fence: Fence = lambda subresource, old, new: []
    token: str = "right"
    refuse: tuple[int, dict[str, str]] | None = None
    """A status and headers for all requests."""
    nonsense: bytes | None = None
    """An answer to all requests."""
    between: Callable[[Raw], None] | None = None
    always_between: bool = False
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def join(self, name: str, *taints: str, uid: str = "", **more: Any) -> Raw:
        """A node, or another one of that name."""
        status = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}
        node = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": name, "uid": uid or f"uid-of-{name}", "resourceVersion": "1", **more},
            "spec": {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]} if taints else {},
            "status": status,
        }
        self.nodes[name] = node
        return node

    def touch(self, node: Raw) -> None:
        """Somebody has changed it."""
        node["metadata"]["resourceVersion"] = str(int(node["metadata"]["resourceVersion"]) + 1)

    def patches(self) -> list[Raw]:
        """What was applied."""
        return [each.body for each in self.requests if each.method == "PATCH" and each.status == 200]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, asked: web.Request) -> web.Response:
        body = json.loads(await asked.read() or b"{}")
        request = Request(asked.method, asked.path, dict(asked.query), body)
        self.requests.append(request)
        if asked.headers.get("Authorization") != f"Bearer {self.token}":
            answer = _no(401, "Unauthorized")
        elif self.refuse is not None:
            answer = _no(self.refuse[0], "as told", self.refuse[1])
        elif self.nonsense is not None:
            answer = web.Response(body=self.nonsense)
        else:
            answer = self._do(request, asked.content_type)
        request.status = answer.status
        return answer

    def _do(self, request: Request, content_type: str) -> web.Response:
        parts = request.path.split("/")
        assert parts[:4] == ["", "api", "v1", "nodes"]
        name, subresource = parts[4], "/".join(parts[5:])
        node = self.nodes.get(name)
        if node is None:
            return _no(404, f'nodes "{name}" not found')
        if request.method == "GET":
            assert not subresource, "it may not be read"
            return web.json_response(node)
        assert request.method == "PATCH"
        if self.between is not None:
            self.between(node)
            self.touch(node)
            if not self.always_between:
                self.between = None
        node = self.nodes[name]
        if request.body.get("metadata", {}).get("uid") not in (None, node["metadata"]["uid"]):
            return _no(422, f'Node "{name}" is invalid: metadata.uid: Invalid value: field is immutable')
        version = request.body.get("metadata", {}).get("resourceVersion")
        if version not in (None, node["metadata"]["resourceVersion"]):
            return _no(409, f'Operation cannot be fulfilled on nodes "{name}": the object has been modified')
        new = patched(node, request.body, subresource, content_type)
        if refusals := self.fence(subresource, node, new):
            return _no(422, refusals[0])
        self.nodes[name] = new
        self.touch(new)
        return web.json_response(new)


def patched(node: Raw, patch: Raw, subresource: str, content_type: str) -> Raw:
    """The object as the patch would have it; what a subresource does not cover stays."""
    assert subresource in ("", "status")
    if content_type == MERGE:
        new = merged(node, patch)
    else:
        assert content_type == STRATEGIC
        assert patch.keys() == {"metadata", "status"}
        assert patch["metadata"].keys() == {"uid"}
        assert patch["status"].keys() == {"conditions"}
        new = copy.deepcopy(node)
        by_type = {each["type"]: each for each in new["status"].get("conditions") or []}
        for each in patch["status"]["conditions"]:
            by_type[each["type"]] = by_type.get(each["type"], {}) | each
        new["status"]["conditions"] = list(by_type.values())
    stays = "spec" if subresource else "status"
    return {**new, stays: copy.deepcopy(node[stays])}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _no(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return web.json_response(status, status=code, headers=headers)
