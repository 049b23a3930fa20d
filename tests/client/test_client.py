"""The client for threads, over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cached.client import (
    CacheClient,
    Cancelled,
    DaemonFault,
    Model,
    NotVisible,
    Progress,
    TimedOut,
    Unreachable,
)
from cached.core.errors import (
    CachedError,
    Corrupt,
    Denied,
    Draining,
    InvalidRequest,
    NoSpace,
    SourceUnavailable,
)
from tests.client.daemon import Daemon, program, until
from tests.serve.fake_engine import HALFWAY, MIB, RESOLVED


def test_a_model_by_name(daemon: Daemon) -> None:
    with CacheClient(f"unix:{daemon.pods}") as cache:
        with cache.acquire("minilm", ttl=90.5) as model:
            assert os.listdir(model.path) == ["config.json"]
            assert (model.size, model.file_count, model.stale, model.lost) == (90 * MIB, 3, False, False)
            assert model.tree.startswith("sha256:")
            assert model.expires_at == pytest.approx(time.time() + 90.5, abs=5)
            assert list(daemon.engine.leases) == [model.lease_id]
            assert "minilm" in repr(model)
        assert daemon.engine.leases == {}
        model.release()  # again
    [(ref, ttl, holder)] = daemon.engine.asked
    assert (ref, ttl) == ("minilm", 90.5)
    assert holder.endswith(f"/{os.getpid()}")


def test_a_path_outlives_its_handle_until_the_client_closes(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods), holder="pod-a") as cache:
        path = cache.acquire("minilm").path
        cache.acquire("llama", holder="pod-b")
        assert path.is_dir()
        assert sorted(lease.holder for lease in daemon.engine.leases.values()) == ["pod-a", "pod-b"]
    assert daemon.engine.leases == {}
    cache.close()  # again
    with pytest.raises(Cancelled):
        cache.acquire("minilm")


def test_progress_begins_with_the_size(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, HALFWAY]
    seen: list[Progress] = []
    with CacheClient(str(daemon.pods)) as cache:
        cache.acquire("minilm", on_progress=seen.append)
    assert seen == [Progress(total=90 * MIB, done=10 * MIB, found=10 * MIB), HALFWAY]


def test_an_error_in_the_callers_callback_ends_the_call(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, asyncio.Event()]
    with CacheClient(str(daemon.pods)) as cache:
        with pytest.raises(ZeroDivisionError) as caught:  # keeps the call's frame alive
            cache.acquire("minilm", on_progress=lambda progress: 1 / 0)
        until(lambda: daemon.engine.present["minilm"] == 0)
    assert caught.traceback
    assert daemon.engine.leases == {}


@pytest.mark.parametrize(
    "error",
    [
        NoSpace("no room", needed=9, free=1, held=7, hint="release something"),
        Denied("s3://models/minilm is not yours", hint="look at the role"),
        SourceUnavailable("s3://models does not answer"),
        Corrupt("model.safetensors is wrong at the source", hint="upload it again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_as_they_were_raised(daemon: Daemon, error: CachedError) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, error]
    with CacheClient(str(daemon.pods)) as cache, pytest.raises(type(error)) as caught:
        cache.acquire("minilm")
    assert type(caught.value) is type(error)
    assert vars(caught.value) == vars(error)
    assert len(daemon.engine.asked) == 1


def test_a_bug_in_the_daemon_is_no_error_of_the_caller(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [KeyError("secret")]
    with CacheClient(str(daemon.pods)) as cache, pytest.raises(DaemonFault, match="reference"):
        cache.acquire("minilm")


@pytest.mark.parametrize(
    "bad", [{"ttl": -1}, {"ttl": float("nan")}, {"timeout": -1.0}, {"timeout": float("nan")}]
)
def test_impossible_times_are_refused_here(daemon: Daemon, bad: dict[str, float]) -> None:
    with CacheClient(str(daemon.pods)) as cache, pytest.raises(InvalidRequest):
        cache.acquire("minilm", ttl=bad.get("ttl"), timeout=bad.get("timeout"))
    assert daemon.engine.asked == []


def test_a_malformed_ref_is_refused_here(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache, pytest.raises(InvalidRequest):
        cache.acquire("../etc")
    assert daemon.engine.asked == []


def test_a_timeout_says_how_far_it_came(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, HALFWAY, asyncio.Event()]
    with CacheClient(str(daemon.pods)) as cache:
        with pytest.raises(TimedOut, match=r"minilm is not ready after 0\.3 seconds: 50\.0 MiB of 90\.0 MiB"):
            cache.acquire("minilm", timeout=0.3)
        until(lambda: daemon.engine.present["minilm"] == 0)


def test_a_daemon_that_is_not_up_yet_is_waited_for(daemon: Daemon) -> None:
    daemon.stop()
    starter = threading.Timer(0.5, daemon.start)
    starter.start()
    with CacheClient(str(daemon.pods)) as cache:
        assert cache.acquire("minilm", timeout=20).path.is_dir()
    starter.join()


def test_a_daemon_that_never_comes_is_named(daemon: Daemon) -> None:
    daemon.stop()
    for wait, timeout in ((0.3, None), (60.0, 0.3)):
        began = time.monotonic()
        with CacheClient(str(daemon.pods), wait=wait) as cache, pytest.raises(Unreachable) as caught:
            cache.acquire("minilm", timeout=timeout)
        assert time.monotonic() - began < 3
        assert str(daemon.pods) in caught.value.message
        assert "CACHED_ADDRESS" in caught.value.hint


def test_a_socket_that_may_not_be_opened_is_not_waited_for(daemon: Daemon) -> None:
    code = f"""
import os
from cached.client import CacheClient
from cached.core.errors import Denied
if os.getuid() == 0:
    os.setuid(65534)
try:
    CacheClient({str(daemon.pods)!r}, wait=3600).acquire('minilm')
except Denied as error:
    print(error.message)
"""
    daemon.pods.chmod(0)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert said.stdout == f"the socket {daemon.pods} may not be opened by this user\n"


def test_draining_is_waited_out(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [Draining("the daemon stops")]
    threading.Timer(0.3, daemon.engine.steps.clear).start()
    with CacheClient(str(daemon.pods)) as cache:
        assert cache.acquire("minilm").path.is_dir()
    assert len(daemon.engine.asked) > 1


def test_a_restart_in_the_middle_of_a_fetch_is_survived(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, asyncio.Event()]
    got: list[Path] = []
    with CacheClient(str(daemon.pods)) as cache:
        reader = threading.Thread(target=lambda: got.append(cache.acquire("minilm").path))
        reader.start()
        until(lambda: daemon.engine.present["minilm"])
        daemon.stop()
        daemon.engine.steps.clear()
        daemon.start()
        reader.join(20)
    assert [path.is_dir() for path in got] == [True]


def test_close_ends_a_call_in_another_thread(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [asyncio.Event()]
    cache = CacheClient(str(daemon.pods))
    ended: list[BaseException] = []

    def read() -> None:
        try:
            cache.acquire("minilm")
        except BaseException as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: daemon.engine.present["minilm"])
    cache.close()
    reader.join(5)
    assert [type(error) for error in ended] == [Cancelled]
    until(lambda: not daemon.engine.present["minilm"])


def test_many_threads_share_a_client(daemon: Daemon) -> None:
    models: list[Model] = []
    with CacheClient(str(daemon.pods)) as cache:
        readers = [
            threading.Thread(target=lambda n=n: models.append(cache.acquire(f"m{n % 5}"))) for n in range(40)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert len({model.lease_id for model in models}) == 40
        assert len(daemon.engine.leases) == 40
    assert daemon.engine.leases == {}


def test_a_missing_mount_is_explained_and_holds_nothing(daemon: Daemon, tmp_path: Path) -> None:
    ready = daemon.engine.ready("minilm")
    daemon.engine.leases.clear()
    with CacheClient(str(daemon.pods)) as cache:
        (ready.path / ready.sample_file).unlink()
        daemon.engine.ready = lambda *_: ready  # type: ignore[method-assign]
        with pytest.raises(NotVisible, match=r"does not hold 'config.json'") as other:
            cache.acquire("minilm")
        ready.path.rmdir()
        with pytest.raises(NotVisible, match="there is no such path here") as missing:
            cache.acquire("minilm")
    assert "HostToContainer" in other.value.hint
    assert "hostPath" in missing.value.hint
    assert daemon.engine.leases == {}


def test_ctrl_c_leaves_at_once(daemon: Daemon) -> None:
    daemon.engine.steps["cold"] = [asyncio.Event()]
    code = f"from cached.client import CacheClient\nCacheClient({str(daemon.pods)!r}).acquire('cold')"
    with program(code) as reader:
        until(lambda: daemon.engine.present["cold"])
        reader.send_signal(signal.SIGINT)
        _, said = reader.communicate(timeout=5)
    assert "KeyboardInterrupt" in said
    until(lambda: not daemon.engine.present["cold"])


def test_a_forked_child_gives_nothing_up(daemon: Daemon) -> None:
    code = f"""
import os, sys
from cached.client import CacheClient
with CacheClient({str(daemon.pods)!r}) as cache:
    with cache.acquire('minilm') as model:
        child = os.fork()
        if child == 0:
            try:
                cache.acquire('minilm')
            except RuntimeError as error:
                assert 'fork' in str(error)
            else:
                os._exit(3)
            model.release()
            cache.close()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        sys.stdin.readline()
"""
    with program(code) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "0\n"
        assert len(daemon.engine.leases) == 1
        parent.communicate("\n", timeout=10)
    assert daemon.engine.leases == {}


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, cached.client; print('\\n'.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in out.split()}
    foreign = {
        name
        for name in loaded - set(sys.stdlib_module_names)
        if name not in ("cached", "grpc", "google") and not name.startswith("_")
    }
    # grpc itself imports these two and typing_extensions where they are installed; all are light.
    assert foreign <= {
        "grpc_health",
        "grpc_reflection",
        "grpc_tools",
        "typing_extensions",
        "site",
        "cython_runtime",
    }
    ours = {name for name in out.split() if name.startswith("cached.")}
    assert {name.split(".")[1] for name in ours} == {"client", "core", "kit", "_proto"}
