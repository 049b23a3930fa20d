"""A node with a real daemon: well, and then with one thing wrong at a time."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import yaml

from tests.doctor.patient import examine, model
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import upload
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

ALWAYS = {
    "systemd",
    "settings",
    "sockets",
    "daemon",
    "disk",
    "limits",
    "mounts",
    "catalog",
    "sources",
    "models",
}


def test_a_daemon_on_a_good_disk_with_a_source_that_answers(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "tiny", {"config.json": b"{}"})
    daemon = start({"tiny": {"source": f"s3://{bucket}/tiny", "warm_at_start": True}})
    eventually(lambda: daemon.operator().readiness().ready)
    report = examine(daemon)
    assert report.bad == []
    assert (report.code, report.view) == (0, "node")
    levels = report.levels
    assert {name for name, level in levels.items() if level == "ok"} >= ALWAYS - {"systemd", "mounts"} | {
        "clock"
    }
    assert list(levels)[:3] == ["systemd", "settings", "sockets"]
    assert str(daemon.config) in report.findings["settings"][0].message
    assert s3.endpoint in report.findings["clock"][0].message
    wiring = "images.mirror is not set"
    assert [report.skipped(name) for name in ("containerd", "mirror")] == [wiring, wiring]
    text = daemon.cachectl("doctor").stdout
    assert text.splitlines()[-1] == "all is well"
    assert len(text.splitlines()) == len(levels) + 1
    parsed = yaml.safe_load(daemon.cachectl("doctor", "-o", "yaml").stdout)
    assert (parsed["well"], [each["name"] for each in parsed["checks"]]) == (True, list(levels))


def test_nothing_is_changed_by_looking(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})

    def seen() -> list[tuple[str, int, int]]:
        files = sorted(
            path for path in tmp_path.rglob("*") if path.name not in ("index.db-wal", "index.db-shm")
        )
        return [(str(path), path.lstat().st_mtime_ns, path.lstat().st_ino) for path in files]

    before, status = seen(), daemon.operator().status()
    daemon.cachectl("doctor", code=None)
    assert [each for each in seen() if not each[0].endswith("cached.log")] == [
        each for each in before if not each[0].endswith("cached.log")
    ]
    after = daemon.operator().status()
    assert (after.blob_count, after.lease_count, after.flight_count) == (0, 0, 0)
    assert after.space.used_bytes == status.space.used_bytes


def test_a_daemon_that_was_killed(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})
    daemon.kill9()
    report = examine(daemon, "--config", str(daemon.config))
    assert "nobody listens" in report.said("sockets")
    for name in ("daemon", "sources", "models"):
        assert report.skipped(name) == "the daemon does not answer"
    assert report.levels["disk"] == report.levels["catalog"] == "ok"


def test_a_node_without_any(tmp_path: Path) -> None:
    """Nothing was ever started here."""
    report = examine(environment={"HOME": str(tmp_path), "CACHED__ROOT": str(tmp_path / "none")})
    assert [name for name, _ in report.bad] == ["sockets", "disk"]
    assert "the daemon does not run: no socket at" in report.bad[0][1]
    assert str(tmp_path / "none") in report.bad[1][1]


def test_a_daemon_that_stands_still(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})
    daemon.signal(signal.SIGSTOP)
    try:
        report = examine(daemon, "--timeout", "6", "--config", str(daemon.config))
    finally:
        daemon.signal(signal.SIGCONT)
    assert "and says nothing: it hangs" in report.said("sockets")
    assert report.levels["disk"] == "ok"
    assert report.levels["settings"] == "ok"


@pytest.mark.parametrize("text", ["capacity: lots\n", "nonsense: 1\n", "a: [\n"])
def test_settings_that_cannot_be_read(start: Start, tmp_path: Path, text: str) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    report = examine(daemon, "--config", str(file))
    assert str(file) in report.said("settings")
    assert report.skipped("disk") == "the settings cannot be read"
    assert report.levels["sockets"] == report.levels["sources"] == "ok"


def test_settings_that_were_changed_since(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})
    later = daemon.config.stat().st_mtime + 100
    os.utime(daemon.config, (later, later))
    assert "was changed after the daemon started" in examine(daemon).said("settings")
    other = tmp_path / "other.yaml"
    other.write_text(f"root: {tmp_path}\n")
    report = examine(daemon, "--config", str(other))
    assert f"its root is {daemon.root}, not {tmp_path}" in report.said("settings")


def test_variables_of_the_daemon_count_and_those_of_the_shell_do_not(start: Start, tmp_path: Path) -> None:
    variables = {"CACHED__WARM_CONCURRENCY": "3", "CACHED__PEERS__ZONE": "a"}
    daemon = start({"tiny": {"source": model(tmp_path)}}, environment=variables)
    report = examine(daemon, environment={"CACHED__CAPACITY": "nonsense"})
    assert report.bad == []
    assert report.findings["settings"][0].message.endswith(" and 2 variables of its environment")


def test_sockets_that_somebody_has_changed(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}}, settings={"sockets": {"pods_mode": "0666"}})
    daemon.sockets.chmod(0o711)
    assert examine(daemon).bad == []
    pods = daemon.sockets / "pods"
    pods.chmod(0o700)
    assert "not every user gets to" in examine(daemon).said("sockets")
    pods.chmod(0o755)
    (pods / "cached.sock").chmod(0o600)
    assert "has mode 0600, the settings say 0666" in examine(daemon).said("sockets")
    (pods / "cached.sock").unlink()
    assert "there is no socket at" in examine(daemon).said("sockets")


def test_wrong_keys_are_told_and_not_shown(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "tiny", {"config.json": b"{}"})
    models = {"tiny": {"source": f"s3://{bucket}/tiny"}, "gone": {"source": f"s3://{bucket}/gone"}}
    daemon = start(models, environment={"AWS_SECRET_ACCESS_KEY": "hunter2-is-secret"})
    done = daemon.cachectl("doctor", code=17)
    assert "hunter2" not in done.stdout + done.stderr
    assert "gone, tiny: S3 does not accept the credentials" in done.stdout
    assert "SignatureDoesNotMatch" in done.stdout
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("problem"))
    assert lines[at].split() == ["problem", "sources"]
    assert lines[at + 2].strip() == "check the secret access key"
    assert lines[-1] == "1 problem"


def test_a_source_that_is_gone_and_one_that_is_down(start: Start, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.make_bucket()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    other = {"endpoint": f"http://127.0.0.1:{port}", "addressing": "path"}
    daemon = start(
        {"gone": {"source": f"s3://{bucket}/gone"}, "down": {"source": "s3://elsewhere/m"}},
        settings={"sources": {"s3": {"buckets": {"elsewhere": other}}}},
    )
    found = dict(message.split(": ", 1) for name, message in examine(daemon).bad if name == "sources")
    assert found.keys() == {"gone", "down"}
    assert found["gone"] == f"no object s3://{bucket}/gone"
    assert "no good answer for s3://elsewhere/m" in found["down"]


def test_a_clock_that_is_not_that_of_s3(start: Start, s3: S3Server, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}, "far": {"source": "s3://nobucket/x"}})
    with FaultyServer(s3.endpoint) as front:
        faketime = tmp_path / "sitecustomize.py"
        faketime.write_text("import time; real = time.time; time.time = lambda: real() + 1000\n")
        report = examine(daemon, environment={"PYTHONPATH": str(tmp_path)})
        assert front.endpoint
    told = dict(report.bad)
    assert "16m4" in told["clock"]
    assert report.code == 17


def test_a_catalog_that_was_broken_since(start: Start, tmp_path: Path) -> None:
    daemon = start({"tiny": {"source": model(tmp_path)}})
    daemon.catalog.write_text("models: {tiny: {sorce: x}}\n")
    eventually(lambda: daemon.operator().status().catalog.error != "")
    report = examine(daemon)
    assert "tiny" in report.said("catalog")
    daemon.catalog.unlink()
    assert "there is no catalog at" in dict(examine(daemon).bad)["catalog"]


def test_what_the_catalog_asks_for_and_cannot_be_had(start: Start, tmp_path: Path) -> None:
    daemon = start(settings={"catalog": str(tmp_path / "c.yaml"), "sources": {"file": {"roots": ["/srv"]}}})
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"models": {"m": {"source": model(tmp_path)}}, "images": {"quay.io/a/b:1": {}}})
    )
    eventually(lambda: daemon.operator().status().catalog.model_count == 1)
    found = examine(daemon).bad
    assert {name for name, _ in found} == {"catalog", "sources"}
    assert "images of quay.io, which is no upstream" in str(found)
    assert "outside of sources.file.roots" in str(found)


def test_pins_that_do_not_fit(start: Start, tmp_path: Path) -> None:
    sources = {name: {"source": model(tmp_path, name), "pin": True} for name in ("one", "two")}
    daemon = start(sources, settings={"capacity": "150KB"})
    daemon.cachectl("warm", "one")
    daemon.cachectl("warm", "two", code=None)
    eventually(lambda: len([each for each in daemon.operator().list() if each.tree]) == 2)
    told = dict(examine(daemon).bad)
    assert "what is pinned takes 195 KiB" in told["catalog"]
    assert "two failed" in told["models"]


def test_a_daemon_with_few_files(tmp_path: Path) -> None:
    few = ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh"]
    with Daemon(tmp_path / "node", models={"tiny": {"source": model(tmp_path)}}, command=few) as daemon:
        assert "may open 300 files only" in examine(daemon).said("limits")
