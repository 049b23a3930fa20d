"""Checking files, without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Ask, Run

CATALOG = "models:\n  minilm:\n    source: s3://models/minilm\n"


def write(directory: Path, text: str) -> str:
    (directory / "file.yaml").write_text(text)
    return str(directory / "file.yaml")


def test_a_catalog_is_known_by_its_models(tmp_path: Path, ask: Ask) -> None:
    result = ask("config", "check", write(tmp_path, CATALOG))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/file.yaml: valid catalog\n")


def test_a_catalog_may_have_images_alone(tmp_path: Path, ask: Ask) -> None:
    for text in (CATALOG + "images:\n  redis:7: {}\n", "images:\n  nvcr.io/nim/llama:1.8: {pull: true}\n"):
        assert ask("config", "check", write(tmp_path, text)).stdout.endswith("valid catalog\n")
    settings = "images:\n  mirror: 127.0.0.1:7402\n  upstreams: {docker.io: {}}\n"
    assert ask("config", "check", write(tmp_path, settings)).stdout.endswith("valid settings\n")


def test_anything_else_is_settings(tmp_path: Path, ask: Ask) -> None:
    path = write(tmp_path, "capacity: 2TiB\n")
    result = ask("config", "check", "-o", "json", path)
    assert json.loads(result.stdout) == {"file": path, "kind": "settings", "valid": True}


def test_the_kind_may_be_told(tmp_path: Path, ask: Ask) -> None:
    assert ask("config", "check", "--kind", "settings", write(tmp_path, CATALOG)).exit_code == 2
    assert ask("config", "check", "--kind", "catalog", write(tmp_path, CATALOG)).exit_code == 0


def test_every_fault_is_named(tmp_path: Path, ask: Ask) -> None:
    result = ask("config", "check", write(tmp_path, "capacty: 2TiB\nlog: {level: loud}\n"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "capacty" in result.stderr
    assert "log.level" in result.stderr


def test_the_environment_is_left_aside(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path, "capacity: 2TiB\n")
    assert run("config", "check", path, env={"CACHED__CAPACITY": "nonsense"}).returncode == 0


def test_a_missing_file_is_told(tmp_path: Path, ask: Ask) -> None:
    result = ask("config", "check", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr


def test_without_the_daemons_part_it_says_what_to_install(tmp_path: Path, run: Run) -> None:
    """A pydantic that cannot be imported stands before the real one, as in an installation for pods."""
    (tmp_path / "pydantic.py").write_text("raise ModuleNotFoundError('none', name='pydantic')")
    result = run("config", "check", write(tmp_path, CATALOG), env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 13
    assert "pydantic is missing" in result.stderr
    assert "pip install 'cached[daemon]'" in result.stderr
