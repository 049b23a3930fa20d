"""Certificates for a lab, made by cachectl and taken by nodes."""

from __future__ import annotations

import json
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from cached.cli.authority import Authority
from cached.config.settings import Tls
from cached.peers.certificate import Files
from cached.peers.identity import Identity
from cached.telemetry.metrics import Metrics
from tests.cli.conftest import Ask, Run
from tests.peers.handshake import connected, exchange


def made(ask: Ask, directory: Path, *args: str) -> Any:
    result = ask("certs", str(directory), *args, "-o", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def identity_of(node: Any, host: str) -> Identity:
    """What a node makes of the settings that it was told to have."""
    tls = Tls.model_validate(node["tls"])
    assert tls.ca
    assert tls.cert
    assert tls.key
    return Identity.load(tls.ca, tls.cert, tls.key, name=tls.name, host=host, metrics=Metrics())


def test_nodes_know_each_other_by_what_it_makes(tmp_path: Path, ask: Ask) -> None:
    answer = made(ask, tmp_path / "lab", "--host", "127.0.0.1", "--host", "FD00:0::2", "--host", "Node.b")
    assert [node["names"] for node in answer["nodes"]] == [["127.0.0.1"], ["fd00::2"], ["node.b"]]
    here, there, third = (identity_of(node, node["names"][0]) for node in answer["nodes"])
    for one, other, host in ((here, there, "fd00::2"), (there, third, "node.b"), (third, here, "127.0.0.1")):
        with connected(other.server_context(), one.client_context(), host) as ends:
            exchange(*ends)


def test_a_common_name_stands_beside_the_host(tmp_path: Path, ask: Ask) -> None:
    (node,) = made(ask, tmp_path, "--host", "10.0.0.1", "--name", "Nodes.internal")["nodes"]
    assert node["names"] == ["10.0.0.1", "nodes.internal"]
    assert node["tls"]["name"] == "nodes.internal"
    assert identity_of(node, "10.9.9.9").vouches(node["names"], "10.8.8.8")


def test_one_certificate_does_for_all_nodes_with_a_common_name(tmp_path: Path, ask: Ask) -> None:
    (node,) = made(ask, tmp_path, "--name", "nodes.internal")["nodes"]
    assert node["tls"]["cert"] == str(tmp_path / "nodes.internal" / "tls.crt")
    assert identity_of(node, "10.9.9.9").generation == 1


def test_keys_are_for_their_owner_alone(tmp_path: Path, ask: Ask) -> None:
    made(ask, tmp_path, "--host", "10.0.0.1")
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.*")
    }
    del modes["10.0.0.1"]
    assert modes == {
        "ca.crt": 0o644, "ca.key": 0o600, "10.0.0.1/tls.crt": 0o644, "10.0.0.1/tls.key": 0o600,
    }  # fmt: skip


def test_the_ca_is_kept_and_nodes_are_renewed_when_named(tmp_path: Path, ask: Ask) -> None:
    first = made(ask, tmp_path, "--host", "10.0.0.1", "--host", "10.0.0.2")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    second = made(ask, tmp_path, "--host", "10.0.0.1", "--host", "10.0.0.3")
    changed = {str(path.relative_to(tmp_path)) for path, data in before.items() if path.read_bytes() != data}
    assert changed == {"10.0.0.1/tls.crt", "10.0.0.1/tls.key"}
    assert (first["ca"]["made"], second["ca"]["made"]) == (True, False)
    assert [node["renewed"] for node in first["nodes"]] == [False, False]
    assert [node["renewed"] for node in second["nodes"]] == [True, False]


def test_without_nodes_it_makes_the_ca(tmp_path: Path, ask: Ask) -> None:
    answer = made(ask, tmp_path)
    assert answer["nodes"] == []
    assert {path.name for path in tmp_path.iterdir()} == {"ca.crt", "ca.key"}


def test_days_count_from_now(tmp_path: Path, ask: Ask) -> None:
    (node,) = made(ask, tmp_path, "--host", "10.0.0.1", "--days", "7")["nodes"]
    end = datetime.fromisoformat(node["expire_time"])
    assert abs(end - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert end == x509.load_pem_x509_certificate(Path(node["tls"]["cert"]).read_bytes()).not_valid_after_utc


def write_ca(directory: Path, end: timedelta) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    pair = Authority.new(now - timedelta(days=9), now + end).pair
    (directory / "ca.crt").write_bytes(pair.cert)
    (directory / "ca.key").write_bytes(pair.key)


def test_no_certificate_outlives_its_ca(tmp_path: Path, ask: Ask) -> None:
    write_ca(tmp_path, timedelta(days=3))
    answer = made(ask, tmp_path, "--host", "10.0.0.1")
    assert answer["nodes"][0]["expire_time"] == answer["ca"]["expire_time"]


def test_an_expired_ca_signs_nothing(tmp_path: Path, ask: Ask) -> None:
    write_ca(tmp_path, timedelta(days=-1))
    result = ask("certs", str(tmp_path), "--host", "10.0.0.1")
    assert result.exit_code == 2
    assert "ca.crt expired at" in result.stderr
    assert not (tmp_path / "10.0.0.1").exists()


@pytest.mark.parametrize("half", ["ca.crt", "ca.key"])
def test_half_a_ca_is_not_made_whole_by_another(tmp_path: Path, ask: Ask, half: str) -> None:
    (tmp_path / half).write_bytes(b"precious")
    result = ask("certs", str(tmp_path), "--host", "10.0.0.1")
    assert result.exit_code == 2
    assert f"{half} alone" in result.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.parametrize("file", ["ca.crt", "ca.key"])
def test_a_ca_that_cannot_be_read_is_left_alone(tmp_path: Path, ask: Ask, file: str) -> None:
    made(ask, tmp_path)
    (tmp_path / file).write_bytes(b"precious")
    result = ask("certs", str(tmp_path), "--host", "10.0.0.1")
    assert (result.exit_code, (tmp_path / file).read_bytes()) == (2, b"precious")
    assert "cannot be used as a CA" in result.stderr


def test_a_key_of_another_ca_signs_nothing(tmp_path: Path, ask: Ask) -> None:
    made(ask, tmp_path)
    other = made(ask, tmp_path / "other")
    (tmp_path / "ca.key").write_bytes(Path(other["ca"]["key_file"]).read_bytes())
    assert "belongs to another certificate" in ask("certs", str(tmp_path)).stderr


def test_a_nodes_certificate_is_no_ca(tmp_path: Path, ask: Ask) -> None:
    (node,) = made(ask, tmp_path, "--host", "10.0.0.1")["nodes"]
    files = Files(*(Path(node["tls"][name]) for name in ("ca", "cert", "key")))
    below = tmp_path / "below"
    below.mkdir()
    (below / "ca.crt").write_bytes(files.cert.read_bytes())
    (below / "ca.key").write_bytes(files.key.read_bytes())
    assert "not a CA's" in ask("certs", str(below), "--host", "10.0.0.1").stderr


@pytest.mark.parametrize(
    "args",
    [
        ["--host", "10.0.0.1:7400"],
        ["--host", "../etc"],
        ["--host", "10.0.0.300"],
        ["--host", ""],
        ["--host", "*.nodes"],
        ["--name", "a/b"],
        ["--name", "10.0.0.1"],
        ["--days", "0"],
    ],
)
def test_what_names_no_node_is_refused(tmp_path: Path, ask: Ask, args: list[str]) -> None:
    assert ask("certs", str(tmp_path / "lab"), *args).exit_code == 2
    assert not (tmp_path / "lab").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, ask: Ask) -> None:
    result = ask("certs", "/proc/lab")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot use /proc/lab" in result.stderr


def test_people_are_told_what_was_made_and_what_to_set(tmp_path: Path, ask: Ask) -> None:
    ask("certs", str(tmp_path), "--host", "10.0.0.1")
    told = ask("certs", str(tmp_path), "--host", "10.0.0.1", "--host", "10.0.0.2", "--name", "nodes").stdout
    rows = [line.split() for line in told.splitlines()[:4]]
    assert [row[:3] for row in rows] == [
        ["FILE", "STATE", "NAMES"],
        [f"{tmp_path}/ca.crt", "kept", "-"],
        [f"{tmp_path}/10.0.0.1/tls.crt", "renewed", "10.0.0.1,"],
        [f"{tmp_path}/10.0.0.2/tls.crt", "new", "10.0.0.2,"],
    ]
    assert yaml.safe_load(told.partition("\n\n")[2])["peers"]["tls"] == {
        "ca": f"{tmp_path}/ca.crt",
        "cert": f"{tmp_path}/HOST/tls.crt",
        "key": f"{tmp_path}/HOST/tls.key",
        "name": "nodes",
    }


def test_for_one_node_the_settings_are_its_own(tmp_path: Path, ask: Ask) -> None:
    told = ask("certs", str(tmp_path), "--host", "10.0.0.1").stdout
    tls = yaml.safe_load(told.partition("\n\n")[2])["peers"]["tls"]
    assert tls["cert"] == f"{tmp_path}/10.0.0.1/tls.crt"
    assert "name" not in tls


def test_openssl_takes_them_by_its_strictest_rules(tmp_path: Path, ask: Ask) -> None:
    (node,) = made(ask, tmp_path, "--host", "127.0.0.1")["nodes"]
    identity = identity_of(node, "127.0.0.1")
    client = identity.client_context()
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with connected(identity.server_context(), client) as ends:
        exchange(*ends)


def test_without_the_daemons_part_it_says_what_to_install(tmp_path: Path, run: Run) -> None:
    (tmp_path / "cryptography.py").write_text("raise ModuleNotFoundError('none', name='cryptography')")
    result = run("certs", str(tmp_path / "lab"), env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 13
    assert "cryptography is missing" in result.stderr
    assert "pip install 'cached[daemon]'" in result.stderr
