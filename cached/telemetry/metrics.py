"""Every metric that the daemon exports, in one place.

Labels are bounded: schemes, error classes, outcomes and reasons, never a pod's name or a peer's address,
and a model's name only for volumes, since the catalog bounds it. `docs/operations.md` lists them all, and a
test compares the two.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 5, 15, 60, 180, 600, 1800, 7200)
_CHUNK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The daemon's metrics, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.acquires = Counter(
            "cached_acquires",
            "Acquire calls, by outcome: hit, miss, or the error's class.",
            ["outcome"],
            registry=registry,
        )
        self.acquire_seconds = Histogram(
            "cached_acquire_duration_seconds",
            "Time from Acquire to ready, by outcome: hit or miss.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.flights = Gauge("cached_flights", "Fetches under way.", registry=registry)
        self.flights_ended = Counter(
            "cached_flights_ended",
            "Fetches ended, by outcome: ok, cancelled, or the error's class.",
            ["outcome"],
            registry=registry,
        )
        self.flight_seconds = Histogram(
            "cached_flight_duration_seconds",
            "Time that successful fetches took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.received = Counter(
            "cached_received_bytes",
            "Bytes received and verified, by origin: a source's scheme, or peer.",
            ["origin"],
            registry=registry,
        )
        self.chunk_seconds = Histogram(
            "cached_chunk_duration_seconds",
            "Time from asking for a chunk to having it on disk.",
            ["origin"],
            buckets=_CHUNK_SECONDS,
            registry=registry,
        )
        self.source_errors = Counter(
            "cached_source_errors",
            "Failed calls to sources, by scheme and error class.",
            ["origin", "error"],
            registry=registry,
        )
        self.retries = Counter(
            "cached_chunk_retries", "Chunks asked for again, by origin.", ["origin"], registry=registry
        )
        self.capacity = Gauge("cached_capacity_bytes", "What the cache may use.", registry=registry)
        self.used = Gauge("cached_used_bytes", "Bytes in complete blobs.", registry=registry)
        self.reserved = Gauge(
            "cached_reserved_bytes", "Bytes promised to fetches and their partial blobs.", registry=registry
        )
        self.held = Gauge(
            "cached_held_bytes", "Bytes that leases and pins keep from eviction.", registry=registry
        )
        self.filesystem_free = Gauge(
            "cached_filesystem_free_bytes", "Bytes free on the filesystem of the store.", registry=registry
        )
        self.disk_ok = Gauge(
            "cached_disk_ok",
            "1 while the disk of the data directory answers, 0 while it does not.",
            registry=registry,
        )
        self.leases = Gauge("cached_leases", "Leases in force.", registry=registry)
        self.blobs = Gauge("cached_blobs", "Blobs in the index.", registry=registry)
        self.trees = Gauge("cached_trees", "Trees published.", registry=registry)
        self.evictions = Counter(
            "cached_evictions",
            "Trees that left, by reason: capacity, min_free, operator, corrupt, lost.",
            ["reason"],
            registry=registry,
        )
        self.evicted = Counter(
            "cached_evicted_bytes", "Bytes given back to the disk, by reason.", ["reason"], registry=registry
        )
        self.scrubbed = Counter("cached_scrubbed_bytes", "Bytes re-read by the scrub.", registry=registry)
        self.scrub_results = Counter(
            "cached_scrubbed_blobs",
            "Blobs re-read by the scrub, by result: ok or corrupt.",
            ["result"],
            registry=registry,
        )
        self.catalog_ok = Gauge(
            "cached_catalog_ok",
            "1 when the catalog file in place is in force, 0 when it was refused.",
            registry=registry,
        )
        self.catalog_models = Gauge("cached_catalog_models", "Models declared.", registry=registry)
        self.catalog_reloads = Counter(
            "cached_catalog_reloads",
            "Catalog files read, by result: ok or refused.",
            ["result"],
            registry=registry,
        )
        self.rpcs = Counter(
            "cached_rpcs",
            "gRPC calls ended, by method and status code.",
            ["method", "code"],
            registry=registry,
        )
        self.peers = Gauge(
            "cached_peers", "Other members, by state: ok, aside or banned.", ["state"], registry=registry
        )
        self.peer_sent = Counter("cached_peer_sent_bytes", "Bytes sent to other members.", registry=registry)
        self.peer_uploads = Gauge(
            "cached_peer_uploads", "Ranges being sent to other members, and waiting.", registry=registry
        )
        self.peer_refused = Counter(
            "cached_peer_refused_requests",
            "Requests of other members that were not served, by reason: full, missing, identity, malformed.",
            ["reason"],
            registry=registry,
        )
        self.peer_failures = Counter(
            "cached_peer_failures",
            "Chunks asked of other members that did not come, by reason: verify, stall, gone, missing, full.",
            ["reason"],
            registry=registry,
        )
        self.peer_bans = Counter("cached_peer_bans", "Members banned for wrong bytes.", registry=registry)
        self.swarms = Gauge(
            "cached_swarms",
            "Swarms this node is in, by role: fetching, serving, coordinating.",
            ["role"],
            registry=registry,
        )
        self.swarm_grants = Counter(
            "cached_swarm_grants",
            "Source reads granted by this node as coordinator, in chunks.",
            registry=registry,
        )
        self.swarm_duplicates = Counter(
            "cached_swarm_duplicate_chunks", "Chunks that came twice.", registry=registry
        )
        self.swarm_coordinators = Counter(
            "cached_swarm_coordinator_changes",
            "Times that a swarm turned to another coordinator.",
            registry=registry,
        )
        self.swarm_alone = Counter(
            "cached_swarm_alone",
            "Fetches that went to the source since no coordinator answered.",
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "cached_peer_certificate_expiry_seconds",
            "When this node's certificate expires, in Unix time; 0 without one.",
            registry=registry,
        )
        self.stale_tags = Counter(
            "cached_stale_tags",
            "Tags of images answered as last known, since their registry did not answer.",
            registry=registry,
        )
        self.mounts = Gauge(
            "cached_mounts", "Trees mounted for those who hold them by the sockets.", registry=registry
        )
        self.lazy_unmounts = Counter(
            "cached_lazy_unmounts",
            "Mounts that were busy when they were to end, and ended with their last user.",
            registry=registry,
        )
        self.volumes = Gauge(
            "cached_volumes", "Volumes of pods that show a model, by model.", ["model"], registry=registry
        )
        self.socket_volumes = Gauge(
            "cached_socket_volumes", "Volumes of pods that show the pods' socket.", registry=registry
        )
        self.volume_seconds = Histogram(
            "cached_volume_publish_duration_seconds",
            "Time from the first call for a volume until it was there, by outcome: hit or miss.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.volumes_reaped = Counter(
            "cached_volumes_reaped",
            "Volumes given up since kubelet had removed their directories without a word.",
            registry=registry,
        )
        self.gate_open = Gauge(
            "cached_gate_open",
            "1 once this node was opened to pods, by reason: warm or deadline; 0 before, when it is waiting.",
            ["reason"],
            registry=registry,
        )
        self.gate_failures = Counter(
            "cached_gate_failures",
            "Requests about this node that the API server did not fulfil, by reason: refused or unanswered.",
            ["reason"],
            registry=registry,
        )
        self.build = Gauge("cached_build_info", "Always 1; the label tells.", ["version"], registry=registry)
        self.mirror_requests = Counter(
            "cached_mirror_requests",
            "Requests of pullers, by kind and status code; 499 for those who left before an answer.",
            ["kind", "code"],
            registry=registry,
        )
        self.mirror_sent = Counter(
            "cached_mirror_sent_bytes", "Bytes of blobs sent to pullers.", registry=registry
        )
        self.mirror_streams = Gauge(
            "cached_mirror_streams", "Blobs being sent to pullers.", registry=registry
        )
        self.mirror_aborted = Counter(
            "cached_mirror_aborted",
            "Blobs cut off on their way to a puller, by reason: stall, slow, error.",
            ["reason"],
            registry=registry,
        )
        self.mirror_wedged = Counter(
            "cached_mirror_wedged",
            "Times that the daemon did not answer and the mirror's guard sent pullers away.",
            registry=registry,
        )
        self.mirror_guards = Counter(
            "cached_mirror_guards",
            "Guards of the mirror that were started; more than one means that one died.",
            registry=registry,
        )
