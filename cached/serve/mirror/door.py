"""Where connections come in: the daemon's side of the guard."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

from cached.core.errors import Busy, CachedError, NotConfigured
from cached.kit.pool import Pool
from cached.serve.mirror import guard
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_AT_ONCE: Final = 64  # messages of the guard, before the event loop does something else
_START: Final = 10.0  # seconds for the first guard to start
_END: Final = 1.0  # seconds for a guard to end


class Door:
    """Keeps a guard running, beats for it, and takes the connections that it accepts.

    A guard that dies takes the listening socket with it, so that nobody waits for it, and within a beat
    there is a new one. Used by the event loop's thread: the guard dies with the thread that started it.
    """

    def __init__(
        self,
        listen: str,
        wedged: float,
        admit: Callable[[socket.socket, int], None],
        bereft: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """listen: host:port. admit: given each connection and its number; both are its own then.

        bereft: called when a guard has died, and nobody watches over the connections that it handed over.
        """
        self._listen = listen
        self._wedged = wedged
        self._admit = admit
        self._bereft = bereft
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._last = 0
        self._ended: deque[int] = deque()
        self._ready = asyncio.Event()
        self._troubled = False

    async def open(self) -> int:
        """Begin to take connections; returns the port. Raises Busy or NotConfigured, naming the address."""
        self._loop = asyncio.get_running_loop()
        port = self._start()
        self._timer = self._loop.call_later(guard.INTERVAL, self._tick)
        try:
            async with asyncio.timeout(_START):
                await self._ready.wait()
        except TimeoutError:
            await self.close()
            raise NotConfigured(
                f"the guard of {self._listen} does not start", hint="see what it wrote to standard error"
            ) from None
        return port

    async def close(self) -> None:
        """Take no more connections; those that are open live on, unguarded. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()
        process, self._process = self._process, None
        if process is not None:
            pool = Pool("guard", 1)
            try:
                await pool.run(_end, process)
            finally:
                pool.close()

    def ended(self, number: int) -> None:
        """The connection of this number has ended: the guard lets go of it, too."""
        if self._control is not None:
            self._ended.append(number)
            self._tell()

    def _start(self) -> int:
        with _listening(self._listen) as listener:
            port = int(listener.getsockname()[1])
            try:
                self._control = self._run(listener.fileno())
            except OSError as error:
                raise NotConfigured(
                    f"the guard of {self._listen} cannot be started: {error.strerror or error}"
                ) from None
        self._listen = f"{self._listen.rpartition(':')[0]}:{port}"
        self._loop.add_reader(self._control.fileno(), self._hear)
        self._metrics.mirror_guards.inc()
        return port

    def _run(self, listener: int) -> socket.socket:
        """Start a guard; returns what is spoken to it by."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        said = [listener, self._wedged, os.getpid(), self._last]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", guard.__file__, *map(str, said)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    pass_fds=[listener],
                    cwd="/",
                    env={},  # it needs nothing of it, and there are credentials in it
                )
        except OSError:
            ours.close()
            raise
        return ours

    def _tick(self) -> None:
        self._timer = self._loop.call_later(guard.INTERVAL, self._tick)
        if self._process is not None and self._process.poll() is not None:
            log.warning("The mirror's guard died; another one is started.")
            self._process = None
            self._hang_up()
            self._bereft()
        if self._process is None:
            self._start_again()
        self._tell(guard.BEAT)

    def _start_again(self) -> None:
        try:
            self._start()
            self._troubled = False
        except CachedError as error:
            if not self._troubled:
                log.error("The mirror takes no connections.", extra={"error": str(error)})
            self._troubled = True

    def _hang_up(self) -> None:
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        self._ended.clear()

    def _tell(self, kind: bytes | None = None) -> None:
        """Say which connections have ended, and `kind`; what the guard does not take in now, another time."""
        if self._control is None:
            return
        try:
            while self._ended:
                self._control.send(guard.MESSAGE.pack(guard.ENDED, self._ended[0], 0, 0))
                self._ended.popleft()
            if kind is not None:
                self._control.send(guard.MESSAGE.pack(kind, 0, 0, 0))
        except OSError:
            pass  # the next beat tells, or finds it dead

    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            if self._control is None:
                return
            try:
                data, fds, _, _ = socket.recv_fds(
                    self._control, guard.MESSAGE.size, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:  # it has died, which the next beat looks at
                self._hang_up()
                return
            kind, number, refused, milliseconds = guard.MESSAGE.unpack(data)
            if kind == guard.CONNECTION:
                self._last = number
                if fds:
                    self._admit(socket.socket(fileno=fds[0]), number)
                else:  # this process has no descriptor left
                    self.ended(number)
            elif kind == guard.BACK:
                self._metrics.mirror_wedged.inc()
                log.warning(
                    "Pullers of images are served again; the guard had sent them away.",
                    extra={"cut": number, "refused": refused, "seconds": milliseconds / 1000},
                )
            elif kind == guard.READY:
                self._ready.set()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and where[0] == "::"
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Busy(
                f"another process listens on {listen}",
                hint="stop it, or set images.mirror to a free port",
            ) from None
        raise NotConfigured(
            f"cannot serve images on {listen}: {error.strerror or error}",
            hint="set images.mirror to host:port, where the host is an address of this node",
        ) from None
