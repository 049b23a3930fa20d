"""A node with a real daemon: well, and then with one thing wrong at a time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.doctor.patient import bad, examine, model, seen
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import upload
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

ALWAYS = {"settings", "sockets", "daemon", "disk", "limits", "catalog", "sources", "models"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that is well, with a model in a directory; tests leave it so."""
    home = tmp_path_factory.mktemp("daemon")
    with Daemon(
        home / "node",
        models={"tiny": {"source": model(home)}},
        settings={"sockets": {"pods_mode": "0666"}},
        environment={"CACHED__WARM_CONCURRENCY": "3", "CACHED__PEERS__ZONE": "a"},
    ) as daemon:
        daemon.sockets.chmod(0o711)
        yield daemon


def test_a_daemon_on_a_good_disk_with_a_source_that_answers(
    start: Start, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "tiny", {"config.json": b"{}"})
    daemon = start({"tiny": {"source": f"s3://{bucket}/tiny", "warm_at_start": True}})
    eventually(lambda: daemon.operator().readiness().ready)
    report = examine(daemon)
    assert report.bad == []
    assert (report.code, report.view) == (0, "node")
    levels = report.levels
    assert {name for name, level in levels.items() if level == "ok"} >= ALWAYS | {"clock"}
    assert list(levels)[:3] == ["systemd", "settings", "sockets"]
    assert str(daemon.config) in report.findings["settings"][0].message
    assert s3.endpoint in report.findings["clock"][0].message
    for name in ("containerd", "mirror"):
        assert report.skipped(name) == "images.mirror is not set"
    real = time.time
    monkeypatch.setattr("cached.cli.doctor.node.clock.time.time", lambda: real() + 1000)
    (message,) = bad(seen(daemon, "clock"))
    assert f"ahead of that of {s3.endpoint}: S3 refuses this node" in message


def test_a_page_for_people_and_one_for_programs(daemon: Daemon) -> None:
    lines = daemon.cachectl("doctor").stdout.splitlines()
    told = yaml.safe_load(daemon.cachectl("doctor", "-o", "yaml").stdout)
    assert [line.split()[:2] for line in lines[:-1]] == [
        [each["level"], each["name"]] for each in told["checks"]
    ]
    assert (lines[-1], told["well"]) == ("all is well", True)


def test_nothing_is_changed_by_looking(daemon: Daemon) -> None:
    def lies() -> list[tuple[str, int, int]]:
        files = [path for path in daemon.home.rglob("*") if path.suffix not in (".log", ".db-wal", ".db-shm")]
        return [(str(path), path.lstat().st_mtime_ns, path.lstat().st_ino) for path in sorted(files)]

    before, status = lies(), daemon.operator().status()
    daemon.cachectl("doctor")
    assert lies() == before
    after = daemon.operator().status()
    assert (after.blob_count, after.lease_count, after.flight_count) == (0, 0, 0)
    assert after.space.used_bytes == status.space.used_bytes


def test_a_daemon_that_stands_still(daemon: Daemon) -> None:
    daemon.signal(signal.SIGSTOP)
    try:
        report = examine(daemon, "--config", str(daemon.config))
    finally:
        daemon.signal(signal.SIGCONT)
    assert "and says nothing: it hangs" in report.said("sockets")
    assert report.skipped("sources") == "the daemon does not answer"
    assert report.levels["disk"] == report.levels["settings"] == report.levels["catalog"] == "ok"


@pytest.mark.parametrize("text", ["capacity: lots\n", "nonsense: 1\n", "a: [\n"])
def test_settings_that_cannot_be_read(daemon: Daemon, tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    (message,) = bad(seen(daemon, "settings", file))
    assert str(file) in message
    (skipped,) = seen(daemon, "disk", file)
    assert (skipped.level, skipped.message) == ("skipped", "the settings cannot be read")
    assert bad(seen(daemon, "sockets", file)) == bad(seen(daemon, "sources", file)) == []


def test_settings_that_were_changed_since(daemon: Daemon, tmp_path: Path) -> None:
    was = daemon.config.stat()
    os.utime(daemon.config, (was.st_atime, was.st_mtime + 100))
    (message,) = bad(seen(daemon, "settings"))
    assert "was changed after the daemon started" in message
    os.utime(daemon.config, (was.st_atime, was.st_mtime))
    other = tmp_path / "other.yaml"
    other.write_text(f"root: {tmp_path}\n")
    (message,) = bad(seen(daemon, "settings", other))
    assert f"its root is {daemon.root}, not {tmp_path}" in message


def test_variables_of_the_daemon_count_and_those_of_the_shell_do_not(daemon: Daemon) -> None:
    report = examine(daemon, environment={"CACHED__CAPACITY": "nonsense"})
    assert report.bad == []
    assert report.findings["settings"][0].message.endswith(" and 2 variables of its environment")


def test_a_catalog_that_is_broken_or_gone(daemon: Daemon) -> None:
    was = daemon.catalog.read_text()
    daemon.catalog.write_text("models: {tiny: {sorce: x}}\n")
    eventually(lambda: daemon.operator().status().catalog.error != "")
    (message,) = bad(seen(daemon, "catalog"))
    assert "tiny" in message
    assert bad(seen(daemon, "daemon")) == [], "it is told once"
    daemon.catalog.unlink()
    (message,) = bad(seen(daemon, "catalog"))
    assert "there is no catalog at" in message
    daemon.catalog.write_text(was)
    eventually(lambda: bad(seen(daemon, "catalog")) == [])


def test_sockets_that_somebody_has_changed(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}}, settings={"sockets": {"pods_mode": "0666"}})
    pods = daemon.sockets / "pods"
    (message,) = bad(seen(daemon, "sockets"))
    assert "lets every user connect, but not every user gets to" in message
    daemon.sockets.chmod(0o711)
    assert bad(seen(daemon, "sockets")) == []
    (pods / "cached.sock").chmod(0o600)
    (message,) = bad(seen(daemon, "sockets"))
    assert "has mode 0600, the settings say 0666" in message
    (pods / "cached.sock").unlink()
    (message,) = bad(seen(daemon, "sockets"))
    assert "there is no socket at" in message
    daemon.kill9()
    report = examine(daemon, "--config", str(daemon.config))
    assert "nobody listens" in str(report.bad[0])
    for name in ("daemon", "sources", "models"):
        assert report.skipped(name) == "the daemon does not answer"
    assert report.levels["disk"] == report.levels["catalog"] == "ok"


def test_a_node_without_any(tmp_path: Path) -> None:
    """Nothing was ever started here."""
    report = examine(environment={"HOME": str(tmp_path), "CACHED__ROOT": str(tmp_path / "none")})
    assert [name for name, _ in report.bad] == ["sockets", "disk"]
    assert "the daemon does not run: no socket at" in report.bad[0][1]
    assert str(tmp_path / "none") in report.bad[1][1]


def test_wrong_keys_and_a_server_that_is_down_are_told_and_keys_are_not(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "tiny", {"config.json": b"{}"})
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    elsewhere = {"endpoint": f"http://127.0.0.1:{port}", "addressing": "path"}
    sources = {name: {"source": f"s3://{bucket}/{name}"} for name in ("tiny", "gone")}
    daemon = start(
        sources | {"down": {"source": "s3://elsewhere/m"}},
        settings={"sources": {"s3": {"buckets": {"elsewhere": elsewhere}}}},
        environment={"AWS_SECRET_ACCESS_KEY": "hunter2-is-secret"},
    )
    done = daemon.cachectl("doctor", code=17)
    assert "hunter2" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[at].split() == ["problem", "sources"]
    refused, todo, down, _ = (line.strip() for line in lines[at + 1 : at + 5])
    assert refused.startswith("gone, tiny: S3 does not accept the credentials for")
    assert "SignatureDoesNotMatch" in refused
    assert todo == "check the secret access key"
    assert down.startswith("down: no good answer for s3://elsewhere/m")
    assert lines[-1] == "2 problems"
    good = start(sources)
    (message,) = bad(seen(good, "sources"))
    assert message == f"gone: no object s3://{bucket}/gone"


def test_what_the_catalog_asks_for_and_cannot_be_had(start: Start, tmp_path: Path) -> None:
    """Registries that are no upstreams, directories out of bounds, and more pins than there is room."""
    pinned = {name: {"source": model(tmp_path, name), "pin": True} for name in ("one", "two")}
    out = {"out": {"source": model(tmp_path / "far", "out")}}
    daemon = start(
        pinned | out,
        settings={"capacity": "150KB", "sources": {"file": {"roots": [str(tmp_path / "models")]}}},
    )
    daemon.cachectl("warm", "one")
    daemon.cachectl("warm", "two", code=None)
    catalog = yaml.safe_load(daemon.catalog.read_text()) | {"images": {"quay.io/a/b:1": {}}}
    daemon.catalog.write_text(yaml.safe_dump(catalog))
    eventually(
        lambda: daemon.operator().status().catalog.load_time.seconds >= daemon.catalog.stat().st_mtime - 1
    )
    told = bad(seen(daemon, "catalog"))
    assert len(told) == 3
    assert "images of quay.io, which is no upstream" in told[0]
    assert "outside of sources.file.roots" in told[1]
    assert "what is pinned takes 195 KiB" in told[2]
    (failed,) = bad(seen(daemon, "models"))
    assert failed.startswith("two failed: ")


def test_a_daemon_with_few_files(tmp_path: Path) -> None:
    few = ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh"]
    with Daemon(tmp_path / "node", models={"tiny": {"source": model(tmp_path)}}, command=few) as daemon:
        (message,) = bad(seen(daemon, "limits"))
        assert "may open 300 files only" in message
