"""Who may read which repository, and how that was proved."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cached.core.clock import Clock
from cached.core.errors import Denied, SourceUnavailable, Unauthenticated
from cached.core.globs import glob_takes
from cached.core.image import Repository
from cached.core.registry import ANYBODY, NODE, Found, Reader
from cached.engine.images.views import Pull

_MOST_PROOFS: Final = 10_000

Probe = Callable[[Reader], Awaitable[Found]]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A pull that may go on. reader: how its registry is asked. found: what it said, if it was asked now.

    unasked: the registry does not answer, and the repository was known to be for anybody.
    """

    reader: Reader
    found: Found | None = None
    unasked: bool = False


class Access:
    """Lets a puller have what the registry lets it have, or what the operator lets all of this node have.

    A proof is an answer of the registry to the very credentials that the puller shows, and holds for the one
    repository and for `proof_ttl` seconds. Credentials are not kept, only a keyed digest of them.
    """

    def __init__(self, trusted: Mapping[str, tuple[str, ...]], proof_ttl: float, clock: Clock) -> None:
        """trusted: by upstream, globs of the repositories that any puller may have."""
        self._trusted = trusted
        self._proof_ttl = proof_ttl
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._proofs: OrderedDict[tuple[Repository, bytes], float] = OrderedDict()

    def trusts(self, repository: Repository) -> bool:
        """Whether any puller on this node may have what lies in `repository`."""
        patterns = self._trusted.get(repository.host, ())
        return any(glob_takes(f"/{pattern}", repository.name) for pattern in patterns)

    def reader(self, pull: Pull) -> Reader:
        """On whose behalf the registry is asked for this pull."""
        if self.trusts(pull.repository):
            return NODE
        return ANYBODY if pull.authorization is None else Reader(pull.authorization)

    async def admit(self, pull: Pull, probe: Probe, *, ask: bool = False, public: bool = False) -> Admitted:
        """Let the pull go on, or raise what the registry says to its credentials.

        `probe` asks the registry for what is wanted; it is asked where there is no proof, and with `ask` in
        any case. public: anybody could read the repository not long ago, which counts while its registry is
        down.
        """
        trusted = self.trusts(pull.repository)
        reader = self.reader(pull)
        if not ask and (trusted or self._is_proved(pull)):
            return Admitted(reader)
        try:
            found = await probe(reader)
        except SourceUnavailable:
            if trusted or self._is_proved(pull) or public:
                return Admitted(reader, unasked=True)
            raise
        except (Unauthenticated, Denied):
            self.forget(pull)
            raise
        if not trusted:
            self._note(pull)
        return Admitted(reader, found)

    def forget(self, pull: Pull) -> None:
        """What the puller shows was refused: it has to prove itself anew."""
        self._proofs.pop(self._proof(pull), None)

    def _is_proved(self, pull: Pull) -> bool:
        return self._proofs.get(self._proof(pull), float("-inf")) > self._clock.monotonic()

    def _note(self, pull: Pull) -> None:
        proof = self._proof(pull)
        self._proofs[proof] = self._clock.monotonic() + self._proof_ttl
        self._proofs.move_to_end(proof)
        if len(self._proofs) > _MOST_PROOFS:
            self._proofs.popitem(last=False)

    def _proof(self, pull: Pull) -> tuple[Repository, bytes]:
        shown = (pull.authorization or "").encode("utf-8", "surrogateescape")
        return pull.repository, hashlib.blake2b(shown, key=self._key, digest_size=32).digest()
