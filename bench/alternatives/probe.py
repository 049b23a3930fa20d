"""What the documentation leaves open: who holds the GIL, and how a bad server looks.

The servers here misbehave in one scripted way each; the observation is a list
of what every call returned or raised, and when.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bench.alternatives.digest import crc64nvme, one_blake3
from bench.alternatives.write import aligned_buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
BODY = 8 * MIB
TIMEOUT = 0.5
HEAD = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {BODY}\r\n\r\n".encode()

Script = Callable[[socket.socket], object]


def holds_gil(call: Callable[[], object]) -> dict[str, float | bool]:
    """Run `call` in a thread while this one ticks; the longest gap tells."""
    done = threading.Event()

    def target() -> None:
        call()
        done.set()

    thread = threading.Thread(target=target)
    began = last = time.perf_counter()
    gap = 0.0
    thread.start()
    while not done.wait(0.001):
        now = time.perf_counter()
        gap, last = max(gap, now - last), now
    ended = time.perf_counter()
    thread.join()
    gap = max(gap, ended - last)
    return {
        "seconds": round(ended - began, 4),
        "longest_gap": round(gap, 4),
        "releases": gap < (ended - began) / 3,
    }


def gil() -> dict[str, object]:
    """Does one long call of each digest let other threads run?

    The copy, which is known to hold the GIL, is the control. The times are no
    rates: most of the buffer is the kernel's one zero page, which sits in cache.
    """
    data = memoryview(aligned_buffer(512 * MIB, hugepage=False))
    data[: 4 * MIB] = os.urandom(4 * MIB)
    crc = crc64nvme()
    calls: dict[str, Callable[[], object]] = {
        "blake3": lambda: one_blake3(data),
        "sha256": lambda: hashlib.sha256(data).digest(),
        "crc64nvme": lambda: crc(data),
        "memoryview copy": lambda: bytes(data),
    }
    answers: dict[str, object] = {}
    for name, call in calls.items():
        call()  # touch the pages and warm up
        answers[name] = [holds_gil(call) for _ in range(3)]
    return answers


@contextmanager
def server(script: Script) -> Iterator[socket.socket]:
    """A client socket to a server that plays `script` on its one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, suppress(OSError):  # the client has seen enough and left
                script(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname()) as client:
            yield client
            with suppress(OSError):  # a response may hold the fd open beyond close()
                client.shutdown(socket.SHUT_RDWR)
        thread.join()


def receive_timeout(sock: socket.socket, seconds: float) -> None:
    """SO_RCVTIMEO, which a blocking recv obeys and settimeout() does not set."""
    timeval = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)


def observe(call: Callable[[], object], times: int) -> list[str]:
    """What up to `times` calls did, and how long each took."""
    seen: list[str] = []
    for _ in range(times):
        began = time.perf_counter()
        try:
            result = repr(call())
            ended = result == "0"
        except Exception as error:
            result, ended = f"{type(error).__name__}: {error}", True
        seen.append(f"{time.perf_counter() - began:.2f} s: {result}")
        if ended:
            break
    return seen


def stall(peer: socket.socket) -> None:
    """One MiB, then silence."""
    peer.sendall(bytes(MIB))
    peer.recv(1)


def close(peer: socket.socket) -> None:
    """One MiB, then an orderly close."""
    peer.sendall(bytes(MIB))


def reset(peer: socket.socket) -> None:
    """One MiB, a pause in which it is read, then RST."""
    peer.sendall(bytes(MIB))
    time.sleep(TIMEOUT / 2)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(peer: socket.socket) -> None:
    """4 KiB every fifth of the timeout: never silent, never done."""
    for _ in range(20):
        peer.sendall(bytes(4096))
        time.sleep(TIMEOUT / 5)


def late_tail(peer: socket.socket) -> None:
    """All but 64 KiB, then after a pause the rest: less than the low-water mark."""
    peer.sendall(bytes(BODY - 65536))
    time.sleep(TIMEOUT / 5)
    peer.sendall(bytes(65536))
    peer.recv(1)


def _by_waitall(script: Script, *, lowat: int = 1, times: int = 4) -> list[str]:
    buffer = memoryview(bytearray(BODY))
    got = 0
    with server(script) as sock:
        receive_timeout(sock, TIMEOUT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, lowat)

        def call() -> int:
            nonlocal got
            count = sock.recv_into(buffer[got:], 0, socket.MSG_WAITALL)
            got += count
            return count

        return observe(call, times)


def _by_readinto(script: Script) -> list[str]:
    def answer(peer: socket.socket) -> None:
        peer.sendall(HEAD)
        script(peer)

    buffer = memoryview(bytearray(BODY))
    with server(answer) as sock:
        sock.settimeout(TIMEOUT)
        response = http.client.HTTPResponse(sock)
        response.begin()
        return observe(lambda: response.readinto(buffer), 2)


def _waitall_on_timeout_socket() -> list[str]:
    def two_pieces(peer: socket.socket) -> None:
        peer.sendall(bytes(65536))
        time.sleep(TIMEOUT / 5)
        peer.sendall(bytes(65536))

    with server(two_pieces) as sock:
        sock.settimeout(TIMEOUT)
        buffer = bytearray(131072)
        return observe(lambda: sock.recv_into(buffer, 0, socket.MSG_WAITALL), 1)


def _header_stall_under_rcvtimeo() -> list[str]:
    with server(lambda peer: peer.recv(1)) as sock:
        receive_timeout(sock, TIMEOUT)
        return observe(http.client.HTTPResponse(sock).begin, 1)


def _shutdown_from_another_thread() -> list[str]:
    with server(stall) as sock:
        receive_timeout(sock, 10 * TIMEOUT)
        buffer = bytearray(BODY)
        timer = threading.Timer(TIMEOUT, sock.shutdown, [socket.SHUT_RDWR])
        timer.start()
        seen = observe(lambda: sock.recv_into(buffer, 0, socket.MSG_WAITALL), 2)
        timer.join()
        return seen


def bad_servers() -> dict[str, list[str]]:
    """How stall, close, reset and drip look to each receiver (timeout: TIMEOUT)."""
    return {
        "stall, WAITALL": _by_waitall(stall),
        "stall, readinto": _by_readinto(stall),
        "stall in the header, SO_RCVTIMEO": _header_stall_under_rcvtimeo(),
        "close, WAITALL": _by_waitall(close),
        "close, readinto": _by_readinto(close),
        "reset, WAITALL": _by_waitall(reset),
        "reset, readinto": _by_readinto(reset),
        "drip, WAITALL": _by_waitall(drip),
        "drip, readinto": _by_readinto(drip),
        "tail below SO_RCVLOWAT, WAITALL": _by_waitall(late_tail, lowat=MIB, times=1),
        "tail, no SO_RCVLOWAT, WAITALL": _by_waitall(late_tail, times=1),
        "WAITALL on a socket with settimeout": _waitall_on_timeout_socket(),
        "shutdown by another thread, WAITALL": _shutdown_from_another_thread(),
    }
