"""A layer that is larger than any memory it may take: some minutes, and much disk."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.images.pictures import MIB, SAID
from tests.images.site import Node, Origin
from tests.servers.containerd import lacking
from tests.servers.images import push, runnable
from tests.servers.layers import Blob, layer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.system.daemon import remove_tree
from tests.system.waiting import eventually

pytestmark = pytest.mark.slow

SIZE: Final = 10_000_000_000
CONNECTIONS, SPARE = 8, 4
MOST: Final = 150 * MIB + (CONNECTIONS + SPARE) * 8 * MIB
"""Bytes that the daemon may take: what it needs for itself, and its buffers."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with DockerRegistry(tmp_path / "registry") as registry:
        yield registry


def zeros(registry: DockerRegistry, name: str, size: int) -> Blob:
    """A layer with one file of `size` zero bytes. It is in the registry then, and takes no room."""
    member = tarfile.TarInfo("data/zeros")
    member.size = size
    made = registry.directory / "zeros.tar"
    with made.open("wb") as file:
        file.write(member.tobuf())
        file.truncate(512 + -(-size // 512) * 512 + 1024)
    with made.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    place = registry.blob_file(digest)
    place.parent.mkdir(parents=True)
    made.rename(place)
    link = place.parents[4] / "repositories" / name / "_layers/sha256" / digest[7:] / "link"
    link.parent.mkdir(parents=True)
    link.write_text(digest)
    return Blob("application/vnd.oci.image.layer.v1.tar", digest, place.stat().st_size, digest)


def peak(node: Node) -> int:
    """The most bytes that the daemon had resident since this was asked last."""
    process = Path(f"/proc/{node.daemon.pid}")
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    (process / "clear_refs").write_text("5")
    return int(line.split()[1]) << 10


def test_ten_gigabytes_are_warmed_and_pulled_in_little_memory(
    tmp_path: Path, registry: DockerRegistry
) -> None:
    if why := lacking("1.7"):
        pytest.skip(why)
    # The daemon, containerd's content and its snapshot each have all of it.
    if (free := shutil.disk_usage(tmp_path).free) < 3 * SIZE + (4 << 30):
        pytest.skip(f"three times {SIZE >> 20} MiB of disk are needed, and {free >> 20} MiB are free")
    settings = {"capacity": "16GiB", "transfer": {"connections": CONNECTIONS, "spare_buffers": SPARE}}
    with Node(tmp_path / "node", Origin(registry.endpoint), settings=settings) as node:
        made = runnable(layer({"etc/motd": b"hello\n"}), zeros(registry, "team/large", SIZE))
        push(registry.endpoint, "team/large", "v1", made)
        name = f"{registry.host}/team/large:v1"
        node.daemon.start()
        assert "warm" in node.warm(name, seconds=900)
        warmed = peak(node)
        registry.kill()
        node.containerd.pull(name, timeout=900)
        sent = peak(node)
        assert node.containerd.run(name, *SAID) == "hello\n"
        assert node.containerd.run(name, "/bin/busybox", "stat", "-c", "%s", "/data/zeros") == f"{SIZE}\n"

        node.containerd.remove(name)
        eventually(lambda: not (node.containerd.blobs / made.layers[-1].digest[7:]).exists(), 60)
        node.daemon.terminate()
        remove_tree(node.daemon.root)
        registry.start()
        node.daemon.start()
        node.containerd.pull(name, timeout=900)
        passed = peak(node)
        print(f"MiB: warming {warmed / MIB:.0f}, sending {sent / MIB:.0f}, both at once {passed / MIB:.0f}")
        assert max(warmed, sent, passed) <= MOST
