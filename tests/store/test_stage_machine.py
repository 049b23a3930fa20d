"""Any order of chunks, kills, spoilt bytes and scarce buffers: the blob comes out right or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cached.core.chunks import chunk_span
from cached.core.digest import Digest
from cached.store import blobs
from cached.store.layout import Layout
from cached.store.stage import Stage

from .disk import CHUNK, Pool, put, some_bytes


class StageMachine(RuleBasedStateMachine):
    @initialize(size=st.integers(0, 12 * CHUNK), seed=st.integers(0, 9), known=st.booleans())
    def begin(self, size: int, seed: int, known: bool) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="cached-test-"))
        self.layout = Layout(self.place)
        self.data = some_bytes(size, seed)
        self.blob = Digest.sha256(self.data) if known else Digest.of_origin("file:///x", "pin", size)
        self.layout.stages.mkdir()
        self.layout.drafts.mkdir()
        self.layout.blob(self.blob).parent.mkdir(parents=True)
        self.pool = Pool()
        self.here: set[int] = set()
        self.count = -(-size // CHUNK)
        self.stage = self.open()

    def open(self) -> Stage:
        return Stage.open(self.layout, self.blob, len(self.data), chunk_size=CHUNK)

    @rule(pick=st.integers(0, 1000))
    def put_a_chunk(self, pick: int) -> None:
        if self.count:
            put(self.stage, self.data, [pick % self.count], self.pool)
            self.here.add(pick % self.count)

    @rule(spare=st.integers(0, 4))
    def buffers_become_scarce_or_plenty(self, spare: int) -> None:
        self.pool.spare = spare

    @rule()
    def the_daemon_starts_anew(self) -> None:
        self.stage.close()
        assert self.pool.held == 0
        self.stage = self.open()

    @rule(cut=st.integers(0, 45))
    def the_journal_loses_its_tail(self, cut: int) -> None:
        self.stage.close()
        journal = self.layout.stage_journal(self.blob)
        os.truncate(journal, max(journal.stat().st_size - cut, 0))
        self.stage = self.open()
        assert set(self.stage.missing()) >= set(range(self.count)) - self.here
        self.here = set(range(self.count)) - set(self.stage.missing())

    @precondition(lambda self: self.here)
    @rule(pick=st.integers(0, 1000))
    def the_disk_spoils_a_chunk(self, pick: int) -> None:
        victim = sorted(self.here)[pick % len(self.here)]
        offset, length = chunk_span(victim, len(self.data), CHUNK)
        at = offset + pick % length
        self.stage.close()
        with self.layout.stage_data(self.blob).open("r+b") as file:
            file.seek(at)
            file.write(bytes([self.data[at] ^ 0xFF]))
        self.here.remove(victim)
        self.stage = self.open()

    @rule()
    def the_rest_comes_and_the_blob_is_committed(self) -> None:
        put(self.stage, self.data, pool=self.pool)
        self.stage.seal()
        blobs.commit(self.layout, self.stage)
        found = blobs.adoptable(self.layout, self.blob)
        assert found is not None
        assert (found.size, found.hashes) == (len(self.data), self.stage.chunk_hashes())
        self.stage.discard()
        assert self.layout.blob(self.blob).read_bytes() == self.data
        assert self.pool.held == 0
        blobs.remove(self.layout, self.blob)
        self.here = set()
        self.stage = self.open()

    @invariant()
    def it_knows_what_is_here(self) -> None:
        if hasattr(self, "stage"):
            assert list(self.stage.missing()) == sorted(set(range(self.count)) - self.here)
            here = sum(chunk_span(index, len(self.data), CHUNK)[1] for index in self.here)
            assert self.stage.verified_bytes == here

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.discard()
            assert self.pool.held == 0
            assert blobs.stages(self.layout) == []
            shutil.rmtree(self.place)


StageMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestStage = StageMachine.TestCase
