"""A daemon that mounts: on a shared mount and on a private one, with the right to and without."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.patient import bad, examine, model, seen
from tests.publish.playground import Playground, run
from tests.system.daemon import Daemon


@pytest.fixture
def playground() -> Iterator[Playground]:
    """A shared mount, at a short path."""
    path = Path(tempfile.mkdtemp(prefix="cached-"))
    try:
        with Playground(path) as place:
            yield place
    finally:
        shutil.rmtree(path)


def binding(playground: Playground, tmp_path: Path, *command: str, **more: Any) -> Daemon:
    """A daemon that shows models by mounts below the playground."""
    publish = {"mode": "bind", "directory": str(playground.path / "mounts")}
    return Daemon(
        tmp_path / "node",
        models={"tiny": {"source": model(tmp_path)}},
        settings={"publish": publish, **more},
        command=command,
    )


def test_a_shared_mount_that_becomes_private_and_one_that_is_writable(
    playground: Playground, tmp_path: Path
) -> None:
    with binding(playground, tmp_path) as daemon, daemon.client() as client:
        held = client.acquire("tiny")
        assert held.path.parent == playground.path / "mounts"
        (told,) = seen(daemon, "mounts")
        assert (told.level, told.message) == (
            "ok", f"what is mounted below {playground.path}/mounts reaches the pods",
        )  # fmt: skip
        stray = playground.path / "mounts" / "stray"
        stray.mkdir()
        run("mount", "--bind", tmp_path, stray)
        (message,) = bad(seen(daemon, "mounts"))
        assert f"{stray} is mounted writable" in message
        run("umount", stray)
        run("mount", "--make-private", playground.path)
        (message,) = bad(seen(daemon, "mounts"))
        assert f"{playground.path}/mounts is on no mount that is shared with the host" in message
        held.release()


def test_a_mount_namespace_of_its_own_cuts_what_it_mounts_off(playground: Playground, tmp_path: Path) -> None:
    """As a unit with PrivateTmp= has it: looked at from outside, by the daemon's own table of mounts."""
    alone = ["unshare", "--mount", "--propagation", "slave"]
    with binding(playground, tmp_path, *alone) as daemon:
        report = examine(daemon)
        assert "is on no mount that is shared with the host" in report.said("mounts")
        assert report.levels["daemon"] == "ok", "the daemon's own warning is not told twice"
        assert report.levels["disk"] == report.levels["catalog"] == "ok"


def test_without_the_right_to_mount(playground: Playground, tmp_path: Path) -> None:
    unable = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    with binding(playground, tmp_path, *unable) as daemon:
        report = examine(daemon)
        assert "has no CAP_SYS_ADMIN" in report.said("mounts")


def test_files_of_a_daemon_in_a_container_are_found_there(playground: Playground, tmp_path: Path) -> None:
    """Its data directory and its settings lie where nobody else sees them."""
    home, copy = tmp_path / "node", tmp_path / "copy"
    script = f'cp -a {home} {copy} && mount -t tmpfs hidden {home} && cp -a {copy}/. {home} && exec "$@"'
    with Daemon(
        home,
        models={"tiny": {"source": model(tmp_path)}},
        command=["unshare", "--mount", "sh", "-c", script, "sh"],
    ) as daemon:
        for file in (daemon.config, daemon.catalog):
            file.unlink()
        report = examine(daemon)
        assert "lies in memory (tmpfs)" in report.said("disk")
        assert report.levels["catalog"] == report.levels["settings"] == report.levels["sockets"] == "ok"
