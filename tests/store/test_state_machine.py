"""The pure parts together, against a model that counts everything anew each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from cached.core.digest import Digest
from cached.core.tree import Tree, TreeFile
from cached.store import eviction
from cached.store.ledger import Kind, footprint
from cached.store.records import Lease, ManifestRecord, PinnedBy, RefRecord
from cached.store.state import State, pack

SIZES = [0, 1, 4096, 4097, 20_000, 50_000, 100_000]
BLOBS = [(Digest.sha256(str(number).encode()), size) for number, size in enumerate(SIZES)]
SHAPES = [(1, 2), (2, 3), (2, 3, 4), (5,), (5, 6), (0, 1, 2, 3, 4, 5, 6), (6,)]
TREES = [
    Tree.of(TreeFile(f"f{number}", BLOBS[number][1], BLOBS[number][0]) for number in shape)
    for shape in SHAPES
]
BY_DIGEST = {tree.digest: tree for tree in TREES}

some_tree = st.sampled_from(TREES)
some_ref = st.sampled_from(["a", "b", "c"])
some_pinner = st.sampled_from(PinnedBy)
some_blob = st.sampled_from([blob for blob, _ in BLOBS])
DEMOTED = -(10**9)


class Accounts(RuleBasedStateMachine):
    """Does to the state what the store does, in any order, and keeps its own simple books."""

    flights = Bundle("flights")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.state = State(10**9)
        self.complete: dict[Digest, int] = {}
        self.quarantined: dict[str, int] = {}
        self.flying: list[Tree] = []
        self.published: dict[Digest, int] = {}
        self.leased: dict[str, Digest] = {}
        self.refs: dict[str, Digest] = {}
        self.pins: set[tuple[str, PinnedBy]] = set()
        self.kept: dict[Digest, float] = {}
        self.manifests: dict[tuple[str, str], ManifestRecord] = {}
        self.uses = 0

    # What the store does

    @rule(target=flights, tree=some_tree)
    def reserve(self, tree: Tree) -> Tree:
        missing = {
            blob: size
            for blob, size in tree.blobs.items()
            if blob not in self.complete and blob not in self.state.ledger.entries
        }
        assert self.state.ledger.needed(tree.blobs) == sum(map(footprint, missing.values()))
        self.state.begin_flight(tree)
        self.flying.append(tree)
        return tree

    @rule(tree=flights, data=st.data())
    def stage_or_commit(self, tree: Tree, data: st.DataObject) -> None:
        missing = sorted(self.state.missing(tree))
        if tree in self.flying and missing:
            blob = data.draw(st.sampled_from(missing))
            if data.draw(st.booleans()):
                self.state.staged[blob] = 1
            else:
                self.state.staged.pop(blob, None)
                self.state.ledger.complete(blob)
                self.complete[blob] = tree.blobs[blob]

    @rule(tree=flights)
    def commit_all_and_publish(self, tree: Tree) -> None:
        if tree not in self.flying or tree.digest in self.published:
            return
        for blob, size in self.state.missing(tree).items():
            self.state.staged.pop(blob, None)
            self.state.ledger.complete(blob)
            self.complete[blob] = size
        self.uses += 1
        self.state.know(tree.digest, pack(tree))
        self.state.publish(tree.digest, tree.blobs, self.state.next_use(), 1.0)
        self.published[tree.digest] = self.uses

    @rule(tree=consumes(flights))
    def release(self, tree: Tree) -> None:
        self.flying.remove(tree)
        self.state.end_flight(tree)
        for blob in tree.blobs.keys() - self.complete.keys():
            if not self._in_flight(blob):
                self.kept.pop(blob, None)

    @initialize(trees=st.lists(some_tree, max_size=5))
    def bring_some(self, trees: list[Tree]) -> None:
        for tree in trees:
            self.bring(tree)

    @rule(tree=some_tree)
    def bring(self, tree: Tree) -> None:
        self.commit_all_and_publish(self.reserve(tree))
        self.release(tree)

    @precondition(lambda self: self.published)
    @rule(target=leases, data=st.data())
    def lease(self, data: st.DataObject) -> str:
        tree = data.draw(st.sampled_from(sorted(self.published)))
        lease_id = f"lease-{len(self.leased)}-{self.uses}"
        self.state.grant(Lease(lease_id, tree, "a", "someone", 10.0, 0.0, 0.0))
        self.leased[lease_id] = tree
        self._touch(tree)
        return lease_id

    @rule(lease_id=leases)
    def end_lease(self, lease_id: str) -> None:
        tree = self.leased.pop(lease_id, None)
        ended = self.state.end_lease(lease_id)
        assert (ended.tree if ended else None) == tree

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self._touch(data.draw(st.sampled_from(sorted(self.published))))

    def _touch(self, tree: Digest) -> None:
        self.uses += 1
        self.published[tree] = self.uses
        assert self.state.touch(tree, 1.0) == self.uses

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def demote(self, data: st.DataObject) -> None:
        tree = data.draw(st.sampled_from(sorted(self.published)))
        self.uses += 1
        self.published[tree] = DEMOTED + self.uses
        self.state.demote(tree)

    @rule(blob=some_blob, until=st.floats(0, 100))
    def keep(self, blob: Digest, until: float) -> None:
        self.state.ledger.keep(blob, until)
        if blob in self.complete or self._in_flight(blob):
            self.kept[blob] = max(until, self.kept.get(blob, until))

    @rule(blob=some_blob)
    def let_go(self, blob: Digest) -> None:
        self.state.ledger.let_go(blob)
        self.kept.pop(blob, None)

    @precondition(lambda self: self.complete)
    @rule(data=st.data(), reference=some_ref, seen_at=st.floats(0, 100))
    def set_manifest(self, data: st.DataObject, reference: str, seen_at: float) -> None:
        blob = data.draw(st.sampled_from(sorted(self.complete)))
        record = ManifestRecord("host/name", reference, blob, 1, "text/plain", seen_at, public=True)
        self.state.manifests.put(record)
        self.manifests["host/name", reference] = record

    @rule(ref=some_ref, tree=some_tree)
    def resolve(self, ref: str, tree: Tree) -> None:
        self.state.know(tree.digest, pack(tree))
        self.state.point(ref, RefRecord(tree.digest, "file:///", 1.0))
        self.refs[ref] = tree.digest

    @rule(ref=some_ref)
    def forget_ref(self, ref: str) -> None:
        self.state.forget_ref(ref)
        self.refs.pop(ref, None)

    @rule(ref=some_ref, by=some_pinner)
    def pin(self, ref: str, by: PinnedBy) -> None:
        self.state.pin(ref, by)
        self.pins.add((ref, by))

    @rule(ref=some_ref, by=some_pinner)
    def unpin(self, ref: str, by: PinnedBy) -> None:
        self.state.unpin(ref, by)
        self.pins.discard((ref, by))

    @rule(data=st.data(), keep=st.none() | some_tree)
    def make_room(self, data: st.DataObject, keep: Tree | None) -> None:
        ledger = self.state.ledger
        kept = frozenset(keep.blobs if keep else ())
        most = self._freed(set(ledger.loose), self._idle(), kept)
        short = data.draw(st.integers(1, max(2 * most, 1)))
        plan = eviction.plan(ledger, short, kept)
        if short > most:
            assert plan is None
            return
        assert plan is not None
        loose, trees = set(plan.loose), set(plan.trees)
        assert plan.freed == self._freed(loose, trees, kept) >= short
        assert not loose & kept
        for name in loose:
            assert self._freed(loose - {name}, trees, kept) < short, "went in vain"
        for tree in trees:
            assert self._freed(loose, trees - {tree}, kept) < short, "went in vain"
        older = set(ledger.loose)
        for tree in sorted(self._idle(), key=lambda tree: self.published[tree]):
            if self._freed(older, self._idle() & older, kept) >= short:
                assert tree not in trees, "went before others that were used longer ago"
            older.add(tree)
        removal = self.state.take_out(plan, kept)
        assert removal.size == plan.freed
        for name, _, _ in removal.loose:
            self.quarantined.pop(name, None)
            if self.complete.pop(Digest(name), None) is not None:
                self._unsay(Digest(name))
        for tree in trees:
            del self.published[tree]

    @precondition(lambda self: self.complete)
    @rule(data=st.data())
    def lose_blob(self, data: st.DataObject) -> None:
        blob = data.draw(st.sampled_from(sorted(self.complete)))
        hit = self.state.trees_with(blob)
        assert set(hit) == {tree for tree in self.published if blob in BY_DIGEST[tree].blobs}
        for tree in hit:
            self.state.unpublish(tree)
            del self.published[tree]
        before = self.state.ledger.entries[blob]
        self.state.lose(blob)
        self.kept.pop(blob, None)
        self._unsay(blob)
        assert self.state.ledger.entries.get(blob) is not before
        size = self.complete.pop(blob)
        name = f"{blob.hex}.{len(self.quarantined)}"
        if name not in self.state.ledger.entries:
            self.state.ledger.add(name, size, Kind.QUARANTINED)
            self.quarantined[name] = size

    def _unsay(self, blob: Digest) -> None:
        """The blob left, and with it whatever was said of it."""
        self.manifests = {name: record for name, record in self.manifests.items() if record.digest != blob}

    # What must hold

    def _held_trees(self) -> set[Digest]:
        pinned = {self.refs[ref] for ref, _ in self.pins if ref in self.refs}
        held = pinned | set(self.leased.values()) | {tree.digest for tree in self.flying}
        return held & self.published.keys()

    def _idle(self) -> set[Digest]:
        return self.published.keys() - self._held_trees()

    def _users(self, blob: str) -> set[Digest]:
        return {tree for tree in self.published if blob in BY_DIGEST[tree].blobs}

    def _in_flight(self, blob: str) -> bool:
        return any(blob in tree.blobs for tree in self.flying)

    def _stays(self, blob: str) -> bool:
        return blob in self.kept or self._in_flight(blob)

    def _freed(self, loose: set[str], trees: set[Digest], kept: frozenset[Digest]) -> int:
        """What removing these gives back, blob by blob."""
        freed = sum(
            self.state.ledger.entries[name].size for name in loose - kept if name in self.state.ledger.loose
        )
        for blob, size in self.complete.items():
            users = self._users(blob)
            if users and users <= trees and blob not in kept and not self._stays(blob):
                freed += footprint(size)
        return freed

    @invariant()
    def every_byte_is_counted_once(self) -> None:
        ledger = self.state.ledger
        assert ledger.used == sum(map(footprint, [*self.complete.values(), *self.quarantined.values()]))
        sizes = dict(BLOBS)
        promised = {blob for tree in self.flying for blob in tree.blobs} | self.state.staged.keys()
        partial = promised - self.complete.keys()
        assert ledger.reserved == sum(footprint(sizes[blob]) for blob in partial)
        assert ledger.dormant == sum(footprint(sizes[blob]) for blob in partial if not self._in_flight(blob))
        assert ledger.blob_count == len(self.complete)
        held = self._held_trees()
        assert ledger.held == sum(
            footprint(size)
            for blob, size in self.complete.items()
            if self._stays(blob) or self._users(blob) & held
        )
        assert ledger.evictable == self._freed(set(ledger.loose), self._idle(), frozenset())

    @invariant()
    def what_nobody_uses_is_loose(self) -> None:
        names = [*self.complete, *self.quarantined, *self.state.staged]
        assert set(self.state.ledger.loose) == {
            name for name in names if not self._users(name) and not self._stays(name)
        }
        assert self.state.ledger.kept == self.kept

    @invariant()
    def what_was_said_of_a_blob_stays_as_long_as_the_blob(self) -> None:
        said = {(record.repository, record.reference): record for record in self.state.manifests.all()}
        assert said == self.manifests
        for reference in "abc":
            assert self.state.manifests.get("host/name", reference) == said.get(("host/name", reference))

    @invariant()
    def idle_trees_stand_in_the_order_of_their_use(self) -> None:
        assert list(self.state.ledger.idle) == sorted(self._idle(), key=lambda tree: self.published[tree])
        for tree in self.published:
            assert bool(self.state.holds.explain(tree)) == (tree in self._held_trees())

    @invariant()
    def listings_stay_as_long_as_they_are_needed(self) -> None:
        assert self.state.known.keys() == self.published.keys() | set(self.refs.values())
        for tree in self.state.known:
            assert self.state.tree(tree) == BY_DIGEST[tree]


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
