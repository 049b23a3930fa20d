"""A process of its own that sends pullers away when the daemon does not answer. Standard library only.

containerd has no time limit for an answer before 2.3, and 30 s from then on. The kernel goes on accepting
connections for a process that is stopped, or whose interpreter is stuck, and a pull would hang where a dead
daemon's would go on to the registry at once. So this process has the listening socket, and accepts. It
hands each connection to the daemon over a unix socket and keeps a descriptor of it until the daemon says
that it has ended; no byte of it passes here. The daemon's event loop beats four times a second. When it
does not, all connections are shut down and new ones closed, until it beats again.

It is started by `door.py` with the interpreter's -I and -S, so that nothing but the standard library can be
imported here. It ends with the daemon, whose end of the unix socket closes, and the kernel sees to it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress

MESSAGE = struct.Struct("<cQQQ")
"""What both sides say: one of the letters below, and up to three numbers."""
READY = b"r"
"""To the daemon: the guard works."""
CONNECTION = b"c"
"""To the daemon, with a descriptor: a connection, and the number by which it is called."""
BACK = b"b"
"""To the daemon: it answers again; connections cut, connections refused, milliseconds without a beat."""
BEAT = b"t"
"""To the guard: the daemon answers."""
ENDED = b"e"
"""To the guard: the connection of this number has ended."""
INTERVAL = 0.25
"""Seconds between beats."""

_AT_ONCE = 128  # connections taken before the daemon is listened to again
_PR_SET_PDEATHSIG = 1


class Guard:
    """wedged: seconds without a beat, after which the daemon counts as stuck. last: the last number given."""

    def __init__(self, listener: socket.socket, control: socket.socket, wedged: float, last: int) -> None:
        self._listener = listener
        self._control = control
        self._wedged = wedged
        self._known: dict[int, socket.socket] = {}
        self._last = last
        self._beat = time.monotonic()
        self._stuck = False
        self._cut = self._refused = 0
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def run(self) -> None:
        """Until the daemon is no more."""
        for sock in (self._listener, self._control):
            sock.setblocking(False)
        self._say(READY)
        events = select.poll()
        events.register(self._listener, select.POLLIN)
        events.register(self._control, select.POLLIN)
        while True:
            due = self._beat + self._wedged - time.monotonic()
            found = events.poll(None if self._stuck else max(due, 0) * 1000)
            if not self._listen():
                return
            if not self._stuck and time.monotonic() - self._beat >= self._wedged:
                self._send_away()
            if any(fd == self._listener.fileno() for fd, _ in found):
                self._accept()

    def _listen(self) -> bool:
        """Take in what the daemon says; False when it is gone."""
        while True:
            try:
                data = self._control.recv(MESSAGE.size)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            kind, number, _, _ = MESSAGE.unpack(data)
            if kind == ENDED:
                if (sock := self._known.pop(number, None)) is not None:
                    sock.close()
            elif kind == BEAT:
                self._beaten()

    def _beaten(self) -> None:
        now = time.monotonic()
        if self._stuck:
            self._stuck = False
            self._say(BACK, self._cut, self._refused, int((now - self._beat) * 1000))
        self._beat = now

    def _send_away(self) -> None:
        self._stuck = True
        self._cut, self._refused = len(self._known), 0
        for sock in self._known.values():
            with suppress(OSError):  # it may have ended already
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._known.clear()
        _tell_people(b"cached does not answer; its guard sends pullers of images to the registries.\n")

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._turn_one_away()
                continue
            if self._stuck or not self._hand_over(sock):
                self._refused += 1
                sock.close()

    def _hand_over(self, sock: socket.socket) -> bool:
        """Whether the daemon has it now; not when it takes in nothing."""
        number = self._last + 1
        try:
            socket.send_fds(self._control, [MESSAGE.pack(CONNECTION, number, 0, 0)], [sock.fileno()])
        except OSError:
            return False
        self._last = number
        self._known[number] = sock
        return True

    def _turn_one_away(self) -> None:
        """With no descriptor left, nobody may wait in the kernel's queue for one."""
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
            self._refused += 1
        except OSError:
            pass
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def _say(self, kind: bytes, *numbers: int) -> None:
        first, second, third = (*numbers, 0, 0, 0)[:3]
        with suppress(OSError):  # it takes in nothing, or is gone: both show soon
            self._control.send(MESSAGE.pack(kind, first, second, third))


def _tell_people(line: bytes) -> None:
    """Write a line to standard error, which is the daemon's; not if whoever reads that is stuck, too."""
    room = select.poll()
    room.register(2, select.POLLOUT)
    with suppress(OSError):
        if room.poll(0):
            os.write(2, line)


def main() -> None:
    """Standard input is the unix socket. Arguments: the listening socket's descriptor, wedged and last of the
    Guard, and the daemon's process id between them."""
    fd, wedged, daemon, last = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != daemon:
        return  # it died before that
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are the daemon's, which still answers what is under way
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Guard(socket.socket(fileno=fd), socket.socket(fileno=0), wedged, last).run()


if __name__ == "__main__":
    main()
    os._exit(0)
