"""What a node refuses to start with, and whom it believes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from cached.cli.authority import Authority
from cached.core.errors import NotConfigured
from cached.peers.certificate import Files
from cached.peers.identity import Identity
from cached.telemetry.metrics import Metrics
from tests.peers.ca import identity_of, issue, make_ca, odd, put


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return make_ca(tmp_path)


def refusal(files: Files, *, name: str | None = None, host: str = "127.0.0.1") -> NotConfigured:
    with pytest.raises(NotConfigured) as caught:
        identity_of(files, name=name, host=host)
    assert "PRIVATE KEY" not in str(caught.value)
    return caught.value


def test_a_good_one_is_taken_and_its_end_is_told(tmp_path: Path, ca: Authority) -> None:
    files, metrics = issue(ca, tmp_path), Metrics()
    identity = Identity.load(files.ca, files.cert, files.key, name=None, host="127.0.0.1", metrics=metrics)
    assert identity.generation == 1
    end = x509.load_pem_x509_certificate(files.cert.read_bytes()).not_valid_after_utc
    assert metrics.registry.get_sample_value("cached_peer_certificate_expiry_seconds") == end.timestamp()


@pytest.mark.parametrize("which", ["ca", "cert", "key"])
def test_a_missing_file_is_named(tmp_path: Path, ca: Authority, which: str) -> None:
    files = issue(ca, tmp_path)
    path: Path = getattr(files, which)
    path.unlink()
    assert refusal(files).message == f"cannot read {path}: No such file or directory"


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("ca", "holds no certificates in PEM"),
        ("cert", "holds no certificate in PEM that can be read"),
        ("key", "holds no private key in PEM that can be read"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xff nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_file_without_pem_is_named(
    tmp_path: Path, ca: Authority, which: str, says: str, content: bytes
) -> None:
    files = issue(ca, tmp_path)
    path: Path = getattr(files, which)
    path.write_bytes(content)
    assert refusal(files).message == f"{path} {says}"


def test_a_bundle_may_hold_remarks(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path)
    files.ca.write_bytes("# Prüfstelle Zürich\n".encode() + files.ca.read_bytes() + b"# end\n")
    assert identity_of(files).generation == 1


def test_a_huge_file_is_not_read(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path)
    with files.ca.open("ab") as file:
        file.truncate(1 << 40)
    assert "larger than" in refusal(files).message


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_key_that_every_user_may_read_is_refused(tmp_path: Path, ca: Authority, mode: int) -> None:
    files = issue(ca, tmp_path)
    files.key.chmod(mode)
    error = refusal(files)
    assert str(files.key) in error.message
    assert "defaultMode: 0400" in error.hint


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o660])
def test_a_key_for_owner_and_group_is_fine(tmp_path: Path, ca: Authority, mode: int) -> None:
    files = issue(ca, tmp_path)
    files.key.chmod(mode)
    assert identity_of(files).generation == 1


def test_a_key_of_another_certificate(tmp_path: Path, ca: Authority) -> None:
    files, other = issue(ca, tmp_path), issue(ca, tmp_path, "10.0.0.1")
    mixed = Files(files.ca, files.cert, other.key)
    assert refusal(mixed).message == f"the key {other.key} does not fit the certificate {files.cert}"


def test_an_encrypted_key_asks_for_no_password(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path)
    key = load_pem_private_key(files.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"password")
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    assert refusal(files).message == f"the key {files.key} is encrypted"


def test_an_expired_certificate(tmp_path: Path, ca: Authority) -> None:
    error = refusal(issue(ca, tmp_path, expired=True))
    assert "tls.crt expired at 20" in error.message
    assert "renew" in error.hint


def test_a_certificate_of_the_future(tmp_path: Path, ca: Authority) -> None:
    pair = odd(ca, begin=timedelta(days=1))
    assert "is not valid before 20" in refusal(put(pair, tmp_path)).message


def test_a_certificate_of_another_ca(tmp_path: Path, ca: Authority) -> None:
    foreign = make_ca(tmp_path / "elsewhere")
    error = refusal(issue(foreign, tmp_path))
    assert f"is not from the CA in {tmp_path / 'ca.crt'}" in error.message


def test_a_ca_that_has_expired(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca = Authority.new(now - timedelta(days=9), now - timedelta(days=1))
    (tmp_path / "ca.crt").write_bytes(ca.pair.cert)
    assert "certificate has expired" in refusal(issue(ca, tmp_path)).message


@pytest.mark.parametrize("names", [b"nonsense", b"\x30\x04\xa3\x02\x30\x00"], ids=["garbage", "X.400"])
def test_a_certificate_with_names_that_nobody_reads(tmp_path: Path, ca: Authority, names: bytes) -> None:
    extension = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, names)
    assert (
        "no certificate in PEM that can be read" in refusal(put(odd(ca, names=extension), tmp_path)).message
    )


@pytest.mark.parametrize("usage", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_a_certificate_for_one_end_only(tmp_path: Path, ca: Authority, usage: ObjectIdentifier) -> None:
    pair = odd(ca, usages=[usage])
    assert "is not for both ends" in refusal(put(pair, tmp_path)).message


def test_cert_managers_certificates_have_no_extended_usages(tmp_path: Path, ca: Authority) -> None:
    pair = odd(ca)
    assert identity_of(put(pair, tmp_path)).generation == 1


@pytest.mark.parametrize("kind", ["ed25519", "p521", "rsa1024"])
def test_keys_that_grpc_cannot_use(tmp_path: Path, ca: Authority, kind: str) -> None:
    key: CertificateIssuerPrivateKeyTypes
    match kind:
        case "ed25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case "p521":
            key = ec.generate_private_key(ec.SECP521R1())
        case _:
            key = rsa.generate_private_key(65537, 1024)
    assert "a kind that gRPC cannot use" in refusal(put(odd(ca, key=key), tmp_path)).message


def vouched(name: str, signer: Authority | None = None) -> Authority:
    """A CA that `signer` vouches for, or itself; others may stand below it."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signing = (signer.certificate.subject, signer.key) if signer else (subject, key)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), 7, now, now + timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(builder.sign(signing, hashes.SHA256()), key)


def test_a_chain_through_an_intermediate_ca(tmp_path: Path) -> None:
    """Either CA may be the one that is trusted."""
    root = vouched("root")
    between = vouched("between", root)
    files = issue(between, tmp_path)
    files.ca.write_bytes(root.pair.cert)
    assert "is not from the CA" in refusal(files).message
    files.ca.write_bytes(between.pair.cert)
    assert identity_of(files).generation == 1
    files.cert.write_bytes(files.cert.read_bytes() + between.pair.cert)
    files.ca.write_bytes(root.pair.cert)
    assert identity_of(files).generation == 1


def test_a_certificate_for_another_host(tmp_path: Path, ca: Authority) -> None:
    error = refusal(issue(ca, tmp_path, "10.0.0.1", name="nodes"))
    assert error.message.endswith("does not carry 127.0.0.1")
    assert "it is for nodes, 10.0.0.1;" in error.hint


def test_a_common_name_must_be_carried_and_then_the_host_need_not(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path, "10.0.0.1", name="nodes")
    assert identity_of(files, name="nodes", host="10.9.9.9").generation == 1
    assert refusal(files, name="others").message.endswith("does not carry others")


def test_a_wildcard_names_no_node(tmp_path: Path, ca: Authority) -> None:
    """With one, any node could speak for any other."""
    files = issue(ca, tmp_path, "*.nodes")
    assert refusal(files, host="a.nodes").message.endswith("does not carry a.nodes")


def test_the_key_is_in_no_text(tmp_path: Path, ca: Authority) -> None:
    assert "PRIVATE" not in repr(issue(ca, tmp_path).read())


def test_without_a_common_name_a_node_speaks_for_its_own_host(tmp_path: Path, ca: Authority) -> None:
    identity = identity_of(issue(ca, tmp_path))
    assert identity.server_name("10.0.0.2") == "10.0.0.2"
    assert identity.server_name("[::1]") == "::1"
    assert identity.vouches(["node.b", "10.0.0.2"], "10.0.0.2")
    assert identity.vouches(["NODE.b"], "node.B.")
    assert identity.vouches(["0:0:0:0:0:0:0:1"], "[::1]")
    assert not identity.vouches(["10.0.0.2"], "10.0.0.3")
    assert not identity.vouches(["*.b"], "node.b")
    assert not identity.vouches([], "10.0.0.2")


def test_with_a_common_name_every_node_carries_it(tmp_path: Path, ca: Authority) -> None:
    identity = identity_of(issue(ca, tmp_path, name="nodes"), name="nodes")
    assert identity.server_name("10.0.0.2") == "nodes"
    assert identity.vouches(["nodes"], "10.0.0.2")
    assert not identity.vouches(["10.0.0.2"], "10.0.0.2")
