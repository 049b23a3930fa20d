"""A real DNS server: NSD, an authoritative one, from the Debian package `nsd`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.exception
import dns.message
import dns.query
from dns.asyncresolver import Resolver

from tests.servers.ports import free_ports

NSD = shutil.which("nsd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

ZONE = "cluster.test"

_READY_SECONDS = 10.0


class DnsServer:
    """Serves names below `cluster.test`, and no others exist.

    Over UDP, cut off at 512 bytes unless asked for more, and over TCP.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._zone = directory / "zone"
        self._port = free_ports(1)[0]
        self._serial = 0
        self._process: subprocess.Popen[bytes] | None = None
        (directory / "resolv.conf").write_text(
            f"nameserver 127.0.0.1\nsearch nowhere.{ZONE} svc.{ZONE}\noptions ndots:5\n"
        )
        (directory / "nsd.conf").write_text(
            f"""server:
  ip-address: 127.0.0.1@{self._port}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/pid"
  logfile: "{directory}/log"
  xfrdfile: "{directory}/xfrd"
  zonelistfile: "{directory}/zones"
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: .
  zonefile: zone
"""
        )
        self.write([])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def resolver(self) -> Resolver:
        """As a pod has it: search domains and ndots:5 from a resolv.conf, which has no word for a port."""
        resolver = Resolver(filename=str(self._directory / "resolv.conf"))
        resolver.port = self._port
        return resolver

    def write(self, records: Iterable[str]) -> None:
        """The zone's records from the next start or `serve` on, such as `peers.svc A 10.0.0.1`."""
        self._serial += 1
        head = ["$TTL 3600", f". SOA ns. hostmaster. {self._serial} 3600 600 86400 5", ". NS ns."]
        lines = [*head, "ns. A 127.0.0.1", f"$ORIGIN {ZONE}.", *records]
        self._zone.write_text("\n".join(lines) + "\n")

    def serve(self, records: Iterable[str]) -> None:
        """From now on, these records; returns once they are answered."""
        self.write(records)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        self._until(lambda answer: f" {self._serial} 3600 " in answer)

    def fail(self) -> None:
        """From now on, SERVFAIL: a zone without data."""
        self.stop()
        self._zone.unlink()
        self._launch()
        self._until(lambda answer: "rcode SERVFAIL" in answer)

    def start(self) -> None:
        """With what was written last, at the same port as ever."""
        self._launch()
        self._until(lambda answer: f" {self._serial} 3600 " in answer)

    def stop(self) -> None:
        """Nobody answers any more."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _launch(self) -> None:
        assert NSD is not None
        command = [NSD, "-d", "-c", str(self._directory / "nsd.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _until(self, true: Callable[[str], bool]) -> None:
        question = dns.message.make_query(".", "SOA")
        deadline = time.monotonic() + _READY_SECONDS
        row = 0  # of good answers: for a moment after a reload, the old process answers some questions too
        while time.monotonic() < deadline:
            try:
                good = true(str(dns.query.udp(question, "127.0.0.1", timeout=0.1, port=self._port)))
            except (OSError, dns.exception.DNSException):
                good = False
            row = row + 1 if good else 0
            if row == 5:
                return
            time.sleep(0.005)
        raise RuntimeError(f"NSD does not answer as it should; see {self._directory / 'log'}")
