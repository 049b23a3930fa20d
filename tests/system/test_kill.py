"""kill -9 at any moment: nothing half-published, nothing verified fetched twice, the ledger equals the disk.

Each campaign prints its seed, and the moments at which it killed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from cached.client import CacheClient, CachedError, OperatorClient
from cached.core.chunks import chunk_size_for, chunk_span
from cached.core.digest import Digest
from cached.store import journal
from tests.servers.faults import Fault, Seen
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, Content, assert_same, make_content
from tests.system.daemon import Daemon
from tests.system.moments import Moments
from tests.system.truth import look

Work = Callable[[], object]

HELD = "held"
RATE = 6 * MIB
SIZES = {"a.bin": 3 * MIB + 1, "b.bin": 2 * MIB, "deep/c.bin": MIB, "deep/d.json": 1000, "empty": 0}


class Models:
    """Known contents in a bucket, `name/…`; half of the files have a SHA-256 that S3 knows."""

    def __init__(self, s3: S3Server, names: list[str]) -> None:
        self.bucket = s3.make_bucket()
        self.contents: dict[str, Content] = {}
        self.keys: dict[Digest, str] = {}
        for name in names:
            content = make_content(SIZES, f"kill {name}") | {"which": name.encode()}
            self.contents[name] = content
            for number, (path, data) in enumerate(sorted(content.items())):
                self._put(s3, f"{name}/{path}", data, "SHA256" if number % 2 else "")

    def _put(self, s3: S3Server, key: str, data: bytes, checksum: str) -> None:
        answer = s3.put(self.bucket, key, data, checksum=checksum)
        uri = f"s3://{self.bucket}/{key}"
        origin = Digest.of_origin(uri, answer["ETag"], len(data))
        self.keys[Digest.sha256(data) if checksum else origin] = key

    @property
    def catalog(self) -> dict[str, dict[str, str]]:
        return {name: {"source": f"s3://{self.bucket}/{name}", "revision": "v1"} for name in self.contents}


class Campaign:
    """A daemon that is killed again and again, and what must hold after each time."""

    def __init__(self, daemon: Daemon, models: Models, server: FaultyServer, seed: int) -> None:
        print(f"seed {seed}")
        self.daemon = daemon
        self.models = models
        self.server = server
        self.rng = random.Random(seed)
        self.moments = Moments(daemon.root, server, self.rng)
        self.kills = 0
        self.verified: dict[str, set[int]] = {}

    def kill_at_some_moment(self, work: list[Work]) -> None:
        """Do all the work at once, and kill the daemon in the middle of it."""

        def quietly(each: Work) -> None:
            with suppress(CachedError):
                each()

        self.server.forget()
        moment, wait = self.moments.plan()
        with ThreadPoolExecutor(len(work)) as pool:
            for each in work:
                pool.submit(quietly, each)
            wait()
            self.daemon.kill9()
        self.kills += 1
        print(f"kill {self.kills}: {moment}")

    def fetched_twice(self) -> list[str]:
        """Requests of this round for chunks that were on disk, verified, when it began."""
        return [
            f"{key} chunk {index}"
            for key, chunks in self.verified.items()
            for seen in self.server.requests(f"/{self.models.bucket}/{key}")
            for index in sorted(chunks & _chunks(seen, self._size(key)))
        ]

    def note_what_is_verified(self) -> None:
        """Read it from the disk of the dead daemon."""
        root = self.daemon.root
        names = {path.name: f"{path.parent.parent.name}:{path.name}" for path in root.glob("blobs/*/*/*")}
        whole = {key for digest, key in self.models.keys.items() if digest in names.values()}
        self.verified = {key: set(range(len(_spans(self._size(key))))) for key in whole}
        for stage in root.glob("stage/*/journal"):
            entries = journal.read(stage)
            if entries is not None and entries.shape.blob in self.models.keys:
                key = self.models.keys[entries.shape.blob]
                self.verified.setdefault(key, set()).update(entries.hashes)

    def _size(self, key: str) -> int:
        name, _, path = key.partition("/")
        return len(self.models.contents[name][path])

    def restart_and_check(self) -> None:
        self.daemon.start()
        truth = look(self.daemon.root)
        status = self.daemon.operator().status()
        assert truth.stray == ()
        assert truth.drafts == frozenset()
        assert (status.space.used_bytes, status.space.reserved_bytes) == (truth.used, truth.reserved)
        assert (status.blob_count, status.tree_count) == (len(truth.blobs), len(truth.trees))
        assert status.space.used_bytes + status.space.reserved_bytes <= status.space.capacity_bytes
        assert not list((self.daemon.root / "quarantine").iterdir())
        for tree in truth.trees:
            path = self.daemon.root / "trees" / tree
            assert_same(path, self.models.contents[(path / "which").read_text()])
        assert "Traceback" not in self.daemon.log


def _spans(size: int) -> list[tuple[int, int]]:
    chunk = chunk_size_for(size)
    return [chunk_span(index, size, chunk) for index in range(-(-size // chunk))]


def _chunks(seen: Seen, size: int) -> set[int]:
    first, last = seen.span or (0, size - 1)
    return {i for i, (at, length) in enumerate(_spans(size)) if first < at + length and at <= last}


def _acquire(pods: CacheClient, name: str) -> Work:
    return lambda: pods.acquire(name).release()


def _warm(operator: OperatorClient, name: str) -> Work:
    return lambda: list(operator.warm([name]))


def _evict(operator: OperatorClient, name: str, pause: float) -> Work:
    def work() -> None:
        time.sleep(pause)
        operator.evict(name)

    return work


def _campaign(
    start: Start, s3: S3Server, server: FaultyServer, names: list[str], capacity: int, seed: int
) -> Campaign:
    models = Models(s3, [HELD, *names])
    daemon = start(
        models.catalog,
        server=s3.behind(server.endpoint),
        settings={"capacity": capacity, "transfer": {"connections": 4}},
    )
    server.inject(Fault(path="*.bin", rate=RATE, times=None))
    return Campaign(daemon, models, server, seed)


@pytest.mark.parametrize(("kills", "seed"), [(5, 1), pytest.param(150, 2, marks=pytest.mark.slow)])
def test_killed_while_fetching_and_committing(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, kills: int, seed: int
) -> None:
    """Room for all: what was verified once must never be asked for again."""
    names = [f"m{n}" for n in range(kills)]
    campaign = _campaign(start, s3, faulty_s3, names, 4 << 30, seed)
    daemon = campaign.daemon
    with daemon.client(holder="living", wait=30.0) as client:
        held = client.acquire(HELD, ttl=6)
        lease = held.lease_id
        time.sleep(0.1)  # leases are written down some milliseconds after they were granted
        cold = list(names)
        while campaign.kills < kills:
            wanted = campaign.rng.sample(cold[:4], k=min(3, len(cold)))
            pods = daemon.client(wait=0.0)
            campaign.kill_at_some_moment([_acquire(pods, name) for name in wanted * 2])
            assert campaign.fetched_twice() == []
            campaign.note_what_is_verified()
            campaign.restart_and_check()
            warm = {a.ref.partition("@")[0] for a in daemon.operator().list() if a.state == 3}
            cold = [name for name in cold if name not in warm]
            assert (held.lease_id, held.lost) == (lease, False)
            assert_same(held.path, campaign.models.contents[HELD])
        campaign.server.forget()
        for name in cold[:3]:
            assert_same(client.acquire(name).path, campaign.models.contents[name])
        assert campaign.fetched_twice() == []
        assert [each.holder for each in daemon.operator().describe(HELD).leases] == ["living"]


@pytest.mark.parametrize(("kills", "seed"), [(5, 3), pytest.param(150, 4, marks=pytest.mark.slow)])
def test_killed_while_evicting(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, kills: int, seed: int
) -> None:
    """Room for the held model and two more: each fetch takes something away."""
    names = [f"m{n}" for n in range(6)]
    campaign = _campaign(start, s3, faulty_s3, names, 20 * MIB, seed)
    daemon = campaign.daemon
    with daemon.client(holder="living", wait=30.0) as client:
        held = client.acquire(HELD, ttl=6)
        lease = held.lease_id
        time.sleep(0.1)
        while campaign.kills < kills:
            operator, evictor = daemon.operator(), daemon.operator()

            wanted, gone = campaign.rng.choices(names, k=3), campaign.rng.choices(names, k=2)
            campaign.kill_at_some_moment(
                [_warm(operator, name) for name in wanted]
                + [_evict(evictor, name, campaign.rng.uniform(0, 0.5)) for name in gone]
            )
            campaign.restart_and_check()
            assert (held.lease_id, held.lost) == (lease, False)
            assert_same(held.path, campaign.models.contents[HELD])
        evictions = len(daemon.logged("took away what was not held"))
        assert evictions > kills / 4, "little was evicted: the campaign shows little"
        for name in names:
            for event in daemon.operator().warm([name]):
                assert event.WhichOneof("event") != "failed", event.failed
        daemon.kill9()
        campaign.restart_and_check()
