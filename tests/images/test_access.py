"""Who may read what: nobody without a proof that the registry itself gave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cached.core.digest import Digest
from cached.core.errors import CachedError, Denied, NotFound, SourceUnavailable, Unauthenticated
from cached.core.image import Repository
from cached.core.registry import ANYBODY, NODE, Found, Reader
from cached.engine.images.access import Access
from cached.engine.images.views import Pull

PRIVATE, PUBLIC, TRUSTED = (Repository("quay.io", name) for name in ("a/private", "a/public", "trusted/x"))
FOUND = Found(Digest.sha256(b"x"), 1, "text")


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Registry:
    """Lets anybody read PUBLIC, the node read everything, and who shows `good` read the rest."""

    def __init__(self) -> None:
        self.asked: list[Reader] = []
        self.down = False
        self.good = "Bearer good"

    def probe_of(self, repository: Repository) -> Callable[[Reader], Awaitable[Found]]:
        async def probe(reader: Reader) -> Found:
            self.asked.append(reader)
            if self.down:
                raise SourceUnavailable("down")
            if reader == NODE or repository == PUBLIC or reader.authorization == self.good:
                return FOUND
            raise Unauthenticated("who are you?", challenge='Bearer realm="r"')

        return probe


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access({"quay.io": ("trusted/**",)}, proof_ttl=60, clock=clock)


async def admitted(access: Access, registry: Registry, pull: Pull, **how: bool) -> Reader | str:
    """The reader, or the name of the error."""
    try:
        result = await access.admit(pull, registry.probe_of(pull.repository), **how)
    except CachedError as error:
        return type(error).__name__
    return result.reader


async def test_anybody_reads_what_the_registry_lets_anybody_read(access: Access, registry: Registry) -> None:
    assert await admitted(access, registry, Pull(PUBLIC)) == ANYBODY
    assert await admitted(access, registry, Pull(PRIVATE)) == "Unauthenticated"
    assert registry.asked == [ANYBODY, ANYBODY]


async def test_the_nodes_own_rights_prove_nothing_for_a_puller(access: Access, registry: Registry) -> None:
    for shown in (None, "", "Bearer bad", "Basic bad", "Bearer good "):
        assert await admitted(access, registry, Pull(PRIVATE, shown)) == "Unauthenticated"
    assert NODE not in registry.asked


async def test_a_proof_holds_for_its_credentials_its_repository_and_its_time(
    access: Access, registry: Registry, clock: Clock
) -> None:
    good = Pull(PRIVATE, "Bearer good")
    for _ in range(3):
        assert await admitted(access, registry, good) == Reader("Bearer good")
    assert len(registry.asked) == 1
    assert await admitted(access, registry, Pull(PRIVATE)) == "Unauthenticated"
    assert await admitted(access, registry, Pull(Repository("quay.io", "a/other"), "Bearer good")) == Reader(
        "Bearer good"
    )
    assert len(registry.asked) == 3
    clock.time += 61
    registry.good = "Bearer newer"
    assert await admitted(access, registry, good) == "Unauthenticated"


async def test_a_refusal_ends_what_was_proved(access: Access, registry: Registry) -> None:
    good = Pull(PRIVATE, "Bearer good")
    await admitted(access, registry, good)
    registry.good = "Bearer newer"
    assert await admitted(access, registry, good, ask=True) == "Unauthenticated"
    assert await admitted(access, registry, good) == "Unauthenticated"


async def test_a_trusted_repository_needs_no_proof(access: Access, registry: Registry) -> None:
    assert await admitted(access, registry, Pull(TRUSTED)) == NODE
    assert await admitted(access, registry, Pull(TRUSTED, "Bearer bad")) == NODE
    assert registry.asked == []


@pytest.mark.parametrize("name", ["trusted", "trustedx/y", "a/trusted/x", "x/trusted"])
def test_trust_does_not_spread(access: Access, name: str) -> None:
    assert not access.trusts(Repository("quay.io", name))
    assert not access.trusts(Repository("other.test", "trusted/x"))
    assert access.trusts(Repository("quay.io", "trusted/x/y"))


async def test_while_the_registry_is_down_only_what_is_known_counts(
    access: Access, registry: Registry, clock: Clock
) -> None:
    good = Pull(PRIVATE, "Bearer good")
    await admitted(access, registry, good)
    registry.down = True
    assert await admitted(access, registry, good, ask=True) == Reader(
        "Bearer good"
    )  # proved, and not long ago
    assert await admitted(access, registry, Pull(PRIVATE)) == "SourceUnavailable"
    assert await admitted(access, registry, Pull(PUBLIC), public=True) == ANYBODY
    assert await admitted(access, registry, Pull(TRUSTED), ask=True) == NODE
    clock.time += 61
    assert await admitted(access, registry, good, ask=True) == "SourceUnavailable"


async def test_what_is_not_there_is_no_refusal(access: Access, registry: Registry) -> None:
    good = Pull(PRIVATE, "Bearer good")
    await admitted(access, registry, good)

    async def missing(reader: Reader) -> Found:
        raise NotFound("no such tag")

    with pytest.raises(NotFound):
        await access.admit(good, missing, ask=True)
    assert await admitted(access, registry, good) == Reader("Bearer good")
    assert len(registry.asked) == 1


async def test_a_403_ends_a_proof_too(access: Access, registry: Registry) -> None:
    good = Pull(PRIVATE, "Bearer good")
    await admitted(access, registry, good)

    async def denied(reader: Reader) -> Found:
        raise Denied("no")

    with pytest.raises(Denied):
        await access.admit(good, denied, ask=True)
    await admitted(access, registry, good)
    assert len(registry.asked) == 2


async def test_proofs_are_bounded_and_hold_no_credentials(access: Access, registry: Registry) -> None:
    registry.good = "Bearer secret-of-a-pod"
    await admitted(access, registry, Pull(PRIVATE, registry.good))
    assert "secret-of-a-pod" not in repr(access._proofs)
    assert "secret-of-a-pod" not in repr(Pull(PRIVATE, registry.good)) + repr(Reader(registry.good))
    for number in range(10_050):
        await admitted(access, registry, Pull(PUBLIC, f"Bearer {number}"))
    assert len(access._proofs) == 10_000
