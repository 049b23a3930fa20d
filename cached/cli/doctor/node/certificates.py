"""Whether this node's certificate, its key and the CA will do, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node.identity import files_of, identity_of, peers_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

_DAY: Final = 86400.0
# Of its life, and at most so many days: cert-manager renews when a third is left.
_LAST_PART: Final = 0.15
_MOST_DAYS: Final = 14.0


@dataclass(frozen=True, slots=True)
class Life:
    """For how long a file is good, in Unix time."""

    file: Path
    begin: float
    end: float


def look(scene: Scene) -> Iterator[Finding]:
    peers, host = peers_of(scene)
    if peers.plaintext:
        raise Skipped("peers.plaintext is set")
    identity = identity_of(scene, peers, host)
    files = files_of(scene, peers)
    yield from judge(_lives(files.cert, files.ca), identity.server_name(host), time.time())


def judge(lives: Sequence[Life], name: str, now: float) -> Iterator[Finding]:
    """lives: of the certificate first. name: the one that it carries for this node."""
    soon = [
        Finding(
            "warning",
            str(life.file),
            f"{life.file} expires in {_days(life.end - now)}; then nodes turn each other away",
            "renew it; files are read again. With cert-manager: kubectl describe certificate says more",
        )
        for life in lives
        if life.end - now < min(_LAST_PART * (life.end - life.begin), _MOST_DAYS * _DAY)
    ]
    well = Finding("ok", str(lives[0].file), f"for {name}, good for {_days(lives[0].end - now)}")
    yield from soon or [well]


def _lives(cert: Path, ca: Path) -> list[Life]:
    """A chain is as good as the first of it to expire, a bundle of CAs as the last."""
    from cryptography.x509 import load_pem_x509_certificates

    found = []
    for file, of in ((cert, min), (ca, max)):
        each = load_pem_x509_certificates(file.read_bytes())
        end = of(each, key=lambda certificate: certificate.not_valid_after_utc)
        found.append(Life(file, end.not_valid_before_utc.timestamp(), end.not_valid_after_utc.timestamp()))
    return found


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:.0f} days" if seconds >= 2 * _DAY else f"{max(0.0, seconds) / 3600:.0f} hours"
