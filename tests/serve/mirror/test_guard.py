"""A daemon that does not answer keeps nobody waiting, and one that is dead leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from cached.core.errors import Busy, NotConfigured
from cached.serve.mirror.server import MirrorOptions, MirrorServer
from cached.telemetry.metrics import Metrics
from tests.serve.mirror.child import DATA, HERE, PATH, Child, child, is_alive
from tests.serve.mirror.house import PATIENCE, Client, serving
from tests.serve.mirror.images import FakeImages
from tests.store.house import until


async def ends(client: Client) -> bytes:
    """What still comes until the connection ends, however it ends."""
    try:
        return await client.rest()
    except ConnectionError:
        return b""


async def is_sent_away(port: int) -> bool:
    """Whether somebody new gets no answer, and knows it; False when it is served."""
    async with await Client.connect(port) as client:
        client.ask_only("/v2/", "Connection: close")
        return not await ends(client)


@asynccontextmanager
async def crowd(port: int, many: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Client.connect(port)) for _ in range(many)]


async def count_served(clients: list[Client]) -> int:
    """How many get an answer; all others know that they get none."""
    served = 0
    for client in clients:
        client.ask_only("/v2/")
    for client in clients:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            served += (await client.answer()).status == 200
    return served


async def is_served_again(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await is_sent_away(port):
            pass


def guards(pid: int) -> int:
    """Connections that a guard keeps, beside its standard streams, a socket and a spare descriptor."""
    return psutil.Process(pid).num_fds() - 5


async def wedge(house: Child, how: str) -> None:
    if how == "stopped":
        house.signal(signal.SIGSTOP)
    else:
        house.say(f"{how} 2")


@pytest.mark.parametrize("how", ["stopped", "block", "hold"])
async def test_a_wedged_daemon_keeps_nobody_waiting(tmp_path: Path, how: str) -> None:
    async with (
        child(tmp_path) as house,
        await house.client() as idle,
        await house.client() as pulling,
        await house.client() as asking,
        await house.client() as silent,
    ):
        assert (await idle.ask("/v2/")).status == 200
        pulling.ask_only(PATH)
        assert (await pulling.head()).status == 200
        assert await pulling.take(HERE) == DATA[:HERE]
        assert (await asking.ask("/v2/")).status == 200
        await wedge(house, how)
        await asyncio.sleep(0.1)
        asking.ask_only("/v2/")
        async with await house.client() as late:
            late.ask_only("/v2/")
            for client in (idle, pulling, asking, silent, late):
                assert await ends(client) == b""
        for _ in range(3):
            assert await is_sent_away(house.port), "and at once, now that it is known"

        house.signal(signal.SIGCONT)
        await is_served_again(house.port)
        assert await house.count("cached_mirror_wedged_total") == 1
        assert await house.count("cached_mirror_streams") == 0
        assert house.log.count("its guard sends pullers of images to the registries") == 1
        assert "Pullers of images are served again" in house.log
        async with await house.client() as client:
            for _ in range(3):
                assert (await client.ask(PATH, "Range: bytes=0-9")).body == DATA[:10]
        await until(lambda: guards(house.guard) == 0)


async def test_who_connects_while_the_daemon_is_stopped_is_not_left_in_a_queue(tmp_path: Path) -> None:
    """Not in the kernel's, nor in the one between guard and daemon, whichever is full first."""
    async with child(tmp_path) as house:
        house.signal(signal.SIGSTOP)
        async with crowd(house.port, 600) as clients:
            assert await count_served(clients) == 0
        house.signal(signal.SIGCONT)
        await is_served_again(house.port)
        await until(lambda: guards(house.guard) == 0)
        await until(lambda: psutil.Process(house.process.pid).num_fds() < 40)


async def test_nor_does_a_log_that_nobody_reads_keep_anybody_waiting(tmp_path: Path) -> None:
    """Whoever reads the daemon's standard error may be stuck with it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    try:
        async with child(tmp_path, stderr=writing) as house:
            house.signal(signal.SIGSTOP)
            for _ in range(3):
                assert await is_sent_away(house.port)
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_daemon_that_is_only_busy_is_left_alone(tmp_path: Path) -> None:
    async with child(tmp_path, wedged=5.0) as house, await house.client() as client:
        assert (await client.ask("/v2/")).status == 200
        house.say("block 1")
        assert (await client.ask("/v2/")).status == 200
        assert await house.count("cached_mirror_wedged_total") == 0
        assert house.log == ""


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_killed_daemon_leaves_nothing(tmp_path: Path, stopped: bool) -> None:
    async with child(tmp_path) as house, await house.client() as client:
        client.ask_only(PATH)
        await client.head()
        await client.take(HERE)
        if stopped:  # then the guard hears nothing, and the kernel has to end it
            os.kill(house.guard, signal.SIGSTOP)
        house.process.kill()
        assert await ends(client) == b""
        await until(lambda: not is_alive(house.guard))
        with pytest.raises(ConnectionRefusedError):
            await house.client()


async def test_a_daemon_that_stops_leaves_nothing(tmp_path: Path) -> None:
    async with child(tmp_path) as house:
        house.say("end")
        assert await house.process.wait() == 0
        assert not is_alive(house.guard)
        assert house.log == ""
        with pytest.raises(ConnectionRefusedError):
            await house.client()


async def test_signals_are_for_the_daemon(tmp_path: Path) -> None:
    """A service manager, or a terminal, tells the guard too; it is needed until the daemon has drained."""
    async with serving(tmp_path) as house:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(house.guard.pid, number)
        assert (await house.ask("/v2/")).status == 200
        assert house.guard.poll() is None


async def test_a_guard_that_dies_is_replaced(tmp_path: Path) -> None:
    """At the same port. Idle connections that nobody watches over end; those at work go on."""
    async with serving(tmp_path) as house, await house.client() as idle, await house.client() as pulling:
        blob = house.images.blobs[house.images.add_blob(DATA)]
        blob.here = HERE
        assert (await idle.ask("/v2/")).status == 200
        pulling.ask_only(PATH)
        await pulling.head()
        await pulling.take(HERE)
        first = house.guard.pid
        os.kill(first, signal.SIGKILL)
        assert await idle.rest() == b""
        await until(lambda: house.guard is not None and house.guard.pid != first)
        assert house.count("cached_mirror_guards_total") == 2
        blob.arrive(len(DATA))
        assert await pulling.take(len(DATA) - HERE) == DATA[HERE:]
        assert await pulling.rest() == b""
        for _ in range(3):
            assert (await house.ask(PATH)).body == DATA
        await until(lambda: guards(house.guard.pid) == 0)


async def test_numbers_of_connections_are_not_used_again(tmp_path: Path) -> None:
    """An old guard's connection that ends is not one of the new guard's."""
    async with serving(tmp_path) as house, await house.client() as old:
        blob = house.images.blobs[house.images.add_blob(DATA)]
        blob.here = HERE
        old.ask_only(PATH)
        await old.head()
        first = house.guard.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: house.guard is not None and house.guard.pid != first)
        async with await house.client() as new:
            assert (await new.ask("/v2/")).status == 200
            watched = guards(house.guard.pid)
            old.reset()
            await until(lambda: house.images.reading == 0)
            await asyncio.sleep(0.1)
            assert guards(house.guard.pid) == watched


async def test_when_the_port_is_taken_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as house:
        house.guard.kill()
        house.guard.wait()
        with socket.create_server(("127.0.0.1", house.port)):
            await until(lambda: "The mirror takes no connections" in caplog.text)
            await asyncio.sleep(0.6)
            assert caplog.text.count("The mirror takes no connections") == 1
            assert house.guard is None
        await until(lambda: house.guard is not None)
        assert (await house.ask("/v2/")).status == 200


async def test_the_guard_is_small_and_knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    secret, _ = os.pipe()
    os.set_inheritable(secret, True)
    async with serving(tmp_path) as house:
        process = psutil.Process(house.guard.pid)
        assert process.environ() == {}
        assert process.cwd() == "/"
        assert process.memory_info().rss < 24 << 20
        assert process.num_threads() == 1
        assert guards(process.pid) == 0


async def test_connections_are_let_go_as_they_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as house:
        for _ in range(300):
            assert (await house.ask("/v2/")).status == 200
        await until(lambda: guards(house.guard.pid) == 0)
        await until(lambda: not house.server._crowd._open)


async def test_with_no_descriptor_left_nobody_waits(tmp_path: Path) -> None:
    """Whoever cannot be accepted is turned away, and later ones are served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path) as house:
        pid = house.guard.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, hard))
        async with crowd(house.port, 60) as clients:
            assert 20 <= await count_served(clients) <= 40, "the others were turned away"
        await until(lambda: guards(pid) == 0)
        assert house.guard.pid == pid
        assert (await house.ask("/v2/")).status == 200
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


async def test_a_daemon_with_no_descriptor_left_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with child(tmp_path) as house:
        used = psutil.Process(house.process.pid).num_fds()
        _, hard = resource.prlimit(house.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(house.process.pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        async with crowd(house.port, 60) as clients:
            served = await count_served(clients)
            assert 10 <= served < 60, "the others were turned away"
        await is_served_again(house.port)
        await until(lambda: guards(house.guard) == 0)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
async def test_where_it_listens(tmp_path: Path, listen: str) -> None:
    server = MirrorServer(listen, FakeImages(tmp_path), Metrics(), MirrorOptions())
    port = await server.start()
    try:
        host = listen.rpartition(":")[0].strip("[]")
        socket.create_connection((host, port), timeout=10).close()
    finally:
        await server.stop(0)


async def test_an_address_that_cannot_be_had(tmp_path: Path) -> None:
    async with serving(tmp_path) as house:
        for listen, kind in [
            (f"127.0.0.1:{house.port}", Busy),
            ("192.0.2.1:7402", NotConfigured),
            ("no.such.host.invalid:7402", NotConfigured),
        ]:
            server = MirrorServer(listen, FakeImages(tmp_path), Metrics(), MirrorOptions())
            with pytest.raises(kind, match=listen.replace(".", r"\.")):
                await server.start()


async def test_a_guard_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    server = MirrorServer("127.0.0.1:0", FakeImages(tmp_path), Metrics(), MirrorOptions())
    with pytest.raises(NotConfigured, match=r"127\.0\.0\.1:0.*cannot be started"):
        await server.start()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr("cached.serve.mirror.door._START", 0.7)
    server = MirrorServer("127.0.0.1:0", FakeImages(tmp_path), Metrics(), MirrorOptions())
    with pytest.raises(NotConfigured, match="does not start"):
        await server.start()


def test_the_guard_imports_nothing_of_the_house() -> None:
    """It is run without site-packages, by its path."""
    look = "import runpy, sys; runpy.run_path(sys.argv[1]); print('fine')"
    path = str(Path(__file__).parents[3] / "cached/serve/mirror/guard.py")
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", look, path], capture_output=True, text=True, check=False
    )
    assert found.stdout == "fine\n", found.stderr
