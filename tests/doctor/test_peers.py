"""Neighbours with real certificates, and what keeps them from each other."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cached.peers.certificate import Files
from tests.doctor.patient import bad, examine, model, seen
from tests.neighbours.nodes import free_ports as free_pairs
from tests.net.namespace import Namespace
from tests.peers.ca import issue, make_ca
from tests.servers.ports import free_ports
from tests.system.daemon import Daemon
from tests.system.waiting import eventually


def peers(address: str, members: list[str], files: Files, **more: Any) -> dict[str, Any]:
    """The section of the settings."""
    tls = {"ca": str(files.ca), "cert": str(files.cert), "key": str(files.key), **more}
    return {"advertise": address, "members": {"static": members}, "tls": tls}


class Pair:
    """Two daemons that know each other, on loopback; settings may be changed before `start`."""

    def __init__(self, home: Path, *command: str) -> None:
        self.home = home
        self.ca = make_ca(home)
        self.files = issue(self.ca, home)
        self.addresses = [f"127.0.0.1:{port}" for port in free_pairs(2)]
        self.one, self.two = (
            Daemon(
                home / name,
                models={"tiny": {"source": model(home / name)}},
                settings={"peers": peers(address, self.addresses, self.files)},
                command=command,
            )
            for name, address in zip(("one", "two"), self.addresses, strict=True)
        )

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        for node in (self.one, self.two):
            node.__exit__(None, None, None)

    def start(self) -> None:
        for node in (self.one, self.two):
            node.launch()
        for node in (self.one, self.two):
            node.wait_until_serving()
        eventually(lambda: len(self.one.operator().peers().peers) == 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two that are well; tests leave them so."""
    with Pair(tmp_path_factory.mktemp("pair")) as pair:
        pair.one.settings["metrics"] = f"127.0.0.1:{free_ports(1)[0]}"
        pair.start()
        yield pair


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Pair]:
    """Two that do not run yet."""
    with Pair(tmp_path) as pair:
        yield pair


def test_two_that_reach_each_other(pair: Pair) -> None:
    for node in (pair.one, pair.two):
        (told,) = seen(node, "peers")
        assert (told.level, told.message) == ("ok", "1 others are reached at both ports, encrypted")
    (told,) = seen(pair.one, "certificates")
    assert (told.level, told.message) == ("ok", "for 127.0.0.1, good for 24 hours")


def test_certificates_that_expire_and_files_that_will_not_do(pair: Pair) -> None:
    node, home, files = pair.one, pair.home, pair.files

    def wrong() -> str:
        (message,) = bad(seen(node, "certificates"))
        return message

    issue(pair.ca, home, lasts=timedelta(hours=2))
    assert f"{files.cert} expires in 2 hours" in wrong()
    issue(pair.ca, home, expired=True)
    assert f"{files.cert} expired at" in wrong()
    (skipped,) = seen(node, "peers")
    assert (skipped.level, skipped.message) == (
        "skipped",
        "this node's certificate is no good; see certificates",
    )
    issue(pair.ca, home)
    files.key.chmod(0o644)
    assert "is open to every user of this node" in wrong()
    issue(make_ca(home / "other"), home)
    assert "is not from the CA in" in wrong()
    files.cert.write_bytes(issue(pair.ca, home / "other", "10.9.9.9").cert.read_bytes())
    assert wrong().endswith("does not fit the certificate " + str(files.cert))
    files.cert.unlink()
    assert f"cannot read {files.cert}" in wrong()
    issue(pair.ca, home)
    assert bad(seen(node, "certificates")) == []


def test_who_was_turned_away_is_told(pair: Pair) -> None:
    assert bad(seen(pair.one, "peers")) == []
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    host, port = pair.addresses[0].split(":")
    with (
        socket.create_connection((host, int(port) + 1)) as plain,
        stranger.wrap_socket(plain) as secure,
        pytest.raises(ssl.SSLError),
    ):
        secure.recv(1)
    eventually(
        lambda: any("turned 1 requests of others away" in each for each in bad(seen(pair.one, "peers")))
    )


def test_one_of_another_ca_and_one_that_does_not_believe_this_node(fresh: Pair) -> None:
    """The first believes both CAs, the second only its own, which is not that of the first."""
    other = make_ca(fresh.home / "other")
    theirs = issue(other, fresh.home / "other")
    both = fresh.home / "both.crt"
    both.write_bytes(fresh.ca.pair.cert + other.pair.cert)
    fresh.one.settings["peers"]["tls"]["ca"] = str(both)
    fresh.two.settings["peers"] = peers(fresh.addresses[1], fresh.addresses, theirs)
    fresh.start()
    control, data = bad(seen(fresh.one, "peers"))
    assert control == f"{fresh.addresses[1]}: it hangs up when it sees this node's certificate"
    assert data.endswith(": it does not believe this node's certificate: tlsv1 alert unknown ca")
    (message,) = bad(seen(fresh.two, "peers"))
    assert message.endswith(": its certificate is not believed: it is from another CA")
    fresh.one.kill9()
    (message,) = bad(seen(fresh.two, "peers"))
    assert message.endswith(": Connection refused")


def test_an_address_that_its_connections_do_not_come_from(fresh: Pair) -> None:
    """Its certificate is one for all nodes, and says no address."""
    named = issue(fresh.ca, fresh.home, name="cached.internal")
    fresh.addresses[0] = fresh.addresses[0].replace("127.0.0.1", "127.0.0.9")
    for node, address in zip((fresh.one, fresh.two), fresh.addresses, strict=True):
        node.settings["peers"] = peers(address, fresh.addresses, named, name="cached.internal")
    fresh.start()
    (message,) = bad(seen(fresh.one, "peers"))
    assert f"{fresh.addresses[0]} is claimed by a caller at 127.0.0.1" in message
    assert bad(seen(fresh.two, "peers")) == []


def test_in_plaintext_without_anybody(tmp_path: Path) -> None:
    alone = {"peers": {"advertise": f"127.0.0.1:{free_pairs(1)[0]}", "plaintext": True}}
    with Daemon(tmp_path / "node", models={"tiny": {"source": model(tmp_path)}}, settings=alone) as node:
        (message,) = bad(seen(node, "peers"))
        assert message == "peers.members names nobody: this node only answers those that know it"
        (skipped,) = seen(node, "certificates")
        assert (skipped.level, skipped.message) == ("skipped", "peers.plaintext is set")


def test_a_port_that_is_firewalled(tmp_path: Path) -> None:
    try:
        namespace = Namespace()
    except OSError as error:
        pytest.skip(f"no network namespace can be made: {error}")
    with ExitStack() as stack:
        stack.callback(namespace.close)
        pair = stack.enter_context(Pair(tmp_path, *namespace.command))
        namespace.run("ip", "link", "set", "lo", "up")
        pair.start()
        port = int(pair.addresses[1].rpartition(":")[2]) + 1
        rules = f"table inet f {{ chain i {{ type filter hook input priority 0; tcp dport {port} drop; }}; }}"
        namespace.run("nft", "-f", "-", told=rules)
        report = examine(pair.one, within=namespace.command)
        assert report.said("peers") == f"127.0.0.1:{port}: no answer within 2 s, as where a firewall drops it"
        (skipped,) = seen(pair.one, "peers")
        assert "has a network of its own" in skipped.message
