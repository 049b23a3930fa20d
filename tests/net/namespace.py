"""A network namespace that nothing outlives."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


class Namespace:
    """Held by a descriptor of this process alone, without a name or a mount.

    The kernel takes it away, with the interfaces in it, when the last of its descriptors, sockets and
    processes has gone: at `close`, and just as well when the test run was killed. Needs root.
    """

    def __init__(self) -> None:
        """Raises OSError where the kernel permits none."""
        self._file = _in_a_thread(_make)

    @property
    def path(self) -> str:
        """For `nsenter --net=` and `ip link … netns`, as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @property
    def command(self) -> list[str]:
        """What goes before a command that shall run in there."""
        return ["nsenter", f"--net={self.path}"]

    def run(self, *command: str, told: str = "") -> str:
        """Run `command` in there, with `told` on its standard input; returns what it wrote."""
        whole = [*self.command, *command]
        done = subprocess.run(whole, input=told, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread in there. Sockets that it makes stay in there, whoever uses them."""

        def enter() -> T:
            _check(_libc.setns(self._file, _CLONE_NEWNET))
            return function()

        return _in_a_thread(enter)

    def close(self) -> None:
        os.close(self._file)


def _make() -> int:
    _check(_libc.unshare(_CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"namespaces: {os.strerror(number)}")


def _in_a_thread(function: Callable[[], T]) -> T:
    """A thread may move to another namespace without the others; this one ends with the call."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
