"""A cluster of one node: API server, kubelet, containerd and registry are real; the daemon's pod runs on it.

There is no scheduler and no controller: pods are put on the node by name, the DaemonSet's too. There is no
tool to build the daemon's image with: its image has nothing in it, and this machine's Python is mounted.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from tests.daemonset.built import Object, only
from tests.daemonset.schemas import is_custom
from tests.net.namespace import Namespace
from tests.servers import containerd, registry
from tests.servers.containerd import Containerd
from tests.servers.images import Image, image, push, runnable
from tests.servers.kubelet import PLUGINS, Kubelet, cgroup
from tests.servers.kubernetes import API_SERVER, KUBELET, Kubernetes, lacking
from tests.servers.layers import busybox_layer
from tests.servers.registry import DockerRegistry

NODE: Final = "node-1"
SPACE: Final = "cached-system"
SERVING: Final = "serving"
MODEL: Final = b"weights" * 100_000

_ADDRESS: Final = "192.0.2.1"
_API: Final = "10.96.0.1"
"""Where pods look for the API server: the first address of the services' range."""
_TOKEN: Final = "of-the-node"
_BIN: Final = Path(sys.executable).parent
_REPOSITORY: Final = Path(__file__).parents[2]


def why_not() -> str:
    """Why there can be no such cluster here; "" when there can."""
    if lacks := lacking(API_SERVER, KUBELET) or containerd.lacking("1.7"):
        return lacks
    if registry.DOCKER_REGISTRY is None:
        return "docker-registry is not installed"
    return "" if PLUGINS.exists() else "containernetworking-plugins is not installed"


class Cluster:
    """What a test does with it. Everything that is asked is asked of the API server, or on the node."""

    def __init__(
        self, kubernetes: Kubernetes, kubelet: Kubelet, images: Mapping[str, str], home: Path
    ) -> None:
        self.kubernetes = kubernetes
        self.kubelet = kubelet
        self._images = images
        self.programs = _BIN
        self._models = home / "models"

    def install(self, objects: Sequence[Object]) -> None:
        """All but the pod."""
        native = [each for each in objects if not is_custom(each) and each["kind"] != "DaemonSet"]
        self._admit(SPACE)
        self._admit(SERVING)
        self.kubernetes.apply(sorted(native, key=lambda each: each["kind"] != "Namespace"))

    def offer(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        """The catalog; each model has one file."""
        catalog: dict[str, Any] = {"models": {}}
        for name, settings in models.items():
            place = self._models / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "model.safetensors").write_bytes(MODEL)
            catalog["models"][name] = {"source": f"file://{place}", **settings}
        data = {"catalog.yaml": yaml.safe_dump(catalog)}
        metadata = {"name": "cached-catalog", "namespace": SPACE}
        self.kubernetes.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}])

    def start_daemon(self, objects: Sequence[Object], name: str) -> None:
        """The pod that the DaemonSet's controller would make for the node. Returns once it is ready."""
        template = copy.deepcopy(only(objects, "DaemonSet")["spec"]["template"])
        for each in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            each["image"] = self._images["daemon"]
            # The disk of whoever runs the tests has no fifth of it to spare.
            each.setdefault("env", []).append({"name": "CACHED__MIN_FREE", "value": "0"})
        self._lend(template["spec"])
        self.start(template, name, SPACE)
        self.until_ready(name, SPACE)

    def start(self, described: Object, name: str, space: str = SERVING) -> None:
        """A pod on the node, as described by a workload of the manifests or the examples."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**described.get("metadata", {}), "name": name, "namespace": space},
            "spec": {**described["spec"], "nodeName": NODE},
        }
        self.kubernetes.apply([pod])

    def serving(self, example: Object, model: str, command: Sequence[str]) -> Object:
        """The pod of an example, with a small image and model in place of its own."""
        pod = copy.deepcopy(example)
        [container] = pod["spec"]["containers"]
        container |= {"image": self._images["pod"], "command": list(command), "args": []}
        # What no node here has: GPUs, and an engine that answers probes.
        for key in ("resources", "readinessProbe", "startupProbe", "livenessProbe", "ports"):
            container.pop(key, None)
        for volume in pod["spec"]["volumes"]:
            if "model" in volume.get("csi", {}).get("volumeAttributes", {}):
                volume["csi"]["volumeAttributes"]["model"] = model
        return pod

    def lend(self, pod: Object) -> None:
        """Have in the pod what this test runs with, cachectl too."""
        self._lend(pod["spec"])

    def sh(self, pod: str, script: str, space: str = SERVING, check: bool = True) -> str:
        """Run it in a pod's container by the API server and kubelet; what it wrote, to either."""
        done = self.kubernetes.kubectl("-n", space, "exec", pod, "--", "sh", "-c", script, check=check)
        return done.stdout + done.stderr

    def cachectl(self, pod: str, *arguments: str) -> str:
        """As an operator, in the daemon's pod."""
        line = ["exec", pod, "-c", "cached", "--", str(_BIN / "cachectl"), *arguments]
        return self.kubernetes.kubectl("-n", SPACE, *line).stdout

    def delete(self, pod: str, space: str = SERVING, seconds: int = 50) -> None:
        """Returns once kubelet has taken all of it away; asserts that it does in time."""
        self.kubernetes.kubectl(
            "-n", space, "delete", "pod", pod, "--grace-period=2", f"--timeout={seconds}s"
        )

    def pod(self, name: str, space: str = SERVING) -> Object:
        return self.kubernetes.get("-n", space, "pod", name)

    def logs(self, pod: str, space: str = SERVING) -> str:
        line = ["-n", space, "logs", pod, "--all-containers"]
        done = self.kubernetes.kubectl(*line, check=False)
        return done.stdout[-4000:] + done.stderr

    def events(self, pod: str, space: str = SERVING) -> str:
        """What kubelet said of it."""
        found = self.kubernetes.get("-n", space, "events", f"--field-selector=involvedObject.name={pod}")
        return "\n".join(f"{each['reason']}: {each['message']}" for each in found["items"])

    def until_ready(self, name: str, space: str = SERVING, seconds: float = 60) -> None:
        def ready() -> bool:
            conditions = self.pod(name, space)["status"].get("conditions", [])
            return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

        self.until(ready, lambda: f"{self.logs(name, space)}\n{self.events(name, space)}", seconds)

    def until(self, true: Callable[[], object], told: Callable[[], str] = str, seconds: float = 60) -> None:
        """told: what to say when it does not come true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, told() or self.kubelet.log[-4000:]
            time.sleep(0.2)

    @property
    def node(self) -> Object:
        return self.kubernetes.get("node", NODE)

    def mounts(self) -> dict[str, set[str]]:
        """Where the driver's volumes are mounted on the node, and with what options."""
        lines = [line.split() for line in self.kubelet.run("cat", "/proc/1/mounts").splitlines()]
        return {line[1]: set(line[3].split(",")) for line in lines if "kubernetes.io~csi" in line[1]}

    def _admit(self, space: str) -> None:
        """What controllers put into every namespace."""
        where = {"namespace": space}
        root = {"ca.crt": self.kubernetes.ca.read_text()}
        self.kubernetes.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}},
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", **where}},
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "kube-root-ca.crt", **where},
                    "data": root,
                },
            ]
        )

    def _lend(self, spec: Object) -> None:
        names = {f"lent-{i}": place for i, place in enumerate([self._models, *_lent()])}
        for name, place in names.items():
            spec["volumes"].append({"name": name, "hostPath": {"path": str(place)}})
            for each in [*spec.get("initContainers", []), *spec["containers"]]:
                each["volumeMounts"].append({"name": name, "mountPath": str(place), "readOnly": True})


def _lent() -> list[Path]:
    """Directories with the programs of the tests and all that they load, none within another."""
    wanted = [Path("/usr"), Path("/lib"), Path("/lib64"), Path(sys.base_prefix), _REPOSITORY]
    found = [each for each in dict.fromkeys(wanted) if each.exists()]
    return [
        each for each in found if not any(each != other and each.is_relative_to(other) for other in found)
    ]


@contextmanager
def cluster(home: Path, *, taints: Sequence[str]) -> Iterator[Cluster]:
    """One that nothing outlives. taints: keys of those with which its node joins."""
    with ExitStack() as stack:
        network = Namespace()
        stack.callback(network.close)
        network.run("ip", "link", "set", "lo", "up")
        network.run("ip", "address", "add", f"{_ADDRESS}/32", "dev", "lo")
        images = _images(
            stack.enter_context(DockerRegistry(home / "registry", command=network.command)), network
        )
        (home / "kubernetes").mkdir()
        kubernetes = stack.enter_context(
            Kubernetes(
                home / "kubernetes",
                address=_ADDRESS,
                command=network.command,
                accounts=True,
                tokens=[(_TOKEN, f"system:node:{NODE}", "system:nodes")],
            )
        )
        rule = f"ip daddr {_API} tcp dport 443 dnat to {_ADDRESS}:{kubernetes.port}"
        chain = "type nat hook prerouting priority dstnat;"
        network.run("nft", "-f", "-", told=f"table ip services {{ chain in {{ {chain} {rule}; }}; }}")
        under = stack.enter_context(cgroup())
        runtime = stack.enter_context(
            Containerd(home / "containerd", command=network.command, sandbox_image=images["pause"])
        )
        (home / "kubelet").mkdir()
        kubelet = stack.enter_context(
            Kubelet(
                NODE,
                home / "kubelet",
                kubernetes,
                runtime,
                address=_ADDRESS,
                token=_TOKEN,
                cgroup=under,
                labels={"cached.dev/node": "true"},
                taints=taints,
            )
        )
        yield Cluster(kubernetes, kubelet, images, home)


def _images(there: DockerRegistry, network: Namespace) -> dict[str, str]:
    """Names of all that run here, by what they are for."""
    forever = ("/bin/busybox", "sleep", "2147483647")
    made: dict[str, Image] = {
        "pause": runnable(command=forever),
        "pod": runnable(),
        "daemon": image([busybox_layer()], command=[str(_BIN / "cached")]),
    }
    for name, pushed in made.items():
        network.call(partial(push, there.endpoint, name, "1", pushed))
    return {name: f"{there.host}/{name}:1" for name in made}
