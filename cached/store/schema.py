"""The shape of the index, as SQLite keeps it, and how an older one becomes this one. Blocks."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

_VERSION: Final = 2
_SPARE: Final = 1 << 20  # bytes
_SCHEMA: Final = """
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,           -- rises with each commit
    blob TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,            -- bytes
    chunk_size INTEGER NOT NULL,      -- bytes
    mtime_ns INTEGER NOT NULL,        -- of its file, when committed
    scrubbed_in INTEGER NOT NULL,     -- the last round that read it, or that it was committed in
    hashes BLOB NOT NULL              -- BLAKE3 of each chunk, 32 bytes each
);
CREATE INDEX blobs_by_round ON blobs (scrubbed_in, id);
CREATE TABLE trees (
    tree TEXT PRIMARY KEY,
    published INTEGER NOT NULL,
    use INTEGER NOT NULL,             -- the number of its last use: the order of eviction
    last_use REAL,                    -- the same as Unix time, for people
    listing BLOB NOT NULL             -- canonical JSON, compressed with zlib
);
CREATE TABLE refs (
    ref TEXT PRIMARY KEY,
    tree TEXT NOT NULL,
    source TEXT NOT NULL,
    resolved_at REAL NOT NULL         -- Unix time
);
CREATE INDEX refs_by_tree ON refs (tree);
CREATE TABLE pins (ref TEXT PRIMARY KEY);
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    tree TEXT NOT NULL,
    ref TEXT NOT NULL,
    holder TEXT NOT NULL,
    ttl REAL NOT NULL,                -- seconds
    expires_at REAL NOT NULL          -- Unix time
);
CREATE TABLE scrub (                  -- one row
    round INTEGER NOT NULL,           -- the number of the last round begun
    under_way INTEGER NOT NULL,
    ended_at REAL                     -- of the last round that ended, Unix time
);
INSERT INTO scrub VALUES (0, 0, NULL);
"""
_MANIFESTS: Final = """
CREATE TABLE manifests (
    repository TEXT NOT NULL,
    reference TEXT NOT NULL,          -- a tag, or the digest itself
    digest TEXT NOT NULL,             -- of the blob that it is
    size INTEGER NOT NULL,            -- bytes
    media_type TEXT NOT NULL,
    seen_at REAL NOT NULL,            -- when the registry said so, Unix time
    public INTEGER NOT NULL,
    PRIMARY KEY (repository, reference)
) WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE TRIGGER manifests_leave_with_their_blob AFTER DELETE ON blobs BEGIN
    DELETE FROM manifests WHERE digest = OLD.blob;
END;
"""
_SINCE: Final = {1: _SCHEMA, 2: _MANIFESTS}  # what each version added


class UnsoundIndex(Exception):
    """The file is no index, or a damaged one."""


class StrangeIndex(Exception):
    """The index was written by a later version of cached."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the index, or begin one, for this user alone: whoever reads a lease's id can end the lease.

    One of an earlier version is brought up to this one, in one transaction.
    Raises UnsoundIndex, StrangeIndex, or sqlite3.Error or OSError for the disk's faults.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Nobody else opens it, and so SQLite needs no memory shared through a file: touching such memory
        # on a disk that died would end the process with SIGBUS.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not 0 <= version <= _VERSION:
            raise StrangeIndex(f"version {version}, expected {_VERSION}")
        if version and (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise UnsoundIndex(said)
        if version < _VERSION:
            added = "".join(_SINCE[each] for each in range(version + 1, _VERSION + 1))
            connection.executescript(f"BEGIN; {added} PRAGMA user_version = {_VERSION}; COMMIT;")
        _take_room(connection)
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise UnsoundIndex(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _take_room(connection: sqlite3.Connection) -> None:
    """Let file and log have some room of their own, so that leases are recorded even on a full disk.

    Pages that a table leaves behind are used before the file grows, and the log is written from its
    beginning again after each checkpoint, as long as these come before its end.
    """
    connection.execute(f"PRAGMA wal_autocheckpoint = {_SPARE // 4096 // 2}")
    try:
        connection.execute("DROP TABLE IF EXISTS spare")
        connection.execute(f"CREATE TABLE spare AS SELECT zeroblob({_SPARE})")
        connection.execute("DROP TABLE spare")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
