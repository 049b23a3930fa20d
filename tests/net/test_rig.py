"""The rig itself: links are as wide as they should be, and break as told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.net.switch import Host, Switch, heal, part

RATE = 25_000_000
SIZE = 4 << 20


@pytest.fixture
def switch(network: None) -> Iterator[Switch]:
    with Switch() as made:
        yield made


class Fountain:
    """Sends to whoever connects, for as long as he reads."""

    def __init__(self, host: Host) -> None:
        self.address = (host.address, 80)
        self._server = host.namespace.call(lambda: socket.create_server(self.address))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Fountain:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._pour, args=self._server.accept()[:1], daemon=True).start()

    def _pour(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with connection, suppress(OSError):
            while True:
                connection.sendall(bytes(1 << 16))


def _drink(host: Host, fountain: Fountain, size: int = SIZE, timeout: float = 10) -> float:
    """Bytes per second. Raises TimeoutError when for `timeout` seconds nothing comes."""
    with host.namespace.call(lambda: socket.create_connection(fountain.address, timeout)) as connection:
        began = time.monotonic()
        left = size
        while left > 0:
            left -= len(connection.recv(1 << 18))
        return size / (time.monotonic() - began)


def test_a_link_is_as_wide_as_told(switch: Switch) -> None:
    sender, receiver = switch.host(RATE), switch.host(RATE)
    with Fountain(sender) as fountain:
        before = sender.sent
        assert _drink(receiver, fountain) == pytest.approx(RATE, rel=0.25)
        assert sender.sent - before >= SIZE
        sender.shape(RATE // 4)
        assert _drink(receiver, fountain) == pytest.approx(RATE / 4, rel=0.25)
        sender.shape(RATE)
        receiver.shape(RATE // 4)
        assert _drink(receiver, fountain) == pytest.approx(RATE / 4, rel=0.25)


def test_a_cable_is_pulled_and_put_back(switch: Switch) -> None:
    sender, receiver = switch.host(RATE), switch.host(RATE)
    with Fountain(sender) as fountain:
        receiver.unplug()
        with pytest.raises(TimeoutError):
            _drink(receiver, fountain, timeout=0.3)
        receiver.plug()
        assert _drink(receiver, fountain, 1) > 0


def test_a_parted_network_heals(switch: Switch) -> None:
    one, two, both = (switch.host(RATE) for _ in range(3))
    with Fountain(one) as fountain:
        part([one], [two])
        with pytest.raises(TimeoutError):
            _drink(two, fountain, timeout=0.3)
        assert _drink(both, fountain, 1) > 0
        heal([one, two])
        assert _drink(two, fountain, 1) > 0
