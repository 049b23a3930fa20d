"""Handshakes over real sockets, as the data server and its clients make them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from cached.cli.authority import Authority
from cached.peers.identity import Identity
from tests.peers.ca import identity_of, issue, make_ca, odd, put, replace
from tests.peers.handshake import ancient, connected, exchange, sans

OTHER = "10.0.0.2"


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return make_ca(tmp_path)


@pytest.fixture
def here(tmp_path: Path, ca: Authority) -> Identity:
    return identity_of(issue(ca, tmp_path))


def test_two_nodes_meet_and_each_sees_who_the_other_is(tmp_path: Path, ca: Authority, here: Identity) -> None:
    there = identity_of(issue(ca, tmp_path, OTHER), host=OTHER)
    with connected(here.server_context(), there.client_context()) as (theirs, ours):
        exchange(theirs, ours)
        assert here.vouches(sans(theirs), OTHER)
        assert not here.vouches(sans(theirs), "10.0.0.3")
        assert ours.version() == "TLSv1.3"


def test_with_a_common_name_the_address_does_not_matter(tmp_path: Path, ca: Authority) -> None:
    here = identity_of(issue(ca, tmp_path, OTHER, name="nodes"), name="nodes")
    with connected(here.server_context(), here.client_context(), here.server_name("10.1.1.1")) as ends:
        exchange(*ends)


def foreign(tmp_path: Path) -> Identity:
    """A node of another CA that trusts ours all the same."""
    other = make_ca(tmp_path / "elsewhere")
    files = issue(other, tmp_path / "elsewhere")
    both = (tmp_path / "ca.crt").read_bytes() + files.ca.read_bytes()
    replace(files.ca, both)
    return identity_of(files)


def test_a_client_of_another_ca_is_turned_away(tmp_path: Path, here: Identity) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"),
        connected(here.server_context(), foreign(tmp_path).client_context()),
    ):
        pass


def test_a_server_of_another_ca_is_left(tmp_path: Path, here: Identity) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"),
        connected(foreign(tmp_path).server_context(), here.client_context()),
    ):
        pass


def lapsed(tmp_path: Path, ca: Authority) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Server and client of a node whose certificate has expired."""
    files = issue(ca, tmp_path, expired=True)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.cert, files.key)
    return server, client


def test_expired_certificates_are_turned_away(tmp_path: Path, ca: Authority, here: Identity) -> None:
    server, client = lapsed(tmp_path, ca)
    for ends in ((here.server_context(), client), (server, here.client_context())):
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"), connected(*ends):
            pass


def test_a_client_without_a_certificate_is_turned_away(tmp_path: Path, here: Identity) -> None:
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    with (
        pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        connected(here.server_context(), client),
    ):
        pass


def test_a_server_with_the_name_of_another_node_is_left(here: Identity) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"),
        connected(here.server_context(), here.client_context(), OTHER),
    ):
        pass


def test_a_name_in_the_subject_alone_does_not_count(tmp_path: Path, ca: Authority, here: Identity) -> None:
    there = identity_of(put(odd(ca, subject="node.b"), tmp_path))
    with (
        pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
        connected(there.server_context(), here.client_context(), "node.b"),
    ):
        pass


@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_before_1_2_is_refused_by_both_ends(here: Identity, old: ssl.TLSVersion) -> None:
    with (
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
        connected(here.server_context(), ancient(ssl.PROTOCOL_TLS_CLIENT, old)),
    ):
        pass
    with (
        pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"),
        connected(ancient(ssl.PROTOCOL_TLS_SERVER, old), here.client_context()),
    ):
        pass


def test_tls_1_2_is_fine(here: Identity) -> None:
    client = here.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(here.server_context(), client) as (theirs, ours):
        exchange(theirs, ours)
        assert ours.version() == "TLSv1.2"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_past_the_certificate(here: Identity, version: ssl.TLSVersion) -> None:
    client = here.client_context()
    client.maximum_version = version
    with connected(here.server_context(), client) as (theirs, ours):
        exchange(theirs, ours)
        session = ours.session
    assert session is None or not session.has_ticket


def test_the_system_is_not_asked_whom_to_trust(here: Identity) -> None:
    for context in (here.server_context(), here.client_context()):
        assert context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("context", [Identity.server_context, Identity.client_context])
def test_a_context_is_made_once_per_generation(
    here: Identity, context: Callable[[Identity], ssl.SSLContext]
) -> None:
    assert context(here) is context(here)


def test_while_the_ca_is_replaced_nodes_of_both_meet(tmp_path: Path, ca: Authority) -> None:
    """Old and new CA in one file on every node first, then certificates of the new one, node by node."""
    old = issue(ca, tmp_path, OTHER)
    new = issue(make_ca(tmp_path / "new"), tmp_path / "new")
    both = old.ca.read_bytes() + new.ca.read_bytes()
    replace(old.ca, both)
    replace(new.ca, both)
    before, after = identity_of(old, host=OTHER), identity_of(new)
    with connected(before.server_context(), after.client_context(), OTHER) as ends:
        exchange(*ends)
    with connected(after.server_context(), before.client_context()) as ends:
        exchange(*ends)
