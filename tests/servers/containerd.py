"""A real containerd with runc: of this machine's own Debian release, or of another (see `.ci/containerd`)."""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import grpc
import psutil

from cached._proto.runtime.v1.images_pb2 import (
    AuthConfig,
    ImageSpec,
    ImageStatusRequest,
    PullImageRequest,
)
from cached._proto.runtime.v1.images_pb2_grpc import ImageServiceStub
from tests.servers.containerd_config import config_text
from tests.servers.enclosure import Enclosure

_RELEASES = Path.home() / ".cache/cached-tests/containerd"
_START_SECONDS = 30.0
_PATH = f"{os.defpath}:/usr/sbin:/sbin"


def lacking(version: str) -> str:
    """What this machine lacks to run containerd of that version, such as `1.7` or `2`; "" when nothing."""
    if os.geteuid():
        return "containerd needs root"
    if programs(version) is None or shutil.which("runc", path=_PATH) is None:
        return f"no containerd {version} with runc: make packages installs one, and unpacks others"
    return ""


class Containerd:
    """containerd, running while the `with` block does. Skip what needs it where it is `lacking`.

    It, its containers and its mounts end with the block, or with the process that started it. Data go below
    `home`, and nowhere else. Plain HTTP is spoken to registries on loopback; of others, `hosts_toml` says it.
    """

    def __init__(
        self,
        home: Path,
        *,
        version: str = "1.7",
        command: Sequence[str] = (),
        discard_unpacked_layers: bool = False,
        fetch_buffer: int = 0,
        sandbox_image: str = "",
    ) -> None:
        """command: what goes before its programs, such as that of a network namespace.

        discard_unpacked_layers, fetch_buffer, sandbox_image: see `config_text`.
        """
        self.version = version
        self.content_root = home / "root"
        self.log_file = home / "containerd.log"
        self._certs = home / "certs.d"
        self._config = home / "config.toml"
        self._within = list(command)
        self._discard = discard_unpacked_layers
        self._fetch_buffer = fetch_buffer
        self._sandbox_image = sandbox_image
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        found = programs(self.version)
        assert found is not None, lacking(self.version)
        self._programs = found
        self._certs.mkdir(parents=True)
        with ExitStack() as stack:
            # Socket paths are limited to 107 bytes, which pytest's directories exceed.
            self._state = Path(stack.enter_context(TemporaryDirectory(prefix="containerd-")))
            stack.callback(shutil.rmtree, self.content_root, ignore_errors=True)
            # Shims have their sockets in /run/containerd, whatever the configuration says.
            stack.callback(self._remove_cgroups)
            self._enclosure = Enclosure(within=self._within, tmpfs="/run")
            stack.callback(self._enclosure.close)
            stack.callback(self.kill9)
            self._write_config()
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def socket(self) -> Path:
        return self._state / "containerd.sock"

    @property
    def blobs(self) -> Path:
        """The directory of all that it pulled, by the hex digits of their SHA-256."""
        return self.content_root / "io.containerd.content.v1.content/blobs/sha256"

    @property
    def command(self) -> list[str]:
        """What goes before a command that shall run beside it: with its mounts, processes and network."""
        return self._enclosure.command

    @property
    def pid(self) -> int:
        assert self._process is not None, "containerd was not started"
        return psutil.Process(self._process.pid).children()[0].pid  # nsenter waits for it

    @property
    def log(self) -> str:
        """All that it wrote so far, over all restarts."""
        return self.log_file.read_text()

    def start(self) -> None:
        """Start with the data of before, and wait until CRI answers."""
        assert self._process is None, "containerd runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._inside("containerd", "--config", str(self._config)),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.socket.exists() and self._answers():
                return
            time.sleep(0.01)
        raise RuntimeError(f"containerd does not answer:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """SIGTERM, and wait for its end. Containers go on."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """SIGKILL, if it runs. Containers go on."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """From now on it takes calls, and answers none."""
        process = psutil.Process(self.pid)
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)

    def thaw(self) -> None:
        psutil.Process(self.pid).resume()

    def hosts_toml(self, registry: str, text: str) -> None:
        """From now on, what containerd is to ask in place of `registry`, as image names have it."""
        (self._certs / registry).mkdir(exist_ok=True)
        (self._certs / registry / "hosts.toml").write_text(text)

    def network(self, configuration: str, plugins: Path) -> None:
        """How pods are connected, by CNI plugins from a directory. configuration: of one network, in JSON."""
        place = self._state / "cni"
        for plugin in plugins.iterdir():
            (place / plugin.name).symlink_to(plugin)
        (place / "pods.conflist").write_text(configuration)

    def pull(self, image: str, auth: tuple[str, str] | None = None, *, timeout: float = 120) -> None:
        """As kubelet does. auth: user and password. Raises grpc.RpcError."""
        request = PullImageRequest(image=ImageSpec(image=image))
        if auth:
            request.auth.CopyFrom(AuthConfig(username=auth[0], password=auth[1]))
        with self._channel() as channel:
            ImageServiceStub(channel).PullImage(request, timeout=timeout)

    def remove(self, image: str) -> None:
        """As kubelet does: all names of the image go, and what only it needed."""
        # A RemoveImageRequest is what an ImageStatusRequest is: an image, as field 1.
        request = ImageStatusRequest(image=ImageSpec(image=image))
        with self._channel() as channel:
            call = channel.unary_unary(
                "/runtime.v1.ImageService/RemoveImage",
                request_serializer=ImageStatusRequest.SerializeToString,
                response_deserializer=bytes,
            )
            call(request, timeout=30)

    def images(self) -> set[str]:
        """Names of all images, with tags and with digests."""
        return {name for name in self.ctr("images", "ls", "-q").split() if not name.startswith("sha256:")}

    def run(self, image: str, *arguments: str) -> str:
        """Run a container of an image that is here, and return what it wrote; asserts that it ended well.

        image: its name in full. arguments: the program and its own, in place of the image's.
        """
        name = f"{self._prefix}-{next(self._numbers)}"
        return self.ctr("run", "--rm", image, name, *arguments)

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client in the namespace of Kubernetes; returns what it wrote."""
        done = subprocess.run(
            self._inside("ctr", "--address", str(self.socket), "--namespace", "k8s.io", *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"ctr {arguments}: {done.stderr}"
        return done.stdout

    def cgroups(self) -> list[Path]:
        """Of containers that `run` has begun."""
        mine = f"k8s.io/{self._prefix}-*"
        return [place for pattern in (mine, f"*/{mine}") for place in Path("/sys/fs/cgroup").glob(pattern)]

    def ingests(self) -> dict[str, int]:
        """Bytes that arrived of what is under way, by containerd's name for it, which ends in the digest."""
        arrived = {}
        for place in (self.content_root / "io.containerd.content.v1.content/ingest").glob("*"):
            with suppress(FileNotFoundError):  # it is complete, or was given up, just now
                arrived[(place / "ref").read_text()] = (place / "data").stat().st_size
        return arrived

    def _inside(self, program: str, *arguments: str) -> list[str]:
        """A command for one of its programs, in the enclosure."""
        return [*self._enclosure.command, str(self._programs / program), *arguments]

    @property
    def _environment(self) -> dict[str, str]:
        """It looks for its shim here, and takes nothing else from whoever runs the tests, such as proxies."""
        return {"PATH": f"{self._programs}:{_PATH}"}

    @property
    def _prefix(self) -> str:
        """Of its containers' names; containerd takes no underscore at the end of a word."""
        return self._state.name.replace("_", "x")

    def _write_config(self) -> None:
        text = config_text(
            int(self.version.partition(".")[0]),
            root=self.content_root,
            state=self._state,
            certs=self._certs,
            discard_unpacked_layers=self._discard,
            fetch_buffer=self._fetch_buffer,
            sandbox_image=self._sandbox_image,
        )
        self._config.write_text(text)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.kill(self.pid, how)
            self._process.send_signal(signal.SIGCONT)  # nsenter stops when what it waits for does
        self._process.wait(20)
        self._process = None

    def _remove_cgroups(self) -> None:
        for left in self.cgroups():
            left.rmdir()

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{self.socket}")

    def _answers(self) -> bool:
        with self._channel() as channel:
            try:
                ImageServiceStub(channel).ImageStatus(
                    ImageStatusRequest(image=ImageSpec(image="none")), timeout=2
                )
            except grpc.RpcError:
                return False
        return True


def programs(version: str) -> Path | None:
    """The directory of a containerd of that version."""
    return next((place for have, place in _found().items() if f"{have}.".startswith(f"{version}.")), None)


@functools.cache
def _found() -> dict[str, Path]:
    """Directories of all there are, by version such as `1.7`."""
    found: dict[str, Path] = {}
    for place in (Path("/usr/bin"), *sorted(_RELEASES.glob("*/usr/bin"))):
        if (place / "containerd").exists():
            said = subprocess.run(
                [place / "containerd", "--version"], capture_output=True, text=True, check=True
            )
            if version := re.search(r" v?(\d+\.\d+)\.", said.stdout):
                found.setdefault(version[1], place)
    return found
