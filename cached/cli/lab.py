"""A directory with a CA and the certificates of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cached.cli.authority import Authority, Pair
from cached.core.errors import InvalidRequest
from cached.kit.durable import write_atomic

_CA_DAYS = 3650
# Nodes' clocks differ; a certificate must be good at once on one that is behind.
_BEHIND = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Written:
    """A certificate's files, and whether they were here before."""

    cert: Path
    key: Path
    names: tuple[str, ...]
    expires: datetime
    was_here: bool


class Lab:
    """`ca.crt` and `ca.key`, made when neither is there and never replaced; below it each node's own files.

    Raises InvalidRequest for a directory that cannot be used, half a CA, or one that has expired.
    """

    def __init__(self, directory: Path, now: datetime) -> None:
        self._directory = directory
        self._now = now
        cert, key = directory / "ca.crt", directory / "ca.key"
        with _explained():
            directory.mkdir(parents=True, exist_ok=True)
            here = [file.name for file in (cert, key) if file.exists()]
            if len(here) == 1:
                raise InvalidRequest(
                    f"{directory} holds {here[0]} alone, which is half a CA",
                    hint="put the other half beside it, or take another directory",
                )
            self._ca = self._read(cert, key) if here else self._make(cert, key)
        self.ca = Written(cert, key, (), self._ca.certificate.not_valid_after_utc, bool(here))

    def _read(self, cert: Path, key: Path) -> Authority:
        try:
            ca = Authority.of(Pair(cert.read_bytes(), key.read_bytes()))
        except ValueError as error:
            raise InvalidRequest(f"{cert} cannot be used as a CA: {error}") from None
        if ca.certificate.not_valid_after_utc <= self._now:
            raise InvalidRequest(
                f"the CA {cert} expired at {ca.certificate.not_valid_after_utc.isoformat()}",
                hint="make one in another directory; while nodes move to it, give them both in one ca.crt",
            )
        return ca

    def _make(self, cert: Path, key: Path) -> Authority:
        ca = Authority.new(self._now - _BEHIND, self._now + timedelta(days=_CA_DAYS))
        write_atomic(key, ca.pair.key, 0o600)
        write_atomic(cert, ca.pair.cert)
        return ca

    def issue(self, names: Sequence[str], days: int) -> Written:
        """Write a new certificate and key for a node into the directory of its first name."""
        place = self._directory / names[0]
        cert, key = place / "tls.crt", place / "tls.key"
        end = min(self._now + timedelta(days=days), self._ca.certificate.not_valid_after_utc)
        pair = self._ca.issue(names, self._now - _BEHIND, end)
        with _explained():
            place.mkdir(exist_ok=True)
            was_here = cert.exists()
            write_atomic(key, pair.key, 0o600)
            write_atomic(cert, pair.cert)
        return Written(cert, key, tuple(names), end, was_here)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"cannot use {error.filename}: {error.strerror}") from None
