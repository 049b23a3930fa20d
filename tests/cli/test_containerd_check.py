"""What `containerd check` finds wrong, what it says to do, and when all is well."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from cached.cli.containerd import probe
from cached.cli.containerd.probe import fault_of
from tests.cli.containerd_node import HOSTS_TOML, NodeFiles
from tests.cli.test_containerd_config import OF_1


class Registry(BaseHTTPRequestHandler):
    """Answers every GET with the status that the server has."""

    def do_GET(self) -> None:
        self.send_response(getattr(self.server, "status", 200) if self.path == "/v2/" else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def node(tmp_path: Path, mirror: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> NodeFiles:
    """All is well here."""
    monkeypatch.setenv("PATH", "/nonexistent")
    node = NodeFiles.make(
        tmp_path / "etc",
        "docker.io",
        "quay.io",
        settings={"mirror": f"127.0.0.1:{mirror.server_port}"},
        hosts={"quay.io": HOSTS_TOML},
    )
    node.config.write_text("version = 2\n" + OF_1 + f'config_path = "{node.certs_d}"\n')
    node.configure()
    return node


def found(node: NodeFiles, *more: str) -> list[tuple[str, str, str, str]]:
    """Level, subject, message and hint of all that is not well."""
    result = node.run("check", "-o", "json", *more)
    answer = json.loads(result.stdout)
    findings = [tuple(finding.values()) for finding in answer["findings"] if finding["level"] != "ok"]
    assert answer["well"] == (not findings)
    assert result.exit_code == (17 if any(level == "problem" for level, *_ in findings) else 0)
    return findings


def test_it_says_when_all_is_well(node: NodeFiles) -> None:
    result = node.run("check")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["ok", "containerd:"], ["ok", "mirror:"], ["ok", "docker.io:"], ["ok", "quay.io:"],
    ]  # fmt: skip
    assert lines[-1] == "all is well"
    assert lines[2].endswith("and then https://registry-1.docker.io")
    assert yaml.safe_load(node.run("check", "-o", "yaml").stdout) == json.loads(
        node.run("check", "-o", "json").stdout
    )


def test_a_problem_is_told_with_what_to_do(node: NodeFiles) -> None:
    shutil.rmtree(node.hosts("docker.io").parent)
    result = node.run("check")
    assert result.exit_code == 17
    lines = result.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[at] == (
        f"problem  docker.io: {node.hosts('docker.io')} is not there: images do not come through the mirror"
    )
    assert lines[at + 1] == "         cachectl containerd configure"
    assert "all is well" not in result.stdout


def test_a_configuration_without_a_path_is_a_problem(node: NodeFiles) -> None:
    node.config.write_text("version = 2\n")
    ((level, subject, message, hint),) = found(node)
    assert (level, subject) == ("problem", "containerd")
    assert message == "config_path is not set: no hosts.toml is read"
    assert f'in {node.config}, below [plugins."io.containerd.grpc.v1.cri".registry], set config_path' in hint


@pytest.mark.parametrize(("status", "well"), [(200, True), (401, True), (404, False), (500, False)])
def test_a_mirror_answers_as_a_registry_does(
    node: NodeFiles, mirror: ThreadingHTTPServer, status: int, well: bool
) -> None:
    mirror.status = status  # type: ignore[attr-defined]
    findings = found(node)
    assert (findings == []) is well
    if not well:
        assert f"GET /v2/ gives {status}" in findings[0][2]


def test_a_mirror_that_is_down_silent_or_mad_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert fault_of(url) == "nothing within 0.2 seconds"

        def speak() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x00\xff nonsense\r\n\r\n")

        listening.accept()[0].close()
        thread = threading.Thread(target=speak)
        thread.start()
        assert fault_of(url) == "BadStatusLine"
        thread.join()
    assert fault_of(url) == "Connection refused"


def test_faults_of_hosts_toml_are_told_apart(node: NodeFiles, mirror: ThreadingHTTPServer) -> None:
    file = node.hosts("quay.io")
    good = file.read_text()
    url = f"http://127.0.0.1:{mirror.server_port}"
    faults = {
        HOSTS_TOML: (f"does not ask {url}", "cachectl containerd configure"),
        good.replace(f":{mirror.server_port}", ":1"): (
            f"does not ask {url}, but http://127.0.0.1:1", "cachectl containerd configure",
        ),
        f'[host."https://b"]\n[host."{url}"]\n': ("asks https://b before the mirror", "first"),
        good.replace('"pull", ', ""): ("does not let the mirror pull and resolve", "cachectl containerd"),
        good.replace("200ms", "30s"): ("is not what the settings ask for now", "cachectl containerd"),
        good.replace('server = "https://quay.io"', f'server = "{url}/"'): (
            "has the mirror as its server: while it is down, nothing", "set server to https://quay.io",
        ),
        good + "[": ("is not valid TOML", "by hand"),
        good.replace("# cached end", ""): ("marks of cached", "by hand"),
        'host = {"https://b" = {}}\n': ("no entry can be put first", "by hand"),
    }  # fmt: skip
    for text, (said, todo) in faults.items():
        file.write_text(text)
        ((level, subject, message, hint),) = found(node)
        assert (level, subject) == ("problem", "quay.io")
        assert said in message
        assert todo in hint
    file.write_bytes(b"\xff")
    ((level, subject, message, _),) = found(node)
    assert (level, subject, "is no text file" in message) == ("problem", "quay.io", True)


def test_an_entry_by_hand_is_as_good(node: NodeFiles, mirror: ThreadingHTTPServer) -> None:
    node.hosts("quay.io").write_text(f'[host."http://127.0.0.1:{mirror.server_port}"]\n')
    assert found(node) == []


def test_what_shadows_our_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    node = NodeFiles.make(tmp_path / "etc", "a.example:5000")
    node.configure()
    (node.certs_d / "a.example_5000_").mkdir()
    messages = [message for _, subject, message, _ in found(node) if subject == "a.example:5000"]
    assert messages == [
        f"{node.certs_d}/a.example_5000_/hosts.toml is not there: images do not come through the mirror"
    ]


def test_a_ca_that_went_away_stops_every_pull(node: NodeFiles, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("PEM")
    images = yaml.safe_load(node.settings.read_text())["images"]
    images["upstreams"]["docker.io"] = {"ca_file": str(ca)}
    node.settings.write_text(yaml.safe_dump({"images": images}))
    ((_, _, message, _),) = found(node)
    assert "is not what the settings ask for now" in message
    node.configure()
    assert found(node) == []
    ca.unlink()
    ((level, subject, message, _),) = found(node)
    assert (level, subject) == ("problem", "docker.io")
    assert "containerd refuses each pull" in message


def test_what_default_says_does_not_reach_registries_of_their_own(node: NodeFiles) -> None:
    default = node.certs_d / "_default"
    default.mkdir()
    (default / "hosts.toml").write_text('[host."https://corp.example"]\n')
    ((level, subject, message, hint),) = found(node)
    assert (level, subject) == ("warning", "_default")
    assert (
        "does not count for docker.io, which have directories of their own: https://corp.example" in message
    )
    assert "quay.io" not in message  # it has that host, too
    assert hint
    (default / "hosts.toml").write_text("# nothing\n")
    assert found(node) == []


def test_what_is_no_upstream_any_more_is_told(node: NodeFiles) -> None:
    images = yaml.safe_load(node.settings.read_text())["images"]
    del images["upstreams"]["docker.io"]
    node.settings.write_text(yaml.safe_dump({"images": images}))
    ((level, subject, message, hint),) = found(node)
    assert (level, subject, hint) == ("warning", "docker.io", "cachectl containerd configure")
    assert "asks the mirror, which has no such upstream now" in message


def test_terminals_are_not_driven_by_files(node: NodeFiles) -> None:
    node.hosts("quay.io").write_text('[host."https://\\u001b[31mred"]\n[host."http://127.0.0.1"]\n')
    assert "\x1b" not in node.run("check").stdout


def test_without_a_mirror_there_is_nothing_to_check(node: NodeFiles) -> None:
    node.settings.write_text("images: {upstreams: {docker.io: {}}}")
    result = node.run("check")
    assert (result.exit_code, "sets no images.mirror" in result.stderr) == (13, True)
