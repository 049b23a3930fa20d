"""A daemon on a host of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cached._proto.v1 import operator_pb2
from cached.cli.authority import Authority
from cached.peers.certificate import Files
from tests.net.switch import Host
from tests.peers.ca import issue, replace
from tests.system.daemon import Daemon, merged

CONTROL_PORT = 7400

# Patience for links that many share: on these, a second without a byte is no fault.
_TRANSFER = {"connections": 16, "connect_timeout": 5, "stall_timeout": 10, "give_up_after": 60}


class Node(Daemon):
    """`cached` in the namespace of `host`; it stands still until it is started."""

    def __init__(
        self,
        home: Path,
        host: Host,
        *,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(
            home,
            settings=merged({"transfer": _TRANSFER}, settings),
            models={},
            environment=environment,
            command=host.namespace.command,
        )
        self.host = host
        self.certificates = home / "certificates"

    @property
    def address(self) -> str:
        """By which the others know it."""
        return f"{self.host.address}:{CONTROL_PORT}"

    def join(self, members: Iterable[str], ca: Authority) -> None:
        """Have peers from the next start on: `members` by address, with certificates from `ca`."""
        self.certificates.mkdir(exist_ok=True)
        replace(self.certificates / "ca.crt", ca.pair.cert)
        files = self.certify(ca)
        self.settings["peers"] = {
            "advertise": self.address,
            "members": {"static": list(members)},
            "tls": {"ca": str(files.ca), "cert": str(files.cert), "key": str(files.key)},
            "slow": self.host.rate // 8,
        }

    def certify(self, ca: Authority, *, lasts: timedelta = timedelta(days=1)) -> Files:
        """Give it another certificate, whether it runs or not. Whom it trusts stays as it is."""
        return issue(ca, self.certificates, self.host.address, lasts=lasts)

    def alone(self) -> None:
        """Have no peers from the next start on."""
        self.settings.pop("peers", None)

    def metrics_text(self) -> str:
        return self.host.namespace.call(super().metrics_text)

    def received(self, origin: str) -> int:
        """Verified bytes from `peer` or a source's scheme, since its last start."""
        return round(self.metric(f'cached_received_bytes_total{{origin="{origin}"}}'))

    @property
    def certificate_lasts(self) -> float:
        """Seconds until the certificate that it uses expires; negative once it has."""
        return self.metric("cached_peer_certificate_expiry_seconds") - time.time()

    def swarm(self, ref: str) -> Any:
        """What it says of the swarm of a model."""
        return self.operator().describe(ref).swarm

    @property
    def usable_peers(self) -> int:
        """How many of the others it may ask for chunks, as it sees them."""
        return sum(peer.state == operator_pb2.PEER_STATE_OK for peer in self.operator().peers().peers)
