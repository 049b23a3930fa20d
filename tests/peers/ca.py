"""A CA for tests, and certificates of every kind: good, expired, foreign, for one end only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from cached.cli.authority import Authority, Pair
from cached.peers.certificate import Files
from cached.peers.identity import Identity
from cached.telemetry.metrics import Metrics

HOST = "127.0.0.1"


def make_ca(directory: Path) -> Authority:
    """Make a CA; its certificate becomes `directory`/ca.crt."""
    directory.mkdir(parents=True, exist_ok=True)
    begin, end = _span(timedelta(days=30))
    ca = Authority.new(begin, end)
    replace(directory / "ca.crt", ca.pair.cert)
    return ca


def issue(
    ca: Authority,
    directory: Path,
    host: str = HOST,
    *,
    name: str | None = None,
    expired: bool = False,
    lasts: timedelta = timedelta(days=1),
) -> Files:
    """Write a certificate that `ca` signs, and its key, into `directory`/`host`, over those that are there.

    host: the address that it carries, beside `name`. The files say that nodes trust `directory`/ca.crt,
    whoever `ca` is: pass another directory's for a foreign certificate.
    """
    begin, end = _span(timedelta(hours=-1) if expired else lasts)
    return put(ca.issue([host, *([name] if name else [])], begin, end), directory, host)


def odd(
    ca: Authority,
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    subject: str = "",
    names: x509.ExtensionType | None = None,
    usages: Sequence[ObjectIdentifier] = (),
    begin: timedelta = timedelta(days=-1),
) -> Pair:
    """A certificate for HOST such as `issue` never makes: another kind of key, name, use or time.

    names: in place of HOST.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(ca.certificate.subject)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + timedelta(days=9))
        .add_extension(names or x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), not subject)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return Pair(
        builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def put(pair: Pair, directory: Path, host: str = HOST) -> Files:
    """Write a certificate and its key where `issue` would."""
    files = Files(directory / "ca.crt", directory / host / "tls.crt", directory / host / "tls.key")
    files.cert.parent.mkdir(parents=True, exist_ok=True)
    replace(files.key, pair.key)
    replace(files.cert, pair.cert)
    return files


def replace(path: Path, data: bytes) -> None:
    """As those who rotate certificates do: nobody reads half a file."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.chmod(0o600)
    os.replace(draft, path)


def identity_of(files: Files, *, name: str | None = None, host: str = HOST) -> Identity:
    """The identity of a node that has these files, with metrics that nobody reads."""
    return Identity.load(files.ca, files.cert, files.key, name=name, host=host, metrics=Metrics())


def _span(lasts: timedelta) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(days=1), now + lasts
