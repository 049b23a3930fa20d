"""Keys in a bucket that no directory should ever hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cached.client import CachedError
from cached.core.errors import InvalidRequest, SourceUnavailable
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import assert_same, upload
from tests.system.daemon import Daemon
from tests.system.listing import HostileListing

HOSTILE = {
    "up": ["../x"],
    "up and down": ["a/../../x"],
    "up at the end": ["a/.."],
    "far up": ["../" * 12 + "tmp/cached-escaped"],
    "here": ["./x"],
    "absolute": ["/etc/cached-escaped"],
    "empty component": ["a//x"],
    "NUL": ["a\0b"],
    "line break": ["a\nb"],
    "escape sequence": ["\x1b[31mred"],
    "delete": ["a\x7fb"],
    "backslash": ["..\\x"],
    "300 bytes": ["n" * 300],
    "1,100 bytes": ["/".join(["n" * 100] * 11)],
    "300 bytes in two": ["ü" * 150],
    "case": ["Model.bin", "model.bin"],
    "case of a directory": ["A/x", "a/y", "a/x"],
    "Unicode form": ["caf\u00e9", "cafe\u0301"],
    "file and directory": ["x", "x/y"],
    "file and directory by case": ["X", "x/y"],
    "twice": ["x", "x"],
}


@pytest.fixture
def hostile() -> Iterator[tuple[HostileListing, FaultyServer]]:
    listing = HostileListing("m/")
    with FaultyServer(listing) as server:
        yield listing, server


def _everything_below(path: Path) -> set[str]:
    return {os.path.join(directory, name) for directory, _, names in os.walk(path) for name in names}


def test_hostile_keys_are_refused_and_touch_nothing(
    start: Start, s3: S3Server, hostile: tuple[HostileListing, FaultyServer], tmp_path: Path
) -> None:
    listing, server = hostile
    daemon = start({"m": {"source": "s3://bucket/m/"}}, server=replace(s3, endpoint=server.endpoint))
    client = daemon.client()
    before = _everything_below(tmp_path)
    for what, names in HOSTILE.items():
        for raw in (False, True):
            listing.names, listing.raw = ["config.json", *names], raw
            with pytest.raises(CachedError) as refused:
                client.acquire("m")
            # Raw control characters are no XML: such a listing cannot even be read.
            unreadable = raw and any(ord(c) < 0x20 and c not in "\n\t" for name in names for c in name)
            assert isinstance(refused.value, SourceUnavailable if unreadable else InvalidRequest), (what, raw)
            assert refused.value.hint
            assert "\x1b" not in str(refused.value)
            assert "\0" not in str(refused.value)
    assert server.sent("*/m/*") == 0, "bytes were fetched for a tree that cannot be"
    written = _everything_below(tmp_path) - before
    assert {path for path in written if "/trees/" in path or "/blobs/" in path or "/stage/" in path} == set()
    assert not Path("/etc/cached-escaped").exists()
    assert not Path("/tmp/cached-escaped").exists()

    listing.names = ["config.json", "a/b..c/.hidden", "..."]
    assert_same(client.acquire("m").path, dict.fromkeys(listing.names, b"hostile"))


def test_what_is_hostile_may_be_excluded(
    start: Start, s3: S3Server, hostile: tuple[HostileListing, FaultyServer]
) -> None:
    listing, server = hostile
    listing.names = ["config.json", "Model.bin", "model.bin"]
    models = {"m": {"source": "s3://bucket/m/", "exclude": ["Model.bin"]}}
    daemon = start(models, server=replace(s3, endpoint=server.endpoint))
    assert_same(daemon.client().acquire("m").path, {"config.json": b"hostile", "model.bin": b"hostile"})


def test_clashing_keys_in_a_real_bucket(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "case", {"Model.bin": b"1", "model.bin": b"2"})
    upload(s3, bucket, "long", {"n" * 240 + "/" + "m" * 240: b"1", "config.json": b"{}"})
    daemon = start({name: {"source": f"s3://{bucket}/{name}"} for name in ("case", "long")})
    with pytest.raises(InvalidRequest, match=r"[mM]odel\.bin.*[mM]odel\.bin"):
        daemon.client().acquire("case")
    assert daemon.client().acquire("long").file_count == 2
    daemon.cachectl("get", "case", code=2)


def test_links_and_odd_files_in_a_directory(start: Start, tmp_path: Path) -> None:
    """`file://` has hostile names and more: links that lead out, pipes, devices."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "config.json").write_bytes(b"{}")
    (source / "sub" / "w.bin").write_bytes(b"w" * 5000)
    (tmp_path / "secret").write_bytes(b"secret")
    daemon = start({}, settings={"allow_sources": [f"file://{source}"]})
    good = {"config.json": b"{}", "sub/w.bin": b"w" * 5000}
    assert_same(daemon.client().acquire(f"file://{source}").path, good)
    for name in (b"\xff\xfe", b"new\nline", b"back\\slash"):
        odd = os.path.join(os.fsencode(source), name)
        Path(os.fsdecode(odd)).write_bytes(b"x")
        with pytest.raises(InvalidRequest):
            daemon.client().acquire(f"file://{source}")
        os.unlink(odd)
    _refused_or_left_out(daemon, source, good, lambda: (source / "out").symlink_to(tmp_path / "secret"))
    _refused_or_left_out(daemon, source, good, lambda: (source / "out").symlink_to(tmp_path))
    _refused_or_left_out(daemon, source, good, lambda: os.mkfifo(source / "out"))


def _refused_or_left_out(daemon: Daemon, source: Path, good: dict[str, bytes], make: object) -> None:
    """Whatever `make` puts at `out` must never be in a tree, nor make the daemon wait."""
    assert callable(make)
    make()
    try:
        assert_same(daemon.client().acquire(f"file://{source}", timeout=10).path, good)
    except InvalidRequest as refused:
        if "out" not in str(refused):
            raise
    finally:
        (source / "out").unlink()
