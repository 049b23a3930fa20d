"""A real containerd that was configured: it asks the mirror first, and does without it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cached.cli.main import cli
from tests.servers.containerd import Containerd, lacking, programs
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import image, push
from tests.servers.layers import layer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as registry:
        push(registry.endpoint, "team/app", "v1", image([layer({"hello": b"hello" * 1000})]))
        yield registry


@pytest.fixture(params=["1.6", "1.7", "2"])
def containerd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Containerd]:
    if why := lacking(request.param):
        pytest.skip(why)
    monkeypatch.setenv("PATH", str(programs(request.param)), prepend=os.pathsep)
    with Containerd(tmp_path / "containerd", version=request.param) as containerd:
        yield containerd


def asked(*fronts: FaultyServer) -> list[bool]:
    """Which of them were asked for anything of the image since the last call."""
    found = [
        bool(front.requests("/v2/team/*")) or bool(front.requests("/v2/team/*", "HEAD")) for front in fronts
    ]
    for front in fronts:
        front.forget()
    return found


@pytest.mark.parametrize("operators", [False, True], ids=["alone", "with another mirror"])
def test_a_configured_containerd_asks_the_mirror_and_does_without_it(
    containerd: Containerd, registry: DockerRegistry, tmp_path: Path, operators: bool
) -> None:
    with ExitStack() as stack, ExitStack() as up:
        upstream, other = (stack.enter_context(FaultyServer(registry.endpoint)) for _ in range(2))
        mirror = up.enter_context(FaultyServer(registry.endpoint))
        host = upstream.endpoint.removeprefix("http://")
        settings = tmp_path / "cached.yaml"
        upstreams = {host: {"endpoint": upstream.endpoint}}
        address = mirror.endpoint.removeprefix("http://")
        settings.write_text(yaml.safe_dump({"images": {"mirror": address, "upstreams": upstreams}}))
        if operators:
            containerd.hosts_toml(
                host,
                f'server = "{upstream.endpoint}"\n\n# ours\n[host."{other.endpoint}"]\n'
                f'  capabilities = ["pull",\n  "resolve"]\n'
                f'  [host."{other.endpoint}".header]\n    x-team = ["one"]\n',
            )

        def cachectl(command: str) -> str:
            """It works on the files of the node, and has to go well."""
            files = ["--config", settings, "--containerd-config", tmp_path / "containerd/config.toml"]
            result = CliRunner().invoke(cli, ["containerd", *command.split(), *map(str, files)])
            assert result.exit_code == 0, result.output
            return result.stdout

        def pull() -> list[bool]:
            """Pull it anew; who was asked: the mirror, the operator's own, the registry."""
            containerd.pull(f"{host}/team/app:v1")
            containerd.remove(f"{host}/team/app:v1")
            return asked(mirror, other, upstream)

        cachectl("configure")
        assert json.loads(cachectl("check -o json"))["well"]
        assert pull() == [True, False, False]
        mirror.inject(Fault(path="/v2/team/*", method="", status=404, times=None))
        assert pull() == [True, operators, not operators]
        up.close()
        assert pull() == [False, operators, not operators]
        if operators:
            other.inject(Fault(path="/v2/team/*", method="", status=404, times=None))
            assert pull() == [False, True, True]
            other.heal()
        cachectl("configure --undo")
        assert (tmp_path / "containerd/certs.d" / host).exists() is operators
        if operators:
            assert pull() == [False, True, False]
