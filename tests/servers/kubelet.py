"""A real kubelet over a real containerd, as a node of a real API server. See `kubernetes` for its program."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import yaml

from tests.servers.containerd import Containerd
from tests.servers.kubernetes import KUBELET, Kubernetes, program

PLUGINS: Final = Path("/usr/lib/cni")
"""From the Debian package `containernetworking-plugins`."""

_NETWORK: Final = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.88.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
_CGROUPS: Final = Path("/sys/fs/cgroup")
_TUNED: Final = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
"""What kubelet would set, of the whole machine."""


class Kubelet:
    """A node, as long as the `with` block lasts.

    It lives in containerd's namespaces. There /var/lib, /var/log and /run are its own, and shared mounts, as
    systemd makes them; nothing of this machine is changed. Whoever reaches it may run commands in its pods:
    keep it in a network of its own.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        kubernetes: Kubernetes,
        containerd: Containerd,
        *,
        address: str,
        token: str,
        cgroup: str,
        labels: Mapping[str, str],
        taints: Sequence[str] = (),
    ) -> None:
        """address: the node's. token: of the user system:node:`name` in the group system:nodes.

        taints: keys of those with which it joins, of effect NoSchedule.
        """
        self.name = name
        self._home = home
        self._within = containerd.command
        user = {"name": "kubelet", "user": {"token": token}}
        cluster = {"server": kubernetes.url, "certificate-authority": str(kubernetes.ca)}
        self._files: dict[str, Any] = {
            "kubeconfig": {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [user],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "kubelet"}}],
                "current-context": "here",
            },
            "kubelet.yaml": {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "address": address,
                "readOnlyPort": 0,
                "healthzPort": 0,
                "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                "authorization": {"mode": "AlwaysAllow"},
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{cgroup}",
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{containerd.socket}",
                "resolvConf": str(home / "resolv.conf"),
                "registerWithTaints": [{"key": key, "effect": "NoSchedule"} for key in taints],
                "volumePluginDir": str(home / "flexvolumes"),
                "nodeStatusUpdateFrequency": "2s",
                # The disk of whoever runs the tests may be as full as it likes.
                "evictionHard": {
                    "nodefs.available": "0%",
                    "imagefs.available": "0%",
                    "memory.available": "0%",
                },
                "imageGCHighThresholdPercent": 100,
            },
        }
        self._command = [
            str(program(KUBELET)),
            f"--config={home / 'kubelet.yaml'}",
            f"--kubeconfig={home / 'kubeconfig'}",
            f"--hostname-override={name}",
            f"--node-ip={address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
        ]
        containerd.network(json.dumps(_NETWORK), PLUGINS)
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._prepare()
            stack.callback(self._stop)
            log = stack.enter_context((self._home / "kubelet.log").open("ab"))
            self._process = subprocess.Popen(
                [*self._within, *self._command],
                env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def log(self) -> str:
        return (self._home / "kubelet.log").read_text()

    def run(self, *command: str) -> str:
        """Run a command on the node, as its root; returns what it wrote."""
        done = subprocess.run(
            [*self._within, *command], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return done.stdout

    def _prepare(self) -> None:
        for name, content in self._files.items():
            (self._home / name).write_text(yaml.safe_dump(content))
        (self._home / "resolv.conf").write_text("")
        lines = []
        for name in ("var/lib", "var/log"):
            place = self._home / "node" / name
            place.mkdir(parents=True)
            lines += [f"mount --bind {shlex.quote(str(place))} /{name}", f"mount --make-shared /{name}"]
        for name in _TUNED:
            place = self._home / "tuned" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(f"/proc/sys/{name}", place)
            lines.append(f"mount --bind {shlex.quote(str(place))} /proc/sys/{name}")
        self.run("sh", "-euc", "\n".join(["mount --make-shared /run", *lines]))

    def _stop(self) -> None:
        if self._process is not None:
            for each in psutil.Process(self._process.pid).children():  # nsenter waits for it
                each.kill()
            self._process.wait(20)


@contextmanager
def cgroup() -> Iterator[str]:
    """Of all pods of a kubelet; its name, below the root.

    Leave it when containerd has ended, and with it the pods.
    """
    name = f"cached-test-{os.getpid()}"
    of_version_1 = [place for place in _CGROUPS.iterdir() if (place / "tasks").exists()]
    made = [place / name for place in of_version_1 or [_CGROUPS]]
    for place in made:
        place.mkdir()
    try:
        yield name
    finally:
        for place in made:
            for below, _, _ in os.walk(place, topdown=False):
                Path(below).rmdir()
