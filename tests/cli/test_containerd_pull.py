"""A real containerd that was configured: it asks the mirror first, and does without it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
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


@pytest.fixture(params=["1.6", "1.7", pytest.param("2", marks=pytest.mark.slow)])
def containerd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Containerd]:
    with started(request.param, tmp_path, monkeypatch) as containerd:
        yield containerd


def started(
    version: str, home: Path, monkeypatch: pytest.MonkeyPatch, *, discards_layers: bool = False
) -> Containerd:
    """A containerd to enter, whose program is the one in PATH, too."""
    if why := lacking(version):
        pytest.skip(why)
    monkeypatch.setenv("PATH", str(programs(version)), prepend=os.pathsep)
    return Containerd(home / "containerd", version=version, discard_unpacked_layers=discards_layers)


def cachectl(home: Path, command: str, code: int = 0) -> str:
    """It works on the files below `home`; returns what it prints."""
    files = ["--config", home / "cached.yaml", "--containerd-config", home / "containerd/config.toml"]
    result = CliRunner().invoke(cli, ["containerd", *command.split(), *map(str, files)])
    assert result.exit_code == code, result.output
    return result.stdout


def write_settings(home: Path, mirror: FaultyServer, upstream: FaultyServer) -> str:
    """The daemon's; returns the registry as images have it."""
    host = upstream.endpoint.removeprefix("http://")
    images = {
        "mirror": mirror.endpoint.removeprefix("http://"),
        "upstreams": {host: {"endpoint": upstream.endpoint}},
    }
    (home / "cached.yaml").write_text(yaml.safe_dump({"images": images}))
    return host


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
        host = write_settings(tmp_path, mirror, upstream)
        if operators:
            containerd.hosts_toml(
                host,
                f'server = "{upstream.endpoint}"\n\n# ours\n[host."{other.endpoint}"]\n'
                f'  capabilities = ["pull",\n  "resolve"]\n'
                f'  [host."{other.endpoint}".header]\n    x-team = ["one"]\n',
            )

        def pull() -> list[bool]:
            """Pull it anew; who was asked: the mirror, the operator's own, the registry."""
            containerd.pull(f"{host}/team/app:v1")
            containerd.remove(f"{host}/team/app:v1")
            return asked(mirror, other, upstream)

        cachectl(tmp_path, "configure")
        assert json.loads(cachectl(tmp_path, "check -o json"))["well"]
        assert pull() == [True, False, False]
        mirror.inject(Fault(path="/v2/team/*", method="", status=404, times=None))
        assert pull() == [True, operators, not operators]
        up.close()
        assert pull() == [False, operators, not operators]
        if operators:
            other.inject(Fault(path="/v2/team/*", method="", status=404, times=None))
            assert pull() == [False, True, True]
            other.heal()
        cachectl(tmp_path, "configure --undo")
        assert (tmp_path / "containerd/certs.d" / host).exists() is operators
        if operators:
            assert pull() == [False, True, False]


@pytest.mark.parametrize(
    ("version", "discards", "mirrored", "level"),
    [("1.7", False, True, "warning"), ("2", False, False, "problem"), ("2", True, True, "warning")],
)
def test_a_pair_of_directories_does_to_mirrors_what_check_says(
    registry: DockerRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    discards: bool,
    mirrored: bool,
    level: str,
) -> None:
    with (
        FaultyServer(registry.endpoint) as upstream,
        FaultyServer(registry.endpoint) as mirror,
        started(version, tmp_path, monkeypatch, discards_layers=discards) as containerd,
    ):
        host = write_settings(tmp_path, mirror, upstream)
        cachectl(tmp_path, "configure")
        config = tmp_path / "containerd/config.toml"
        config.write_text(config.read_text().replace('certs.d"', 'certs.d:/etc/docker/certs.d"'))
        containerd.restart()
        with suppress(grpc.RpcError):  # without hosts.toml it may want TLS
            containerd.pull(f"{host}/team/app:v1")
        assert asked(mirror) == [mirrored]
        told = json.loads(cachectl(tmp_path, "check -o json", code=17 if level == "problem" else 0))
        (pair,) = [finding for finding in told["findings"] if "certs.d:/etc" in finding["message"]]
        assert pair["level"] == level
