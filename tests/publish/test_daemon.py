"""`publish.mode: bind`, as an operator sets it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.publish.playground import Playground
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

# Root, but without the right to mount.
_UNABLE = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all"]
# That right, and no other.
_ABLE = ["setpriv", "--bounding-set", "-all,+sys_admin", "--inh-caps", "-all"]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "m" / "d").mkdir(parents=True)
    (tmp_path / "m" / "f").write_text("model")
    (tmp_path / "m" / "d" / "x").write_text("x")
    return {"m": {"source": f"file://{tmp_path}/m", "revision": "v1"}}


def binding(directory: Path) -> dict[str, Any]:
    return {"publish": {"mode": "bind", "directory": str(directory)}}


def test_with_the_right_to_mount_and_no_more(
    playground: Playground, settings: dict[str, Any], tmp_path: Path
) -> None:
    where = playground.path / "mounts"
    receiver = playground.receiver("slave")
    with Daemon(tmp_path / "node", models=settings, settings=binding(where), command=_ABLE) as daemon:
        model = daemon.client().acquire("m")
        assert model.path.parent == where
        assert receiver.sees(model.path / "f") == "model"
        assert receiver.cannot_write(model.path)
        assert not daemon.operator().status().warnings
        daemon.restart()
        eventually(lambda: daemon.metric("cached_mounts") == 1)
        assert (model.path / "f").read_text() == "model"


def test_a_place_that_pods_cannot_see_is_told_of(
    playground: Playground, settings: dict[str, Any], tmp_path: Path
) -> None:
    where = tmp_path / "private"
    with Daemon(tmp_path / "node", models=settings, settings=binding(where)) as daemon:
        assert any("shared mount" in each for each in daemon.operator().status().warnings)


def test_without_the_right_to_mount_it_stays_where_it_lies(settings: dict[str, Any], tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("dropping a capability needs root")
    where = tmp_path / "mounts"
    with Daemon(tmp_path / "node", models=settings, settings=binding(where), command=_UNABLE) as daemon:
        model = daemon.client().acquire("m")
        assert model.path.is_relative_to(daemon.root / "trees")
        [warning] = daemon.operator().status().warnings
        assert "CAP_SYS_ADMIN" in warning
        assert not where.exists()
        assert stat.S_ISDIR(model.path.stat().st_mode)
