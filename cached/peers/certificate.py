"""A node's certificate, its key and its CA: read from files and looked through, before any connection."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cached.core.errors import NotConfigured

_MAX_BYTES = 1 << 20
_RSA_BITS = 2048
_UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, slots=True)
class Pem:
    """What the three files hold, read once: whoever needs them gets the same bytes."""

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a node's certificate says. names: its DNS names and IP addresses. expires: in Unix time."""

    names: tuple[str, ...]
    expires: float


@dataclass(frozen=True, slots=True)
class Files:
    """Where the three lie, in PEM."""

    ca: Path
    cert: Path
    key: Path

    def read(self) -> Pem:
        """Raises NotConfigured for a file that cannot be read, and for a key that everyone may read."""
        return Pem(_read(self.ca), _read(self.cert), _read(self.key, secret=True))

    def examine(self, pem: Pem, wanted: str, now: float) -> Certificate:
        """Look through what these files held at `now`, in Unix time.

        wanted: the DNS name or IP address that the certificate must carry. Raises NotConfigured that names
        the file and its fault. Whether the CA vouches for it only a handshake can tell.
        """
        try:
            x509.load_pem_x509_certificates(pem.ca)
        except ValueError:
            raise NotConfigured(f"{self.ca} holds no certificates in PEM") from None
        try:
            certificate = x509.load_pem_x509_certificates(pem.cert)[0]
            carried, public = _names(certificate), certificate.public_key()
        except _UNREADABLE:
            raise NotConfigured(f"{self.cert} holds no certificate in PEM that can be read") from None
        self._check_kind(public)
        self._check_key(pem.key, public)
        self._check_dates(certificate, datetime.fromtimestamp(now, UTC))
        if not carries(carried, wanted):
            raise NotConfigured(
                f"the certificate {self.cert} does not carry {wanted}",
                hint=f"it is for {', '.join(carried) or 'no names'}; nodes are known by the name "
                "peers.tls.name, or by the host in peers.advertise when that is unset",
            )
        return Certificate(carried, certificate.not_valid_after_utc.timestamp())

    def _check_kind(self, public: PublicKeyTypes) -> None:
        """gRPC's TLS knows fewer kinds of keys than OpenSSL, and its failed handshakes explain nothing."""
        match public:
            case rsa.RSAPublicKey() if public.key_size >= _RSA_BITS:
                return
            case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
                return
        raise NotConfigured(
            f"the certificate {self.cert} has a key of a kind that gRPC cannot use",
            hint=f"ECDSA with P-256 or P-384 will do, or RSA of {_RSA_BITS} bits or more",
        )

    def _check_key(self, pem: bytes, public: PublicKeyTypes) -> None:
        try:
            fits = load_pem_private_key(pem, None).public_key() == public
        except TypeError:
            raise NotConfigured(
                f"the key {self.key} is encrypted",
                hint="nobody is there to type a password; decrypt the file",
            ) from None
        except _UNREADABLE:
            raise NotConfigured(f"{self.key} holds no private key in PEM that can be read") from None
        if not fits:
            raise NotConfigured(f"the key {self.key} does not fit the certificate {self.cert}")

    def _check_dates(self, certificate: x509.Certificate, now: datetime) -> None:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < begin:
            raise NotConfigured(
                f"the certificate {self.cert} is not valid before {begin.isoformat()}",
                hint="set this node's clock, or that of whoever issued it",
            )
        if end <= now:
            raise NotConfigured(
                f"the certificate {self.cert} expired at {end.isoformat()}",
                hint="renew it, or set this node's clock if it is ahead",
            )


def carries(names: Collection[str], wanted: str) -> bool:
    """Whether `wanted` is among `names`: IP addresses as addresses, DNS names in any case, no wildcards."""
    return _normal(wanted) in {_normal(name) for name in names}


def bare(host: str) -> str:
    """`host` without the brackets that an IPv6 address wears beside a port."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _normal(name: str) -> str:
    name = bare(name.strip())
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower().rstrip(".")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & 0o007:
                raise NotConfigured(
                    f"the key {path} is open to every user of this node",
                    hint="chmod o= it; for a Kubernetes Secret set defaultMode: 0400 (0440 with fsGroup)",
                )
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise NotConfigured(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise NotConfigured(f"{path} is larger than {_MAX_BYTES} bytes")
    return data
