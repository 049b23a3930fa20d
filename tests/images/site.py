"""A node with a real containerd whose mirror is a real daemon, and a real registry behind both."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.net.node import Node as HostedDaemon
from tests.net.switch import Host
from tests.servers.containerd import Containerd
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, push
from tests.servers.ports import free_ports
from tests.servers.registry import DockerRegistry
from tests.system.daemon import Daemon, merged


class Origin:
    """A registry as nodes know it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.host = endpoint.removeprefix("http://")


class Upstream(Origin):
    """A registry behind a proxy that counts, and that fails as told."""

    def __init__(self, registry: DockerRegistry, front: FaultyServer) -> None:
        super().__init__(front.endpoint)
        self.registry = registry
        self.front = front

    def offer(self, name: str, image: Image, tag: str = "v1", *, authorization: str = "") -> str:
        """Push an image past the proxy; returns its name in full."""
        push(self.registry.endpoint, name, tag, image, authorization=authorization)
        return f"{self.host}/{name}:{tag}"

    def read(self, by: str = "") -> int:
        """Bytes of manifests and blobs that were sent so far; `by`: to clients that call themselves so."""
        return sum(
            seen.sent
            for seen in self.front.requests("/v2/*/*")
            if seen.headers.get("user-agent", "").lower().startswith(by)
        )

    def gets(self, path: str = "/v2/*/*", by: str = "") -> int:
        """GETs that came so far."""
        return sum(
            seen.headers.get("user-agent", "").lower().startswith(by) for seen in self.front.requests(path)
        )


class Node:
    """A daemon with a mirror, and a containerd that asks there first, while the `with` block runs.

    The daemon does not run before `start`. `runtime` is None where only the daemon is of interest.
    """

    def __init__(
        self,
        home: Path,
        upstream: Origin,
        *,
        containerd: str = "1.7",
        images: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        host: Host | None = None,
        discard_unpacked_layers: bool = False,
        fetch_buffer: int = 0,
    ) -> None:
        """containerd: its version, "" for none. images: settings of that section. host: where it all runs.

        discard_unpacked_layers, fetch_buffer: of containerd.
        """
        self._stack = ExitStack()
        self.upstream = upstream
        self.mirror_port = free_ports(1)[0]
        command = host.namespace.command if host else ()
        self.runtime: Containerd | None = None
        if containerd:
            self.runtime = Containerd(
                home / "containerd",
                version=containerd,
                command=command,
                discard_unpacked_layers=discard_unpacked_layers,
                fetch_buffer=fetch_buffer,
            )
        self._images = images or {}
        self.daemon = (
            HostedDaemon(home / "cached", host, settings=settings or {}, environment={})
            if host
            else Daemon(home / "cached", settings=settings)
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.push(self.daemon.__exit__)
            own: dict[str, Any] = {
                "upstreams": {self.upstream.host: {"endpoint": self.upstream.endpoint}},
                "mirror": f"127.0.0.1:{self.mirror_port}",
            }
            if self.runtime is not None:
                stack.enter_context(self.runtime)
                own["runtime"] = {
                    "socket": str(self.runtime.socket),
                    "root": str(self.runtime.content_root),
                }
                self.runtime.hosts_toml(self.upstream.host, self.hosts_toml)
            self.daemon.settings["images"] = merged(own, self._images)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        print(f"--- {self.daemon.home}, {self.daemon.fate}\n{self.daemon.log[-8000:]}")

    @property
    def hosts_toml(self) -> str:
        return (
            f'server = "{self.upstream.endpoint}"\n\n[host."{self.mirror}"]\n'
            '  capabilities = ["pull", "resolve"]\n  dial_timeout = "200ms"\n'
        )

    @property
    def mirror(self) -> str:
        """The URL of the daemon's mirror."""
        return f"http://127.0.0.1:{self.mirror_port}"

    @property
    def containerd(self) -> Containerd:
        assert self.runtime is not None, "this node has no containerd"
        return self.runtime

    def write_catalog(self, images: Mapping[str, Any]) -> None:
        """Put a catalog of images into the place of the one before."""
        draft = self.daemon.home / ".catalog.draft"
        draft.write_text(yaml.safe_dump({"images": dict(images)}))
        draft.rename(self.daemon.catalog)

    def warm(self, *arguments: str, code: int | None = 0, seconds: float = 60) -> str:
        """`cachectl warm --image …`; returns what it printed."""
        return self.daemon.cachectl("warm", "--image", *arguments, code=code, seconds=seconds).stdout
