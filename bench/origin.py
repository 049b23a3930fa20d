"""The servers that the bytes come from; all clients ask the same one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from bench.model import ModelFile
from tests.servers.ports import free_ports
from tests.servers.seaweed import SeaweedFS

REGION = "us-east-1"
BUCKET = "models"
_READY_SECONDS = 10.0

# Objects go out by sendfile. A listing is a file written beforehand: what it holds never changes, and so no
# client waits for a slow server here. Checksums stand in answers to whole objects only, as in S3.
_NGINX = Template("""\
worker_processes auto;
daemon off;
pid $home/nginx.pid;
error_log stderr crit;
$user
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path $home/tmp; proxy_temp_path $home/tmp; fastcgi_temp_path $home/tmp;
  uwsgi_temp_path $home/tmp; scgi_temp_path $home/tmp;
  map_hash_bucket_size 256;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  map $$arg_prefix $$listed { "~*^(?<model>[a-z0-9-]+)(/|%2F)" $$model; }
  map "$$http_range:$$uri" $$sha256 { $sha256 }
  map "$$http_range:$$uri" $$crc64nvme { $crc64nvme }
  map "$$sha256$$crc64nvme" $$checksum_type { "" ""; default FULL_OBJECT; }
  server {
    listen 127.0.0.1:$port;
    root $home;
    default_type application/octet-stream;
    location ~ ^/$bucket/?$$ { default_type application/xml; try_files /lists/$$listed.xml =404; }
    location /$bucket/ {
      add_header x-amz-checksum-sha256 $$sha256;
      add_header x-amz-checksum-crc64nvme $$crc64nvme;
      add_header x-amz-checksum-type $$checksum_type;
    }
  }
}
""")


@dataclass(frozen=True, slots=True)
class Origin:
    """An S3 endpoint with a bucket of models. Without keys, everybody may read."""

    name: str
    endpoint: str
    access_key: str = ""
    secret_key: str = ""

    @property
    def anonymous(self) -> bool:
        return not self.access_key

    @property
    def credentials(self) -> dict[str, str]:
        """For the environment of a client; no configuration file of the user plays a part."""
        nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        nowhere |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": REGION}
        if self.anonymous:
            return nowhere
        return nowhere | {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as an origin offers it: its name in the bucket, its files, which checksums it states."""

    model: str
    directory: Path
    files: Sequence[ModelFile]
    states: str = ""

    def key(self, file: ModelFile) -> str:
        return f"{self.model}/{file.name}"


@contextmanager
def nginx(home: Path, offers: Sequence[Offer]) -> Iterator[Origin]:
    """Serve `offers` out of the page cache, to anybody. `home` is a new directory on their filesystem."""
    for directory in (home, home / BUCKET, home / "lists"):
        directory.mkdir(mode=0o755)
    for offer in offers:
        (home / BUCKET / offer.model).symlink_to(offer.directory)
        (home / "lists" / f"{offer.model}.xml").write_text(_listing(offer))
    [port] = free_ports(1)
    config = home / "nginx.conf"
    config.write_text(_config(home, port, offers))
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(home), "-c", str(config), "-e", "stderr"]
    with subprocess.Popen(command) as server:
        try:
            if not _answers(server, port):
                raise RuntimeError("nginx does not start")
            yield Origin("nginx", f"http://127.0.0.1:{port}")
        finally:
            server.terminate()


@contextmanager
def seaweedfs(home: Path, offers: Sequence[Offer]) -> Iterator[Origin]:
    """Store `offers` in a real S3 server, which checks signatures and states SHA-256."""
    import boto3
    from boto3.s3.transfer import TransferConfig

    with SeaweedFS(home) as server:
        keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
        client = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION, **keys)
        client.create_bucket(Bucket=BUCKET)
        at_once = TransferConfig(multipart_threshold=5 << 30)  # parts would have no checksum of the whole
        for offer in offers:
            for file in offer.files:
                client.upload_file(
                    str(offer.directory / file.name),
                    BUCKET,
                    offer.key(file),
                    ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                    Config=at_once,
                )
        yield Origin("SeaweedFS", server.endpoint, server.access_key, server.secret_key)


def _config(home: Path, port: int, offers: Sequence[Offer]) -> str:
    stated = {kind: [offer for offer in offers if offer.states == kind] for kind in ("sha256", "crc64nvme")}
    return _NGINX.substitute(
        home=home,
        port=port,
        bucket=BUCKET,
        user="user root;" if os.geteuid() == 0 else "",
        **{kind: _headers(kind, offers) for kind, offers in stated.items()},
    )


def _headers(kind: str, offers: Sequence[Offer]) -> str:
    """Rows of an nginx map from ":" and the path of each object to its checksum."""
    rows = [f'":/{BUCKET}/{o.key(file)}" "{getattr(file, kind)}";' for o in offers for file in o.files]
    return " ".join(['default "";', *rows])


def _listing(offer: Offer) -> str:
    """The answer to ListObjectsV2 for all of a model. ETags are those that nginx makes of its files."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<Name>{BUCKET}</Name><Prefix>{escape(offer.model)}/</Prefix><KeyCount>{len(offer.files)}</KeyCount>",
        "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
    ]
    for file in offer.files:
        status = (offer.directory / file.name).stat()
        modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(status.st_mtime))
        lines.append(
            f"<Contents><Key>{escape(offer.key(file))}</Key><LastModified>{modified}</LastModified>"
            f"<ETag>&quot;{int(status.st_mtime):x}-{status.st_size:x}&quot;</ETag>"
            f"<Size>{status.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    return "\n".join([*lines, "</ListBucketResult>", ""])


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return True
        except OSError:
            pass
        time.sleep(0.02)
    return False
