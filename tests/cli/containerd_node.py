"""A node's files, and cachectl at work on them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from cached.cli.main import cli

MIRROR = "http://127.0.0.1:7402"
HOSTS_TOML = (
    '# ours\nserver = "https://quay.io"\n\n'
    '# first\n[host."https://corp.example"]\n  capabilities = ["pull"]\n'
    '  [host."https://corp.example".header]\n    authorization = ["Basic c2VjcmV0"]\n'
)


@dataclass
class NodeFiles:
    """Everything lies below `root`, as it would below /etc."""

    root: Path

    @classmethod
    def make(
        cls,
        root: Path,
        *upstreams: str,
        settings: Mapping[str, Any] | None = None,
        hosts: Mapping[str, str | None] | None = None,
        config: str | None = "version = 2\n",
    ) -> NodeFiles:
        """settings: more of the section `images`. hosts: what hosts.toml files there are, by directory; None
        for a directory without one."""
        files = cls(root)
        files.certs_d.mkdir(parents=True)
        if config is not None:
            files.config.write_text(config)
        images: dict[str, Any] = {"mirror": "127.0.0.1:7402", "upstreams": {name: {} for name in upstreams}}
        files.settings.write_text(yaml.safe_dump({"images": images | dict(settings or {})}))
        for name, text in (hosts or {}).items():
            (files.certs_d / name).mkdir()
            if text is not None:
                (files.certs_d / name / "hosts.toml").write_text(text)
        return files

    @property
    def settings(self) -> Path:
        return self.root / "cached.yaml"

    @property
    def config(self) -> Path:
        return self.root / "containerd/config.toml"

    @property
    def certs_d(self) -> Path:
        return self.root / "containerd/certs.d"

    def hosts(self, registry: str) -> Path:
        return self.certs_d / registry / "hosts.toml"

    def arguments(self, command: str) -> list[str]:
        return [
            *("containerd", command, "--config", str(self.settings)),
            *("--containerd-config", str(self.config), "--certs-d", str(self.certs_d)),
        ]

    def run(self, command: str, *more: str) -> Result:
        return CliRunner().invoke(cli, [*self.arguments(command), *more], prog_name="cachectl")

    def configure(self, *more: str) -> Result:
        """It has to go well."""
        result = self.run("configure", *more)
        assert result.exit_code == 0, result.output
        return result

    def all(self) -> dict[str, tuple[int, bytes | None, int]]:
        """Every directory and file below: mode, bytes, and of files when they were written."""
        return {
            str(path.relative_to(self.root)): (
                stat.S_IMODE(path.stat().st_mode),
                path.read_bytes() if path.is_file() else None,
                path.stat().st_mtime_ns if path.is_file() else 0,
            )
            for path in self.root.rglob("*")
        }
