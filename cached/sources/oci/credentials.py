"""The node's own credentials, wherever operators put them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cached.core.clock import Clock
from cached.core.errors import NotConfigured
from cached.kit.filepin import file_pin
from cached.kit.pool import Pool
from cached.sources.oci.dockerconfig import DockerConfig, Unusable
from cached.sources.oci.helper import ask_helper
from cached.sources.oci.secret import Secret
from cached.sources.oci.upstream import Upstream

_MOUNTED: Final = (".dockerconfigjson", ".dockercfg", "config.json")
_MOST: Final = 1 << 20  # bytes of a file
_THREADS: Final = 4
_KEPT: Final = 300.0  # seconds that a helper's answer is believed
_JUST: Final = 10.0  # seconds after which a helper may say something else


@dataclass(frozen=True, slots=True)
class _Told:
    secret: Secret | None = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class _Read:
    pin: str
    config: DockerConfig


class Credentials:
    """In docker's config.json files, in directories of mounted pull secrets, and in helper programs.

    The first file that knows a registry counts. Within one, docker's order: the registry's own helper, else
    the store, and what stands in the file where those have nothing. Belongs to one event loop.
    """

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        self._paths = tuple(paths)
        self._clock = clock
        self._pool = Pool("credentials", _THREADS)
        self._known: dict[Path, _Read] = {}
        self._told: dict[tuple[str, str], _Told] = {}
        self._asking: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, upstream: Upstream) -> Secret | None:
        """What the node has for the registry. Files that changed are read again.

        Raises NotConfigured for a file or a helper that cannot be used.
        """
        for path in self._paths:
            known = await self._pool.run(_read, path, self._known.get(path))
            self._known[path] = known
            try:
                helper, secret = known.config.helper(upstream.host), known.config.secret(upstream.host)
            except Unusable as error:
                raise _unusable(path, str(error)) from None
            if helper:
                secret = await self._ask(helper, upstream.login) or secret
            if secret:
                return secret
        return None

    async def renewed(self, upstream: Upstream, refused: Secret) -> Secret | None:
        """What there is by now instead of credentials that were refused; None for nothing else.

        Helpers that said them are asked anew, unless that was a moment ago. Raises NotConfigured.
        """
        just = self._clock.monotonic() - _JUST
        old = [key for key, told in self._told.items() if told.secret == refused and told.at < just]
        for key in old:
            del self._told[key]
        found = await self.find(upstream)
        return None if found == refused else found

    def close(self) -> None:
        """A helper that runs is left to its own time limit."""
        self._pool.executor.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, helper: str, server: str) -> Secret | None:
        key = (helper, server)
        async with self._asking[key]:
            told = self._told.get(key)
            if told is None or self._clock.monotonic() - told.at > _KEPT:
                secret = await self._pool.run(ask_helper, helper, server)
                told = self._told[key] = _Told(secret, self._clock.monotonic())
            return told.secret


def _read(path: Path, known: _Read | None) -> _Read:
    """What stands at `path` now; `known` as long as that is still the same file."""
    try:
        fd = _open(path)
        try:
            status = os.fstat(fd)
            pin = file_pin(status)
            if known and known.pin == pin:
                return known
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
                raise _unusable(path, f"it is not a file of at most {_MOST >> 20} MiB")
            data = os.read(fd, _MOST)
        finally:
            os.close(fd)
        return _Read(pin, DockerConfig.parse(data))
    except Unusable as error:
        raise _unusable(path, str(error)) from None
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None


def _open(path: Path) -> int:
    """The file at `path`, or the first in that directory by one of the names that pull secrets have."""
    if not path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    for name in _MOUNTED:
        try:
            return os.open(path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
    raise Unusable(f"it has none of {', '.join(_MOUNTED)}")


def _unusable(path: Path, why: str) -> NotConfigured:
    return NotConfigured(
        f"the registry credentials in {path} cannot be used: {why}",
        hint="images.credentials names docker config files, and directories of mounted pull secrets",
    )
