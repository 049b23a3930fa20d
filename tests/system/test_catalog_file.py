"""The catalog file while the daemon runs: rewritten, swapped, broken, mended."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cached.core.errors import NotFound
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import assert_same, make_content, upload
from tests.system.daemon import Daemon
from tests.system.waiting import eventually


def _models(daemon: Daemon) -> set[str]:
    return {artifact.ref for artifact in daemon.operator().list() if artifact.in_catalog}


def test_a_rewritten_catalog_is_in_force_within_a_second(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    content = make_content({"a.json": 10}, "catalog")
    upload(s3, bucket, "m", content)
    daemon = start({"old": {"source": f"s3://{bucket}/m"}})
    held = daemon.client().acquire("old")
    daemon.write_catalog({"new": {"source": f"s3://{bucket}/m"}})
    eventually(lambda: _models(daemon) == {"new"}, 1.5)
    with pytest.raises(NotFound):
        daemon.client().acquire("old")
    assert_same(daemon.client().acquire("new").path, content)
    assert_same(held.path, content)
    daemon.catalog.write_text(yaml.safe_dump({"models": {"third": {"source": f"s3://{bucket}/m"}}}))
    eventually(lambda: _models(daemon) == {"third"}, 1.5)
    assert daemon.metric("cached_catalog_models") == 1
    daemon.cachectl("evict", "old", code=9)
    held.release()


def test_a_config_map_is_followed_through_its_swapped_link(start: Start, tmp_path: Path) -> None:
    """As kubelet does it: catalog.yaml -> ..data/catalog.yaml, ..data -> a dated directory."""
    mount = tmp_path / "config-map"
    mount.mkdir()

    def publish(version: str, names: list[str]) -> None:
        directory = mount / f"..{version}"
        directory.mkdir()
        models = {name: {"source": "s3://b/m"} for name in names}
        (directory / "catalog.yaml").write_text(yaml.safe_dump({"models": models}))
        (mount / "..data_tmp").symlink_to(directory.name)
        before = mount / "..data"
        outdated = before.readlink() if before.is_symlink() else None
        (mount / "..data_tmp").rename(before)
        if outdated:
            (mount / outdated / "catalog.yaml").unlink()
            (mount / outdated).rmdir()

    publish("2026_11_22_1", ["one"])
    (mount / "catalog.yaml").symlink_to("..data/catalog.yaml")
    daemon = start(settings={"catalog": str(mount / "catalog.yaml")})
    assert _models(daemon) == {"one"}
    for number in (2, 3):
        publish(f"2026_11_22_{number}", ["one", f"number-{number}"])
        eventually(lambda n=number: _models(daemon) == {"one", f"number-{n}"}, 1.5)  # type: ignore[misc]


def test_a_broken_catalog_keeps_the_last_good_one(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    content = make_content({"a.json": 10}, "catalog")
    upload(s3, bucket, "m", content)
    good = {"m": {"source": f"s3://{bucket}/m", "revision": "v1"}}
    daemon = start(good)
    for broken, said in (
        ("models: {m: {source: s3://b/m, colour: red}}", "models.m.colour"),
        ("models: [", "YAML"),
        ("models: {m: {source: gopher://x}}", "models.m.source"),
        ("models: {../m: {source: s3://b/m}}", "../m"),
        ("- just\n- a list\n", "mapping"),
    ):
        daemon.catalog.write_text(broken)
        eventually(lambda text=said: text in daemon.operator().status().catalog.error)  # type: ignore[misc]
        status = daemon.operator().status()
        assert status.catalog.model_count == 1
        assert any("last good" in warning for warning in status.warnings)
        assert daemon.metric("cached_catalog_ok") == 0
        assert any(
            said in line["reason"]
            for line in daemon.logged("catalog refused; the last good one stays in force")
        )
        assert_same(daemon.client().acquire("m").path, content)
    daemon.catalog.unlink()
    eventually(lambda: "No such file" in daemon.operator().status().catalog.error)

    daemon.catalog.write_text("models: [")
    daemon.restart()
    assert_same(daemon.client().acquire("m").path, content)
    status = daemon.operator().status()
    assert "YAML" in status.catalog.error
    assert status.catalog.model_count == 1
    assert daemon.metric("cached_catalog_ok") == 0

    daemon.write_catalog(good)
    eventually(lambda: daemon.operator().status().catalog.error == "")
    assert daemon.metric("cached_catalog_ok") == 1


def test_a_first_start_with_a_broken_catalog(start: Start) -> None:
    daemon = start({}, launch=False)
    daemon.catalog.write_text("models: [")
    daemon.start()
    with pytest.raises(NotFound):
        daemon.client().acquire("m")
    assert "YAML" in daemon.operator().status().catalog.error
    daemon.write_catalog({"m": {"source": "s3://b/m"}})
    eventually(lambda: _models(daemon) == {"m"})
