"""Who is believed to be at the other end of a TLS connection."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Protocol

from cached.core.errors import NotConfigured


class Trust(Protocol):
    """Asked for each new connection, so that what is rotated counts from then on. Thread-safe."""

    def client_context(self) -> ssl.SSLContext:
        """What a handshake demands and presents. Raises NotConfigured when it cannot be had."""
        ...

    def server_name(self, host: str) -> str:
        """The name that the certificate of `host` must carry."""
        ...


class CaTrust:
    """Trust in a file of CAs, or in the system's. Read at first need, since that takes a while.

    setting: where operators name the file.
    """

    def __init__(self, ca_file: Path | None, setting: str = "transfer.ca_file") -> None:
        self._ca_file = ca_file
        self._setting = setting
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def client_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                try:
                    context = ssl.create_default_context(cafile=self._ca_file)
                except OSError as error:
                    raise NotConfigured(
                        f"the CA file {self._ca_file} cannot be used: {error.strerror or error}",
                        hint=f"{self._setting} names a bundle of certificates in PEM",
                    ) from None
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                self._context = context
            return self._context

    def server_name(self, host: str) -> str:
        return host
