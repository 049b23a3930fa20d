"""boto3 with its classic transfer manager: one pool of threads for all files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.clients.client import Fetch, fetch_by
from bench.origin import BUCKET, Offer, Origin

_PART = 8 << 20
_IO_CHUNK = 1 << 20


class Boto:
    """Runs this very file as a program."""

    def __init__(self, connections: int) -> None:
        self._connections = connections

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        into.mkdir()
        task = {"endpoint": origin.endpoint, "anonymous": origin.anonymous, "connections": self._connections}
        task |= {"keys": [offer.key(file) for file in offer.files], "into": str(into)}
        return fetch_by([sys.executable, "-m", "bench.clients.boto", json.dumps(task)], origin, into)


def download(endpoint: str, anonymous: bool, connections: int, keys: list[str], into: str) -> None:
    """Download all `keys`. Raises what boto3 raises."""
    import boto3
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore import UNSIGNED
    from botocore.config import Config

    signing: dict[str, Any] = {"signature_version": UNSIGNED} if anonymous else {}
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(max_pool_connections=connections, s3={"addressing_style": "path"}, **signing),
    )
    settings = TransferConfig(
        max_concurrency=connections,
        multipart_threshold=_PART,
        multipart_chunksize=_PART,
        io_chunksize=_IO_CHUNK,
        max_io_queue=1000,
        preferred_transfer_client="classic",
    )
    with create_transfer_manager(client, settings) as manager:
        futures = [manager.download(BUCKET, key, f"{into}/{Path(key).name}") for key in keys]
        for future in futures:
            future.result()


if __name__ == "__main__":
    download(**json.loads(sys.argv[1]))
