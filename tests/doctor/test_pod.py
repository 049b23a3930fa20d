"""The doctor in a pod: another mount namespace, another user, nothing but what the pod was given."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.patient import Report, examine, model
from tests.publish.playground import Playground
from tests.system.daemon import Daemon

REPOSITORY = Path(__file__).parents[2]
# A user namespace of its own, below a user who may do nothing.
POD = (
    "setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --bounding-set=-all"
    " unshare --user --map-user=1000 --map-group=1000"
)


def _ways(place: Path) -> str:
    """Lines by which the user of a pod gets to this checkout and to its Python, wherever they lie."""
    lines = []
    for number, wanted in enumerate({REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}):
        closed = [above for above in wanted.parents if not above.stat().st_mode & 0o001]
        if closed:
            kept, top = place / f"kept-{number}", closed[-1]
            lines += [
                f"mkdir -p {kept}",
                f"mount --bind {wanted} {kept}",
                f"mount -t tmpfs -o mode=755 x {top}",
            ]
            lines += [f"mkdir -p {wanted}", f"mount --bind {kept} {wanted}"]
    return "; ".join(lines)


class Node:
    """A daemon whose directories lie below one that everybody may enter."""

    def __init__(self, place: Path, home: Path) -> None:
        self.place = place
        self.home = home
        self.daemon = Daemon(
            home / "node",
            models={"org/tiny": {"source": model(home), "revision": "v1"}},
            settings={
                "root": str(place / "cache"),
                "publish": {"mode": "bind", "directory": str(place / "mounts")},
                "sockets": {"directory": str(place / "run"), "pods_mode": "0666"},
            },
        )
        shutil.rmtree(self.daemon.sockets)
        self.daemon.sockets = place / "run"

    def pod(self, mounts: str, *arguments: str, **variables: str) -> Report:
        """The doctor's report from a pod that has these mounts, as a script makes them."""
        script = f"""
        set -e; HERE={self.place}; mkdir -p $HERE/pod
        bind() {{ mount --bind "$1" "$2"; mount --make-"$3" "$2"; mount -o remount,bind,"$4" "$2"; }}
        {mounts}
        {_ways(self.place)}
        mount -t tmpfs hidden $HERE/cache; mount -t tmpfs hidden $HERE/run/operator
        exec {POD} "$@"
        """
        environment = {"CACHED_ADDRESS": f"{self.place}/run/pods/cached.sock", "HOME": "/tmp"} | variables
        within = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"]
        return examine(None, *arguments, within=within, environment=environment)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    place = Path(tempfile.mkdtemp(prefix="cached-"))
    try:
        with Playground(place):
            node = Node(place, tmp_path_factory.mktemp("node"))
            with node.daemon as daemon:
                daemon.cachectl("warm", "org/tiny", "org/tiny?view=hub")
                yield node
    finally:
        shutil.rmtree(place)


SOCKET = "bind $HERE/run/pods $HERE/run/pods slave ro"
MODELS = "bind $HERE/mounts $HERE/mounts slave ro"


def test_a_pod_that_has_all_it_needs(node: Node) -> None:
    report = node.pod(f"{SOCKET}; {MODELS}", "--model", "org/tiny")
    assert (report.view, report.code, report.bad) == ("pod", 0, [])
    assert dict(report.levels) == {"socket": "ok", "models": "ok", "hub": "skipped"}
    directory, held = report.findings["models"]
    assert directory.message == f"models appear at {node.place}/mounts, read-only"
    assert held.message.startswith(f"org/tiny is seen at {node.place}/mounts/")
    assert node.daemon.operator().status().lease_count == 0


def test_a_pod_that_does_not_see_what_is_mounted_later(node: Node) -> None:
    report = node.pod(f"{SOCKET}; bind $HERE/mounts $HERE/mounts private rw", "--model", "org/tiny")
    writable, later, unseen = (message for _, message in report.bad)
    assert writable.startswith(f"{node.place}/mounts is mounted writable")
    assert later == f"models that come after the pod has started do not appear in {node.place}/mounts"
    assert unseen.startswith(f"the model is at {node.place}/mounts/")


def test_a_pod_that_mounts_the_socket_itself(node: Node) -> None:
    file = "run/pods/cached.sock"
    report = node.pod(f"bind $HERE/{file} $HERE/{file} slave ro; {MODELS}")
    assert "is mounted itself: after the daemon's next restart nobody will be behind it" in report.said(
        "socket"
    )


def test_a_pod_without_any_of_it(node: Node) -> None:
    report = node.pod("mount -t tmpfs hidden $HERE/run/pods; mount -t tmpfs hidden $HERE/mounts")
    assert f"there is no socket at {node.place}/run/pods/cached.sock" in report.said("socket")
    assert report.skipped("models").startswith("no models are mounted here")


def test_a_pod_whose_user_may_not(node: Node) -> None:
    socket, mounts = node.place / "run/pods/cached.sock", node.place / "mounts"
    socket.chmod(0o600)
    mounts.chmod(0o700)
    try:
        report = node.pod(f"{SOCKET}; {MODELS}")
    finally:
        socket.chmod(0o666)
        mounts.chmod(0o755)
    denied, unreadable = (message for _, message in report.bad)
    assert denied == f"the socket {socket} may not be opened by this user"
    assert unreadable == f"user 1000 may not read {mounts}"


def test_a_volume_that_is_laid_out_as_the_hubs_cache(node: Node) -> None:
    (hub,) = (node.place / "cache/trees").glob("*/models--org--tiny")
    volume = f"bind {shlex.quote(str(hub.parent))} $HERE/pod slave ro"
    cache = {"HF_HUB_CACHE": f"{node.place}/pod", "HF_HUB_OFFLINE": "1"}
    good = node.pod(f"{SOCKET}; {volume}", HF_HOME="/tmp/hf", **cache)
    assert good.bad == []
    assert good.levels["hub"] == "ok"
    assert good.findings["models"][0].message == f"a model is at {node.place}/pod, read-only"
    bad = node.pod(f"{SOCKET}; {volume}", HF_HOME=f"{node.place}/pod")
    looks, asks, locks = (message for _, message in bad.bad)
    assert f"looks into {node.place}/pod/hub, but the model is laid out at {node.place}/pod" in looks
    assert "the hub itself is asked" in asks
    assert f"{node.place}/pod cannot be written to" in locks
