"""Certificates that change while the node runs."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cached.cli.authority import Authority
from cached.peers import identity as module
from cached.peers.certificate import Files
from cached.peers.identity import Identity
from tests.peers.ca import identity_of, issue, make_ca, replace
from tests.peers.handshake import connected, exchange, sans

Follow = Callable[[Identity], None]


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return make_ca(tmp_path)


@pytest.fixture
async def follow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Follow]:
    """Follows the files of an identity until the end of the test, looking more often than a node does."""
    monkeypatch.setattr(module, "_POLL", 0.01)
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []
        yield lambda identity: tasks.append(group.create_task(identity.follow()))
        for task in tasks:
            task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_renewed_files_come_into_force_and_open_connections_go_on(
    tmp_path: Path, ca: Authority, follow: Follow
) -> None:
    identity = identity_of(issue(ca, tmp_path, name="one"))
    follow(identity)
    server, client = identity.server_context(), identity.client_context()
    with connected(server, client) as old:
        issue(ca, tmp_path, name="two")
        await until(lambda: identity.generation == 2)
        assert identity.server_context() is not server
        with connected(identity.server_context(), identity.client_context()) as new:
            assert "two" in sans(new[1])
            exchange(*new)
        assert "one" in sans(old[1])
        exchange(*old)


async def test_the_ca_alone_may_change(tmp_path: Path, ca: Authority, follow: Follow) -> None:
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    follow(identity)
    other = make_ca(tmp_path / "new")
    stranger = identity_of(issue(other, tmp_path / "new"))
    replace(files.ca, files.ca.read_bytes() + other.pair.cert)
    await until(lambda: identity.generation == 2)
    replace(stranger._files.ca, files.ca.read_bytes())
    await asyncio.to_thread(stranger._refresh)
    with connected(identity.server_context(), stranger.client_context()) as ends:
        exchange(*ends)


def secret(directory: Path, ca: Authority, version: str, name: str) -> None:
    """Mount a Secret's next version as kubelet does: a new directory, and then one link to it moves."""
    made = issue(ca, directory, name=name)
    (directory / version).mkdir()
    for source in (made.cert, made.key):
        os.rename(source, directory / version / source.name)
    (directory / version / "ca.crt").write_bytes(made.ca.read_bytes())
    (directory / "..data.tmp").symlink_to(version)
    os.rename(directory / "..data.tmp", directory / "..data")


async def test_a_secrets_swap_is_noticed(tmp_path: Path, ca: Authority, follow: Follow) -> None:
    secret(tmp_path, ca, "..1", "one")
    mounted = tmp_path / "mount"
    mounted.mkdir()
    for file in ("tls.crt", "tls.key", "ca.crt"):
        (mounted / file).symlink_to(f"../..data/{file}")
    identity = identity_of(Files(mounted / "ca.crt", mounted / "tls.crt", mounted / "tls.key"))
    follow(identity)
    secret(tmp_path, ca, "..2", "two")
    await until(lambda: identity.generation == 2)
    with connected(identity.server_context(), identity.client_context()) as ends:
        assert "two" in sans(ends[1])


async def test_half_a_pair_keeps_the_old_one_and_is_tried_again(
    tmp_path: Path, ca: Authority, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    follow(identity)
    next_one = issue(ca, tmp_path / "next")
    replace(files.cert, next_one.cert.read_bytes())
    await until(lambda: "does not fit" in complaints(caplog))
    await asyncio.sleep(0.1)
    assert complaints(caplog).count("does not fit") == 1
    assert identity.generation == 1
    with connected(identity.server_context(), identity.client_context()) as ends:
        exchange(*ends)
    replace(files.key, next_one.key.read_bytes())
    await until(lambda: identity.generation == 2)


async def test_a_half_that_is_only_late_is_no_cause_for_alarm(
    tmp_path: Path,
    ca: Authority,
    follow: Follow,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four looks at the files, two of them between the writing of a certificate and of its key."""
    looks = ["does not fit", "", "does not fit", ""]
    identity = identity_of(issue(ca, tmp_path))
    monkeypatch.setattr(identity, "_refresh", lambda: looks.pop(0) if looks else "")
    follow(identity)
    await until(lambda: not looks)
    assert not caplog.records


async def test_a_node_short_of_file_descriptors_tries_again(
    tmp_path: Path,
    ca: Authority,
    follow: Follow,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    identity = identity_of(issue(ca, tmp_path))
    follow(identity)
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", none_left)
        issue(ca, tmp_path)
        await until(lambda: "Too many open files" in complaints(caplog))
    await until(lambda: identity.generation == 2)


def complaints(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(str(record.__dict__.get("reason", "")) for record in caplog.records)


Break = Callable[[Files, Authority, Path], object]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda files, ca, tmp: files.key.unlink(), "cannot read"),
        (lambda files, ca, tmp: files.key.chmod(0o644), "open to every user"),
        (lambda files, ca, tmp: files.cert.write_bytes(b"half"), "no certificate in PEM"),
        (lambda files, ca, tmp: issue(ca, tmp, expired=True), "expired"),
        (lambda files, ca, tmp: issue(make_ca(tmp / "else"), tmp), "not from the CA"),
        (lambda files, ca, tmp: replace(files.ca, make_ca(tmp / "else").pair.cert), "not from the CA"),
    ],
    ids=["gone", "open", "half", "expired", "foreign", "another CA"],
)
async def test_broken_files_change_nothing_until_they_are_good(
    tmp_path: Path,
    ca: Authority,
    follow: Follow,
    caplog: pytest.LogCaptureFixture,
    broken: Break,
    says: str,
) -> None:
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    follow(identity)
    broken(files, ca, tmp_path)
    await until(lambda: says in complaints(caplog))
    assert identity.generation == 1
    with connected(identity.server_context(), identity.client_context()) as ends:
        exchange(*ends)
    replace(files.ca, ca.pair.cert)
    issue(ca, tmp_path)
    await until(lambda: identity.generation == 2)


async def test_an_expiry_that_nobody_prevented_is_told_once(
    tmp_path: Path,
    ca: Authority,
    follow: Follow,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now))
    identity = identity_of(issue(ca, tmp_path))
    follow(identity)

    def told() -> int:
        return sum("has expired" in record.message for record in caplog.records)

    await asyncio.sleep(0.05)
    assert not told()
    now += 25 * 3600
    await until(lambda: told() > 0)
    await asyncio.sleep(0.1)
    assert told() == 1


async def test_files_that_stay_are_not_taken_for_others(
    tmp_path: Path, ca: Authority, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    follow(identity)
    replace(files.cert, files.cert.read_bytes())
    await asyncio.sleep(0.1)
    assert identity.generation == 1
    assert not caplog.records
