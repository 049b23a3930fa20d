"""Running a program in our place: it gets our signals, and its end is ours."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Python ignores these for itself; a program that is started expects the default.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Stopped(KeyboardInterrupt):
    """A signal arrived before there was a program to pass it on to."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Relay:
    """Takes the signals of this process, from entering it until the process ends.

    Enter it in the main thread before any other thread is started: threads inherit the mask that keeps
    the signals for the one thread here that waits for them. Only so do we learn who sent a signal, and
    none is lost between starting the program and knowing its id.

    A signal that comes before `run` has started the program raises Stopped in the main thread; a second
    one then ends the process at once. Signals that were ignored when we were started (`nohup`) stay
    ignored, for us and for the program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child = 0
        self._ended = False
        self._stopped_by = 0
        self._raised = False
        self._taken = [s for s in FORWARDED if signal.getsignal(s) is not signal.SIG_IGN]
        self._mask: set[int | signal.Signals] = set()

    def __enter__(self) -> Relay:
        for number in self._taken:
            signal.signal(number, self._stop)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> int:
        """Run `command`, found by PATH, and return its exit code, or 128 + n where signal n ended it.

        Orphans that fall to us because we are PID 1 are reaped. Raises OSError when the program cannot
        be started, and Stopped when a signal came first.
        """
        with self._lock:
            if self._stopped_by:
                self._raised = True
                raise Stopped(self._stopped_by)
            self._child = os.posix_spawnp(
                command[0], tuple(command), env, setsigmask=self._mask, setsigdef=_IGNORED_BY_PYTHON
            )
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if ended is not None and ended.si_pid == self._child:
                break
            if ended is not None:
                os.waitpid(ended.si_pid, 0)
        with self._lock:  # once reaped, the id may be another's: send nothing to it any more
            self._ended = True
        code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return code if code >= 0 else 128 - code

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            raise Stopped(number)

    def _listen(self) -> None:
        while True:
            info = signal.sigwaitinfo(self._taken)
            with self._lock:
                if self._ended:
                    continue
                if self._child:
                    if not self._has_it_already(info):
                        os.kill(self._child, info.si_signo)
                elif self._stopped_by:
                    os._exit(128 + info.si_signo)
                else:
                    self._stopped_by = info.si_signo
                    _thread.interrupt_main(signal.Signals(info.si_signo))

    def _has_it_already(self, info: signal.struct_siginfo) -> bool:
        """Whether the terminal sent it (Ctrl-C, Ctrl-\\) to the program, too: twice may mean "at once"."""
        return (
            info.si_signo in (signal.SIGINT, signal.SIGQUIT)
            and info.si_code > 0
            and os.getpgid(self._child) == os.getpgrp()
        )
