"""A small CA: makes itself, and certificates for nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_COMMON_NAME_MAX = 64


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in PEM."""

    cert: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that signs nodes' certificates directly."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, begin: datetime, end: datetime) -> Authority:
        """Make one. Its name is its own, so that old and new may stand in one file while one replaces the
        other."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        name = _subject(f"cached lab CA {serial % 2**32:08x}")
        public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), serial, begin, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(public, critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def of(cls, pair: Pair) -> Authority:
        """Read one. Raises ValueError for anything but a CA's certificate and its ECDSA key."""
        try:
            certificate = x509.load_pem_x509_certificate(pair.cert)
            key = load_pem_private_key(pair.key, None)
        except (ValueError, TypeError):
            raise ValueError("it takes a certificate and a key without password, both in PEM") from None
        if not _signs(certificate):
            raise ValueError("it is not a CA's")
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("its key is of another kind or belongs to another certificate")
        return cls(certificate, key)

    @property
    def pair(self) -> Pair:
        return _pair(self.certificate, self.key)

    def issue(self, names: Sequence[str], begin: datetime, end: datetime) -> Pair:
        """A certificate for a node with these IP addresses and DNS names.

        Nodes are servers and clients to each other, and so it is for both.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder(
                self.certificate.subject,
                _subject(names[0][:_COMMON_NAME_MAX]),
                key.public_key(),
                x509.random_serial_number(),
                begin,
                end,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return _pair(certificate, key)


def _signs(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
