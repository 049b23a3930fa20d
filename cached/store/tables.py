"""Each statement that is ever made on the tables of the index. Blocks; one thread uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from cached.core.digest import Digest
from cached.store.records import BlobRecord, Lease, ManifestRecord, RefRecord

Statement = tuple[str, tuple[object, ...]]


def apply(connection: sqlite3.Connection, statements: Iterable[Statement], *, durable: bool) -> None:
    """Make all statements, or none. With `durable`, not even the machine's death undoes them afterwards."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def put_blob(record: BlobRecord) -> Statement:
    return (
        "INSERT OR REPLACE INTO blobs (blob, size, chunk_size, mtime_ns, hashes, scrubbed_in)"
        " VALUES (?, ?, ?, ?, ?, (SELECT round FROM scrub))",
        (record.blob, record.size, record.chunk_size, record.mtime_ns, record.hashes),
    )


def drop_blob(blob: str) -> Statement:
    return "DELETE FROM blobs WHERE blob = ?", (blob,)


def put_tree(tree: Digest, listing: bytes) -> Statement:
    """A tree that is known; whether it is published stays as it is."""
    return "INSERT OR IGNORE INTO trees VALUES (?, 0, 0, NULL, ?)", (tree, listing)


def publish(tree: Digest, listing: bytes, use: int, last_use: float) -> Statement:
    return "INSERT OR REPLACE INTO trees VALUES (?, 1, ?, ?, ?)", (tree, use, last_use, listing)


def unpublish(tree: Digest) -> Statement:
    return "UPDATE trees SET published = 0 WHERE tree = ?", (tree,)


def forget_tree(tree: Digest) -> Statement:
    """Drop a tree unless it is published or a ref points at it."""
    return (
        "DELETE FROM trees WHERE tree = ? AND NOT published"
        " AND NOT EXISTS (SELECT 1 FROM refs WHERE refs.tree = trees.tree)",
        (tree,),
    )


def touch(tree: Digest, use: int, last_use: float | None) -> Statement:
    return "UPDATE trees SET use = ?, last_use = ? WHERE tree = ?", (use, last_use, tree)


def put_ref(ref: str, record: RefRecord) -> Statement:
    return (
        "INSERT OR REPLACE INTO refs VALUES (?, ?, ?, ?)",
        (ref, record.tree, record.source, record.resolved_at),
    )


def drop_ref(ref: str) -> Statement:
    return "DELETE FROM refs WHERE ref = ?", (ref,)


def put_manifest(record: ManifestRecord) -> Statement:
    """Only while its blob is here: a statement that is made late brings nothing back."""
    return (
        "INSERT OR REPLACE INTO manifests SELECT ?, ?, blob, ?, ?, ?, ? FROM blobs WHERE blob = ?",
        (
            record.repository,
            record.reference,
            record.size,
            record.media_type,
            record.seen_at,
            record.public,
            record.digest,
        ),
    )


def drop_manifest(repository: str, reference: str) -> Statement:
    return "DELETE FROM manifests WHERE repository = ? AND reference = ?", (repository, reference)


def put_pin(ref: str) -> Statement:
    return "INSERT OR IGNORE INTO pins VALUES (?)", (ref,)


def drop_pin(ref: str) -> Statement:
    return "DELETE FROM pins WHERE ref = ?", (ref,)


def put_lease(lease: Lease) -> Statement:
    return (
        "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)",
        (lease.id, lease.tree, lease.ref, lease.holder, lease.ttl, lease.expires_at),
    )


def drop_lease(lease_id: str) -> Statement:
    return "DELETE FROM leases WHERE id = ?", (lease_id,)


def scrubbed(blob: Digest, number: int) -> Statement:
    return "UPDATE blobs SET scrubbed_in = ? WHERE blob = ?", (number, blob)


def begin_round(number: int) -> Statement:
    return "UPDATE scrub SET round = ?, under_way = 1", (number,)


def end_round(ended_at: float) -> Statement:
    return "UPDATE scrub SET under_way = 0, ended_at = ?", (ended_at,)


def blob_sizes(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """All blobs and their sizes in bytes, in the order of their commits."""
    return connection.execute("SELECT blob, size FROM blobs ORDER BY id")


def blob_record(connection: sqlite3.Connection, blob: Digest) -> BlobRecord | None:
    row = connection.execute(
        "SELECT size, chunk_size, hashes, mtime_ns FROM blobs WHERE blob = ?", (blob,)
    ).fetchone()
    return BlobRecord(blob, *row) if row else None


def next_to_scrub(
    connection: sqlite3.Connection, number: int, after: tuple[int, int]
) -> tuple[Digest, tuple[int, int]] | None:
    """The blob not read since before round `number` that comes next after the place `after`, and its place.

    Those read longest ago come first. (-1, 0) is before all places.
    """
    row = connection.execute(
        "SELECT blob, scrubbed_in, id FROM blobs WHERE scrubbed_in < ? AND (scrubbed_in, id) > (?, ?)"
        " ORDER BY scrubbed_in, id LIMIT 1",
        (number, *after),
    ).fetchone()
    return (Digest(row[0]), (row[1], row[2])) if row else None


def scrub_round(connection: sqlite3.Connection) -> tuple[int, bool, float | None]:
    """The number of the last round begun, whether it is under way, and when the last one ended."""
    number, under_way, ended_at = connection.execute("SELECT * FROM scrub").fetchone()
    return number, bool(under_way), ended_at


def all_trees(connection: sqlite3.Connection) -> Iterator[tuple[str, int, int, float | None, bytes]]:
    """Tree, published, use, last use and listing of each."""
    return connection.execute("SELECT tree, published, use, last_use, listing FROM trees")


def all_refs(connection: sqlite3.Connection) -> Iterator[tuple[str, RefRecord]]:
    for ref, tree, source, resolved_at in connection.execute(
        "SELECT ref, tree, source, resolved_at FROM refs"
    ):
        yield ref, RefRecord(Digest(tree), source, resolved_at)


def all_manifests(connection: sqlite3.Connection) -> Iterator[ManifestRecord]:
    for repository, reference, digest, size, media_type, seen_at, public in connection.execute(
        "SELECT repository, reference, digest, size, media_type, seen_at, public FROM manifests"
    ):
        yield ManifestRecord(
            repository, reference, Digest(digest), size, media_type, seen_at, public=bool(public)
        )


def all_pins(connection: sqlite3.Connection) -> Iterator[str]:
    return (ref for (ref,) in connection.execute("SELECT ref FROM pins"))


def all_leases(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str, float, float]]:
    """Id, tree, ref, holder, ttl in seconds and expiry (Unix time) of each."""
    return connection.execute("SELECT id, tree, ref, holder, ttl, expires_at FROM leases")
