"""The mount unit, as systemd itself would call and read it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.cli.node.mount_unit import unit_name, unit_path, unit_text

_PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


def systemd_escape(path: str) -> str:
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd-escape is missing: it belongs to systemd")
    done = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", path], capture_output=True, check=True
    )
    return done.stdout.decode(errors="surrogateescape").removesuffix("\n")


@pytest.mark.parametrize(
    "path", ["/var/lib/cached", "/mnt/k8s-disks/0/cached", "/.hidden/.x", "/a b/ü%:_", "/x\\y", "/data"]
)
def test_it_is_called_as_systemd_wants(path: str) -> None:
    assert unit_name(Path(path)) == systemd_escape(path)


@given(st.lists(_PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3))
def test_names_hold_only_what_systemd_allows(parts: list[str]) -> None:
    name = unit_name(Path("/", *parts)).removesuffix(".mount")
    assert name
    assert set(name.encode()) <= set(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_.-\\")
    assert not name.startswith(".")


def test_it_lasts_as_long_as_the_boot() -> None:
    assert unit_path(Path("/var/lib/cached")) == Path("/run/systemd/system/var-lib-cached.mount")


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: it belongs to systemd")
    where = Path("/srv/100% cached")
    file = tmp_path / unit_name(where)
    file.write_text(unit_text(where, "9d0f0f4e-2f5a-4a7a-9d0b-0a4c8f6d3f11"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
