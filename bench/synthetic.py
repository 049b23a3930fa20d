"""A store with as many blobs as one likes, without fetching them."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from cached.core.chunks import chunk_count, chunk_size_for
from cached.core.digest import Digest
from cached.core.tree import Tree, TreeFile
from cached.store import blobs, schema, tables
from cached.store.layout import Layout
from cached.store.records import BlobRecord, RefRecord
from cached.store.state import pack

BLOB_BYTES = 64 << 20
BLOBS_PER_TREE = 10
_AT_ONCE = 1000


def grow(root: Path, first: int, count: int) -> None:
    """Add the blobs number `first` to `count` - 1, and their trees, to the store at `root`.

    No daemon may run on it. Real files of 64 MiB without data in them, so that they take no room; trees of
    hardlinks; rows with all chunk hashes, as the store writes them. Only nothing is synced on the way.
    """
    layout = Layout(root)
    blobs.prepare(layout)
    connection = schema.connect(layout.index)
    try:
        for begin in range(first, count, _AT_ONCE):
            _add(layout, connection, range(begin, min(begin + _AT_ONCE, count)))
    finally:
        connection.close()


def tree_count(blob_count: int) -> int:
    return -(-blob_count // BLOBS_PER_TREE)


def _add(layout: Layout, connection: sqlite3.Connection, numbers: range) -> None:
    statements = []
    names = [Digest.sha256(b"%d" % number) for number in numbers]
    chunk = chunk_size_for(BLOB_BYTES)
    for name in names:
        path = layout.blob(name)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.ftruncate(file, BLOB_BYTES)
        os.close(file)
        hashes = os.urandom(32 * chunk_count(BLOB_BYTES, chunk))
        record = BlobRecord(name, BLOB_BYTES, chunk, hashes, path.stat().st_mtime_ns)
        statements.append(tables.put_blob(record))
    for begin in range(0, len(names), BLOBS_PER_TREE):
        number = (numbers[0] + begin) // BLOBS_PER_TREE
        tree = _link(layout, names[begin : begin + BLOBS_PER_TREE])
        record_of_ref = RefRecord(tree.digest, f"s3://models/{number}", time.time())
        statements.append(tables.publish(tree.digest, pack(tree), number + 1, time.time()))
        statements.append(tables.put_ref(f"model-{number}", record_of_ref))
    tables.apply(connection, statements, durable=False)


def _link(layout: Layout, names: list[Digest]) -> Tree:
    tree = Tree.of(
        TreeFile(f"model-{place + 1:05}-of-{len(names):05}.safetensors", BLOB_BYTES, name)
        for place, name in enumerate(names)
    )
    directory = layout.tree(tree.digest)
    directory.mkdir()
    for file in tree.files:
        os.link(layout.blob(file.blob), directory / file.path)
    directory.chmod(0o555)
    return tree
