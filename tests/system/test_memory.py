"""The daemon's memory is a constant plus its buffers, whatever it moves."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from boto3.s3.transfer import TransferConfig

from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, random_bytes
from tests.system.daemon import Daemon

_BASE = 150 * MIB
_BUFFER = 8 * MIB


@contextmanager
def _watched(daemon: Daemon) -> Iterator[list[int]]:
    """Resident bytes of the daemon, looked at all the time."""
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            seen.append(daemon.process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def test_moving_a_gibibyte_takes_buffers_and_no_more(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    block = random_bytes(64 * MIB, "memory")
    upload = TransferConfig(multipart_threshold=64 * MIB, multipart_chunksize=64 * MIB, max_concurrency=2)
    for n in range(4):
        s3.client.upload_fileobj(io.BytesIO(block * 4), bucket, f"m/w-{n}.bin", Config=upload)
    connections, spare = 8, 4
    daemon = start(
        {"m": {"source": f"s3://{bucket}/m"}},
        settings={"transfer": {"connections": connections, "spare_buffers": spare}},
    )
    with _watched(daemon) as resident:
        model = daemon.client().acquire("m", timeout=100)
    for n in range(4):
        with (model.path / f"w-{n}.bin").open("rb") as file:
            assert all(file.read(64 * MIB) == block for _ in range(4))
    print(f"resident at most {max(resident) / MIB:.0f} MiB")
    assert max(resident) <= _BASE + (connections + spare) * _BUFFER
    assert daemon.metric('cached_received_bytes_total{origin="s3"}') == 1024 * MIB
