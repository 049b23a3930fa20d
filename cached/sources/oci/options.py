"""How to reach a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Where a registry is, and who may see credentials for it. The credentials never stand here.

    endpoint: URL of its API; None for https:// and its host. ca_file: PEM bundle to trust it and its token
    service by, None for the general one. token_hosts: those of token services outside of its own domain.
    """

    endpoint: str | None = None
    ca_file: Path | None = None
    token_hosts: tuple[str, ...] = ()
