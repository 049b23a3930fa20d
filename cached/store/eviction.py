"""What goes when room is short. Decides only; `room` acts."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from cached.core.digest import Digest
from cached.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Plan:
    """Loose things and trees that go, in the order in which they were chosen, and the bytes that this frees.

    A tree takes along those of its blobs that nothing else uses.
    """

    loose: tuple[str, ...]
    trees: tuple[Digest, ...]
    freed: int


def evictable(ledger: Ledger, keep: Iterable[Digest]) -> int:
    """Bytes that may go when the blobs `keep` must stay."""
    kept = (ledger.entries.get(name) for name in keep)
    return ledger.evictable - sum(entry.size for entry in kept if entry is not None and not entry.holds)


def plan(ledger: Ledger, short: int, keep: frozenset[Digest]) -> Plan | None:
    """What to remove so that `short` more bytes are free, or None if all that may go is not enough.

    First what no tree uses, oldest first, then trees, least recently used first; never a blob of `keep`,
    never what is held. Nothing goes in vain: without any one of the chosen it would not be enough. The
    cost is that of the chosen, however much else is here.
    """
    if short > evictable(ledger, keep):
        return None
    freed = 0
    loose = []
    for name in ledger.loose:
        if freed >= short:
            break
        if name not in keep:
            loose.append(name)
            freed += ledger.entries[name].size
    trees = []
    gone: dict[Digest, int] = {}
    for tree in ledger.idle:
        if freed >= short:
            break
        trees.append(tree)
        for name in ledger.trees[tree].blobs:
            gone[name] = gone.get(name, 0) + 1
        freed += _freed_with(ledger, tree, gone, keep)
    return _spare(ledger, short, keep, Plan(tuple(loose), tuple(trees), freed), gone)


def _freed_with(ledger: Ledger, tree: Digest, gone: dict[Digest, int], keep: Container[Digest]) -> int:
    """Bytes of the blobs of `tree` that go when of each blob's uses so many are `gone`."""
    return sum(
        entry.size
        for name in ledger.trees[tree].blobs
        if gone[name] == (entry := ledger.entries[name]).uses and not entry.holds and name not in keep
    )


def _spare(
    ledger: Ledger, short: int, keep: Container[Digest], chosen: Plan, gone: dict[Digest, int]
) -> Plan:
    """Take back whatever is not needed after all, the most recently used first."""
    freed = chosen.freed
    trees = []
    for tree in reversed(chosen.trees):
        loss = _freed_with(ledger, tree, gone, keep)
        if freed - loss >= short:
            freed -= loss
            for name in ledger.trees[tree].blobs:
                gone[name] -= 1
        else:
            trees.append(tree)
    loose = []
    for thing in reversed(chosen.loose):
        size = ledger.entries[thing].size
        if freed - size >= short:
            freed -= size
        else:
            loose.append(thing)
    return Plan(tuple(reversed(loose)), tuple(reversed(trees)), freed)
