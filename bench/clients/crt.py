"""The AWS CRT's own S3 client, in C."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.clients.client import Fetch, fetch_by
from bench.origin import BUCKET, REGION, Offer, Origin

_PART = 8 << 20


class Crt:
    """Runs this very file as a program. (Through boto3 it would ignore the endpoint.)"""

    def __init__(self, connections: int) -> None:
        self._connections = connections

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        into.mkdir()
        task = {"endpoint": origin.endpoint, "anonymous": origin.anonymous, "connections": self._connections}
        task |= {"keys": [offer.key(file) for file in offer.files], "into": str(into)}
        return fetch_by([sys.executable, "-m", "bench.clients.crt", json.dumps(task)], origin, into)


def download(endpoint: str, anonymous: bool, connections: int, keys: list[str], into: str) -> None:
    """Download all `keys`, written with O_DIRECT. Raises what the CRT raises."""
    from awscrt.auth import AwsCredentialsProvider
    from awscrt.http import HttpHeaders, HttpRequest
    from awscrt.s3 import (
        S3Client,
        S3FileIoOptions,
        S3RequestTlsMode,
        S3RequestType,
        create_default_s3_signing_config,
    )

    signing = None
    if not anonymous:
        provider = AwsCredentialsProvider.new_environment()
        signing = create_default_s3_signing_config(region=REGION, credential_provider=provider)
    client = S3Client(
        region=REGION,
        tls_mode=S3RequestTlsMode.DISABLED,
        signing_config=signing,
        part_size=_PART,
        max_active_connections_override=connections,
        fio_options=S3FileIoOptions(direct_io=True),
    )
    host = endpoint.removeprefix("http://")
    requests = [
        client.make_request(
            type=S3RequestType.GET_OBJECT,
            request=HttpRequest("GET", f"/{BUCKET}/{key}", HttpHeaders([("host", host)])),
            recv_filepath=f"{into}/{Path(key).name}",
        )
        for key in keys
    ]
    for request in requests:
        request.finished_future.result()


if __name__ == "__main__":
    download(**json.loads(sys.argv[1]))
