"""No secret leaves the daemon's memory but in a signed request."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from cached.client import CachedError
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, make_content, upload


def test_no_secret_in_logs_metrics_errors_or_files(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"a.bin": 3 * MIB}, "secrets"))
    upload(s3, bucket, "lies", make_content({"a.bin": 100}, "secrets"), checksum="SHA256")
    names = ("m", "lies", "nothing")
    models = {name: {"source": f"s3://{bucket}/{name}"} for name in names}
    daemon = start(
        models | {"refused": {"source": "s3://other-bucket/m"}, "elsewhere": {"source": "s3://wrong-keys/m"}},
        server=s3.behind(faulty_s3.endpoint),
        settings={"log": {"level": "debug"}, "transfer": {"give_up_after": 1}},
        environment={"AWS_SESSION_TOKEN": ""},
    )
    client = daemon.client()
    said: list[str] = []

    def fails(name: str, *faults: Fault) -> None:
        for fault in faults:
            faulty_s3.inject(fault)
        with pytest.raises(CachedError) as error:
            client.acquire(name)
        said.extend((str(error.value), repr(error.value)))
        said.extend(daemon.cachectl("get", name, code=None).stderr.splitlines())
        faulty_s3.heal()

    fails("nothing")
    fails("refused")
    fails("lies", Fault(path="*.bin", flip=3, times=None))
    for fault in (
        Fault(path="*.bin", status=403, times=None),
        Fault(path="*.bin", status=500, times=None),
        Fault(path="*.bin", hang_up=True, times=None),
        Fault(path="*.bin", cut=100, times=None),
        Fault(
            path="*.bin", status=302, headers={"Location": "http://127.0.0.1:1/?token=hunter2"}, times=None
        ),
        Fault(path="*", method="", status=403, times=None),
        Fault(path="*", method="", headers={"x-amz-request-id": "id"}, status=400, times=None),
    ):
        fails("m", fault)
    client.acquire("m")
    signatures = set()
    for seen in faulty_s3.requests(method=""):
        signatures |= set(re.findall(r"Signature=([0-9a-f]{16,})", str(dict(seen.headers))))
    assert signatures, "nothing was signed: the test tests nothing"
    status = daemon.cachectl("status", "-o", "yaml").stdout
    listed = daemon.cachectl("ls", "-o", "json").stdout
    memory = (daemon.root / "catalog.last.yaml").read_text()
    everything = {
        "log": daemon.log, "metrics": daemon.metrics_text(), "errors": "\n".join(said), "status": status,
        "ls": listed, "catalog": memory,
    }  # fmt: skip
    for secret in (s3.secret_key, s3.access_key, "hunter2", "X-Amz-Signature", "Authorization", *signatures):
        for where, text in everything.items():
            assert secret not in text, f"{secret} is in the {where}"
    daemon.terminate()
    index = (daemon.root / "index.db").read_bytes()
    assert s3.secret_key.encode() not in index


def test_who_may_read_what(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", {"a.json": b"{}"})
    daemon = start({"m": {"source": f"s3://{bucket}/m"}})
    path = daemon.client().acquire("m").path

    def mode(what: Path) -> int:
        return stat.S_IMODE(what.stat().st_mode)

    assert mode(daemon.sockets / "operator" / "cached.sock") == 0o600
    assert mode(daemon.sockets / "pods" / "cached.sock") == 0o600
    for private in ("index.db", "index.db-wal", "lock", "catalog.last.yaml", "stage", "quarantine"):
        assert mode(daemon.root / private) & 0o077 == 0, private
    for parent in [path, *path.parents]:
        if parent == daemon.home:
            break
        assert mode(parent) & 0o005 == 0o005, f"{parent} is closed to pods"
    daemon.settings["sockets"] |= {"pods_mode": "0666"}
    daemon.restart()
    assert mode(daemon.sockets / "pods" / "cached.sock") == 0o666
    assert mode(daemon.sockets / "operator" / "cached.sock") == 0o600
