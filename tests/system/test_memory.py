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
    """A model larger than the bound, several times over: uploading costs the server more than the rest."""
    bucket = s3.make_bucket()
    block = random_bytes(32 * MIB, "memory")
    blocks, files, rounds = 5, 2, 4
    upload = TransferConfig(multipart_threshold=32 * MIB, multipart_chunksize=32 * MIB, max_concurrency=2)
    for n in range(files):
        s3.client.upload_fileobj(io.BytesIO(block * blocks), bucket, f"m/w-{n}.bin", Config=upload)
    connections, spare = 8, 4
    most = _BASE + (connections + spare) * _BUFFER
    assert most < files * blocks * len(block)
    daemon = start(
        {"m": {"source": f"s3://{bucket}/m"}},
        settings={"transfer": {"connections": connections, "spare_buffers": spare}},
    )
    client, operator = daemon.client(), daemon.operator()
    with _watched(daemon) as resident:
        for _ in range(rounds):
            model = client.acquire("m", timeout=100)
            for n in range(files):
                with (model.path / f"w-{n}.bin").open("rb") as file:
                    assert all(file.read(len(block)) == block for _ in range(blocks))
            model.release()
            operator.evict("m")
    print(f"resident at most {max(resident) / MIB:.0f} MiB")
    assert max(resident) <= most
    assert daemon.metric('cached_received_bytes_total{origin="s3"}') == rounds * files * blocks * len(block)
