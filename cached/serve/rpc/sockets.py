"""Unix socket files: where they stand, who may use them, and whose they are."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.core.errors import Busy, NotConfigured

MAX_PATH_BYTES: Final = 107  # sun_path of Linux has 108 with its NUL


@dataclass(frozen=True, slots=True)
class Listen:
    """Where one socket stands. `directory_mode` holds for the last directory, when it has to be made.

    setting: the key that puts it there, for hints.
    """

    path: Path
    socket_mode: int = 0o600
    directory_mode: int = 0o700
    setting: str = "sockets.directory"


class SocketFile:
    """A socket file that appears with its final rights and never takes a living daemon's place.

    The server binds in a private directory beside the final path; `publish` sets the mode and renames.
    So there is no moment with looser rights (a umask would do that for every thread of the process),
    a stale socket is replaced in one step, and a predecessor that closes late removes its own name only.
    """

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._draft: Path | None = None
        self._inode: tuple[int, int] | None = None

    def draft(self) -> Path:
        """Make the directories and return the path to bind. Raises NotConfigured or Busy."""
        path, setting = self._listen.path, self._listen.setting
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise NotConfigured(
                f"the socket path {path} is longer than {MAX_PATH_BYTES} bytes",
                hint=f"set {setting} to a shorter path",
            )
        try:
            _make_directory(path.parent, self._listen.directory_mode)
            _refuse_to_replace(path, setting)
            private = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
        except OSError as error:
            raise NotConfigured(
                f"cannot listen at {path}: {error.strerror}",
                hint=f"set {setting} to a directory that the daemon may write",
            ) from error
        draft = private / "s"
        if len(os.fsencode(draft)) > MAX_PATH_BYTES:
            private.rmdir()
            raise NotConfigured(
                f"the directory of the socket {path} is too deep",
                hint=f"set {setting} to a path shorter than {MAX_PATH_BYTES - 20} bytes",
            )
        self._draft = draft
        return draft

    def publish(self) -> None:
        """Let callers in. The server must have bound the draft."""
        assert self._draft is not None
        os.chmod(self._draft, self._listen.socket_mode)
        found = os.stat(self._draft)
        os.rename(self._draft, self._listen.path)
        self._inode = (found.st_dev, found.st_ino)
        self._draft.parent.rmdir()
        self._draft = None

    def remove(self) -> None:
        """Take away what is ours, published or not; a successor's socket stays."""
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
            self._draft.parent.rmdir()
            self._draft = None
        if self._inode is not None:
            try:
                found = os.lstat(self._listen.path)
            except FileNotFoundError:
                return
            if (found.st_dev, found.st_ino) == self._inode:
                self._listen.path.unlink(missing_ok=True)


def _make_directory(path: Path, mode: int) -> None:
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(mode)


def _refuse_to_replace(path: Path, setting: str) -> None:
    """A stale socket may be replaced; a living one, or a file that is no socket, may not."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise NotConfigured(f"{path} is there and is no socket", hint=f"remove it, or set {setting}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except TimeoutError:
            pass  # a full backlog: somebody listens
    raise Busy(
        f"another daemon listens at {path}",
        hint=f"stop it, or set {setting} to a directory of this daemon's own",
    )
