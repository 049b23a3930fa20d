"""The servers: nginx with sendfile, and SeaweedFS as an S3 that runs anywhere."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

_NGINX = """\
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_until_it_answers(port: int, status: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/")
            if connection.getresponse().status == status:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no server on port {port}")
        time.sleep(0.1)


@contextmanager
def nginx(home: Path, blob: Path) -> Iterator[str]:
    """A URL of `blob`, served by one nginx worker."""
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(home=home, port=port, root=blob.parent))
    home.chmod(0o755)  # the worker is not root
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(home), "-c", str(config)]
    with subprocess.Popen(command) as server:
        try:
            _wait_until_it_answers(port, 403)
            yield f"http://127.0.0.1:{port}/{blob.name}"
        finally:
            server.terminate()


@contextmanager
def seaweedfs(home: Path, blob: Path) -> Iterator[str]:
    """A presigned URL of `blob` in an S3 bucket: signed once, good for every range."""
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-only-secret"}
    port = free_port()
    data = home / "seaweedfs"
    data.mkdir()
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    flags = (
        f"-dir={data} -ip=127.0.0.1 -ip.bind=127.0.0.1 -admin.ui=false -webdav=false"
        f" -s3.port={port} -s3.port.iceberg=0 -s3.port.lance=0 -s3.iam=false"
        " -master.telemetry=false -volume.preStopSeconds=0 -bucket=models"
    )
    environment = os.environ | keys | {"GOMEMLIMIT": "256MiB", "GOGC": "50"}
    command = [weed or "weed", "mini", *flags.split()]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as server:
        try:
            _wait_until_it_answers(port, 403)
            client = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            )
            client.upload_file(str(blob), "models", blob.name)
            where = {"Bucket": "models", "Key": blob.name}
            url: str = client.generate_presigned_url("get_object", Params=where, ExpiresIn=7200)
            yield url
        finally:
            server.kill()  # a graceful stop takes up to 28 s
