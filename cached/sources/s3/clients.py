"""boto3's clients, made when first needed."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import cached
from cached.sources.s3.options import S3Options

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 15
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Client:
    """A client of boto3, safe for threads, and the credentials that it signs with; None when anonymous."""

    s3: Any
    credentials: Any

    def seconds_left(self, most: float) -> float:
        """How long the credentials last, at most `most` seconds; refreshes them when due."""
        if self.credentials is None:
            return most
        self.credentials.get_frozen_credentials()
        # Not public, but there is no other way to ask, and static credentials have none.
        expiry: datetime | None = getattr(self.credentials, "_expiry_time", None)
        return most if expiry is None else min(most, (expiry - datetime.now(UTC)).total_seconds())


class Clients:
    """One client per set of options. Blocks: the first takes 0.3 s, most of it for importing boto3."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._clients: dict[S3Options, Client] = {}
        self._lock = threading.Lock()

    def get(self, options: S3Options) -> Client:
        """Raises errors of botocore, ValueError or OSError where options or AWS files make no sense."""
        with self._lock:
            if options not in self._clients:
                self._clients[options] = _build(options, self._connections)
            return self._clients[options]

    def close(self) -> None:
        """Close connections that no call uses."""
        with self._lock:
            for client in self._clients.values():
                client.s3.close()
            self._clients.clear()


def _build(options: S3Options, connections: int) -> Client:
    import boto3.session
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    # At DEBUG they write what they sign, tokens and signatures too.
    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO)
    base = botocore.session.get_session()
    base.register_component("data_loader", _descriptions())
    session = boto3.session.Session(
        profile_name=options.profile, region_name=options.region, botocore_session=base
    )

    def build(addressing: str) -> Any:
        config = Config(
            # Said outright, or boto3 presigns with version 2 where it can.
            signature_version=UNSIGNED if options.anonymous else "s3v4",
            s3={"addressing_style": addressing},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=connections,
            tcp_keepalive=True,
            user_agent_extra=f"cached/{cached.__version__}",
        )
        return session.client("s3", endpoint_url=options.endpoint, config=config)

    client = build(options.addressing)
    if options.addressing == "auto" and _is_aws(client.meta.endpoint_url):
        # Left to itself, boto3 presigns for AWS' global endpoint, which new buckets redirect and private
        # networks may not reach. Buckets that cannot be host names still go by path.
        client = build("virtual")
    return Client(client, None if options.anonymous else session.get_credentials())


@cache
def _descriptions() -> Any:
    """botocore's description of S3: 80 ms and some megabytes, so read once for all clients."""
    import botocore.session

    return botocore.session.get_session().get_component("data_loader")


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
