"""`host:port`, the name of a member."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal

Family = Literal["IPv4", "IPv6"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens. `host` is an IP address without brackets, or a DNS name."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `host:port`, an IPv6 address in brackets. Raises ValueError that says what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("write host:port")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        if ":" in host and not bracketed:
            raise ValueError("write an IPv6 address in brackets, [address]:port")
        if bracketed:
            IPv6Address(host)
        return cls(host, int(port))

    @property
    def family(self) -> Family | None:
        """None when the host is a name."""
        try:
            return "IPv6" if ip_address(self.host).version == 6 else "IPv4"
        except ValueError:
            return None

    def __str__(self) -> str:
        """The one spelling of it: addresses compressed, names in lower case and without the last dot."""
        if self.family == "IPv6":
            return f"[{ip_address(self.host)}]:{self.port}"
        return f"{self.host.lower().rstrip('.')}:{self.port}"
