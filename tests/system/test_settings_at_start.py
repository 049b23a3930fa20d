"""Settings that are wrong, and none at all."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.s3 import S3Server
from tests.system.conftest import Start, keys_of
from tests.system.content import assert_same, make_content, upload
from tests.system.daemon import BIN, clean_environment, remove_tree


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"capcity": "1GiB"}, ["capcity"]),
        ({"transfer": {"connections": 0, "speed": 3}}, ["transfer.connections", "transfer.speed"]),
        ({"capacity": "lots"}, ["capacity"]),
        ({"sources": {"s3": {"endpoint": "http://user:hunter2@host"}}}, ["sources.s3.endpoint"]),
        ({"metrics": "9464"}, ["metrics"]),
        ({"log": {"level": "loud"}}, ["log.level"]),
        ({"allow_sources": ["http://x"]}, ["allow_sources"]),
    ],
)
def test_wrong_settings_are_named_and_nothing_starts(
    start: Start, settings: dict[str, Any], said: list[str]
) -> None:
    daemon = start(settings=settings, launch=False)
    daemon.launch()
    assert daemon.wait() == 1
    for key in said:
        assert key in daemon.log
    assert str(daemon.config) in daemon.log
    assert "hint: " in daemon.log
    assert "hunter2" not in daemon.log
    assert "Traceback" not in daemon.log
    assert not daemon.root.exists()
    check = subprocess.run(
        [BIN / "cached", "config", "check", "--config", daemon.config], capture_output=True, text=True
    )
    assert check.returncode != 0
    assert all(key in check.stderr for key in said)


def test_wrong_variables_are_named(start: Start) -> None:
    daemon = start(environment={"CACHED__CAPCITY": "1", "CACHED__LOG__LEVEL": "loud"}, launch=False)
    daemon.launch()
    assert daemon.wait() == 1
    assert "capcity" in daemon.log
    assert "log.level" in daemon.log


def test_variables_go_over_the_file(start: Start) -> None:
    daemon = start(environment={"CACHED__CAPACITY": "123MiB", "CACHED__TRANSFER__CONNECTIONS": "3"})
    assert daemon.operator().status().space.capacity_bytes == 123 << 20


def test_a_root_that_cannot_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    daemon = start(settings={"root": str(tmp_path / "file" / "cache")}, launch=False)
    daemon.launch()
    assert daemon.wait() == 1
    assert "Traceback" not in daemon.log
    assert "hint: " in daemon.log


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a directory that its daemon may not write")
def test_a_root_that_the_user_may_not_write(start: Start, home: Path) -> None:
    """It says whose the directory should be, and does not spill a traceback."""
    (home / "cache").mkdir(mode=0o755)
    environment = clean_environment() | {"CACHED__ROOT": str(home / "cache"), "HOME": str(home)}
    home.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", BIN / "cached"],
        env=environment, cwd="/", capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "hint: the daemon's user must own the data directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory of an ordinary user; pytest's own directories are closed to others than root."""
    with tempfile.TemporaryDirectory(prefix="cached-home-") as name:
        path = Path(os.path.realpath(name))
        yield path
        remove_tree(path)
        path.mkdir()


def test_without_any_configuration_for_an_ordinary_user(s3: S3Server, home: Path) -> None:
    """The embedded default: `cached`, `cachectl get s3://…`, no file, no privilege."""
    content = make_content({"config.json": 50, "sub/w.bin": 200_000}, "embedded")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    source = home / "source"
    for name, data in content.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    user: list[str] = []
    if os.getuid() == 0:
        for path in [home, *home.rglob("*")]:
            os.chown(path, 65534, 65534)
        user = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    environment = clean_environment() | keys_of(s3)
    environment |= {"HOME": str(home), "AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    as_user = ["setpriv", "--pdeathsig", "KILL", *user]
    log = home / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            [*as_user, BIN / "cached"],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def cachectl(*arguments: str) -> str:
        done = subprocess.run(
            [*as_user, BIN / "cachectl", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{log.read_text()}"
        return done.stdout.strip()

    try:
        cachectl("health", "--wait", "--timeout", "20s")
        for ref in (f"s3://{bucket}/m", f"file://{source}"):
            path = Path(cachectl("get", ref))
            assert path.is_relative_to(home / ".cache" / "cached")
            assert_same(path, content)
            assert path.stat().st_uid == home.stat().st_uid
        assert len(cachectl("ls").splitlines()) == 3
        sockets = home / ".cache" / "cached" / "run"
        assert (sockets / "operator" / "cached.sock").stat().st_mode & 0o777 == 0o600
        daemon.terminate()
        assert daemon.wait(15) == 0
    finally:
        daemon.kill()
        daemon.wait()
