"""The command `cached`, up to where the daemon would begin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CACHED = Path(sys.executable).parent / "cached"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CACHED, *arguments], capture_output=True, text=True, env=environment, timeout=60)


def test_check_reads_settings_and_their_catalog(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(
        "models: {m: {source: 's3://b/m'}}\nimages: {'redis:7': {pull: true}, 'quay.io/a/b': {}}"
    )
    settings = tmp_path / "cached.yaml"
    settings.write_text(f"catalog: {catalog}\n")
    done = run("config", "check", "--config", str(settings))
    assert done.returncode == 0
    assert "1 models, 2 images" in done.stdout


@pytest.mark.parametrize("arguments", [("config", "check"), ()])
def test_wrong_keys_end_it_by_name(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    settings = tmp_path / "cached.yaml"
    settings.write_text("capcity: 1GiB\n")
    done = run(*arguments, "--config", str(settings)) if arguments else run("--config", str(settings))
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "unknown key capcity" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_show_prints_what_is_in_force() -> None:
    shown = json.loads(run("config", "show", CACHED__CAPACITY="1GiB", HOME="/nowhere").stdout)
    assert shown["capacity"] == 1 << 30
    assert shown["root"] == "/nowhere/.cache/cached"


@pytest.mark.parametrize("which", ["settings", "catalog"])
def test_schema(which: str) -> None:
    schema = json.loads(run("config", "schema", which).stdout)
    assert schema["additionalProperties"] is False


def test_what_was_shown_can_be_read_again(tmp_path: Path) -> None:
    settings = tmp_path / "cached.yaml"
    settings.write_text(run("config", "show", HOME="/nowhere").stdout)
    done = run("config", "show", "--config", str(settings))
    assert done.returncode == 0, done.stderr
    assert done.stdout == settings.read_text()
