"""Daemons for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.servers.s3 import S3Server
from tests.system.daemon import Daemon, merged


class Start(Protocol):
    """Starts one more daemon, with `s3` as its S3 server unless told otherwise."""

    def __call__(
        self,
        models: Mapping[str, Any] | None = None,
        /,
        *,
        server: S3Server | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        launch: bool = True,
    ) -> Daemon: ...


def reading_from(server: S3Server) -> dict[str, Any]:
    """The settings of a daemon whose S3 is `server`; keys travel by environment."""
    return {"sources": {"s3": {"endpoint": server.endpoint, "region": server.region, "addressing": "path"}}}


def keys_of(server: S3Server) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def start(tmp_path: Path, s3: S3Server) -> Iterator[Start]:
    """Starts daemons that end with the test; a test that fails shows their logs."""
    daemons: list[Daemon] = []
    with ExitStack() as stack:

        def starter(
            models: Mapping[str, Any] | None = None,
            /,
            *,
            server: S3Server | None = None,
            settings: Mapping[str, Any] | None = None,
            environment: Mapping[str, str] | None = None,
            launch: bool = True,
        ) -> Daemon:
            server = server or s3
            daemon = Daemon(
                tmp_path / f"node-{len(daemons)}",
                settings=merged(reading_from(server), settings or {}),
                models=models,
                environment={**keys_of(server), **(environment or {})},
            )
            daemons.append(daemon)
            stack.callback(daemon.__exit__, None, None, None)
            if launch:
                daemon.start()
            return daemon

        yield starter
        for daemon in daemons:
            print(f"--- {daemon.home.name}, {daemon.fate}\n{daemon.log[-8000:]}")
