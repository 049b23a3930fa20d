"""What is said of a pod's view: its socket, the models in it, and what loaders want."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cached.cli.doctor.door import Door
from cached.cli.doctor.pod import hub, models, socket
from cached.cli.doctor.pod.models import Place
from cached.cli.doctor.scene import View, view_of
from cached.client.errors import Unreachable
from cached.core.errors import Denied
from cached.kit.mountinfo import Mount
from tests.doctor.found import bad, only

SOCKET = Path("/run/cached/pods/cached.sock")
HEX = "ab" * 32


@pytest.mark.parametrize(
    ("said", "configured", "operators", "pods", "account", "view"),
    [
        ("", True, False, True, True, View.NODE),
        ("", False, True, True, True, View.NODE),  # kubectl exec into the daemon's own pod
        ("", False, False, True, False, View.POD),
        ("", False, False, False, True, View.POD),
        ("", False, False, False, False, View.NODE),  # a node on which nothing was ever started
        ("/run/cached/operator/cached.sock", False, False, False, True, View.NODE),
        ("/run/cached/pods/cached.sock", False, True, True, False, View.POD),
        ("/cached/cached.sock", False, False, False, True, View.POD),
        ("/cached/cached.sock", True, False, False, False, View.NODE),
    ],
)
def test_from_where_it_is_looked(
    said: str, configured: bool, operators: bool, pods: bool, account: bool, view: View
) -> None:
    found = view_of(said, configured=configured, operators=operators, pods=pods, account=account)
    assert found is view


def at(point: str, root: str = "/", *, options: str = "ro", receives: bool = True) -> Mount:
    return Mount(1, root, point, frozenset({options}), shared=False, receives=receives)


DIRECTORY = at("/run/cached/pods", "/cached/pods")


def test_a_socket_that_is_well() -> None:
    (finding,) = socket.judge(Door(SOCKET, 0o666, True), [at("/"), DIRECTORY], "1.0")
    assert (finding.level, finding.message) == ("ok", f"{SOCKET} serves; this client is 1.0")


@pytest.mark.parametrize(
    ("door", "mounts", "said"),
    [
        (Door(SOCKET, 0o666, True), [at(str(SOCKET))], "is mounted itself: after the daemon's next restart"),
        (Door(SOCKET), [at("/")], "nothing is mounted there"),
        (Door(SOCKET), [at("/"), DIRECTORY], "though /run/cached/pods is mounted"),
        (Door(SOCKET, 0o666, False), [DIRECTORY], "does not serve"),
        (Door(SOCKET, 0o600, None, Denied("not by you", hint="be root")), [DIRECTORY], "not by you"),
        (Door(SOCKET, 0o666, None, Unreachable("nobody there", hint="start")), [DIRECTORY], "nobody there"),
    ],
)  # fmt: skip
def test_a_socket_that_is_not(door: Door, mounts: list[Mount], said: str) -> None:
    level, message = only(socket.judge(door, mounts, "1.0"))
    assert (level, said in message) == ("problem", True)


ONE = Place(at("/model", f"/var/lib/cached/trees/{HEX}", receives=False), many=False, readable=True)
MANY = Place(at("/run/cached/mounts", "/cached/mounts"), many=True, readable=True)


def test_models_that_are_seen_as_they_should_be() -> None:
    assert bad(models.judge([ONE, MANY])) == []
    assert [each.message for each in models.judge([ONE, MANY])] == [
        "a model is at /model, read-only",
        "models appear at /run/cached/mounts, read-only",
    ]


@pytest.mark.parametrize(
    ("place", "level", "said"),
    [
        (replace(ONE, mount=at("/model", options="rw")), "problem", "/model is mounted writable"),
        (replace(MANY, mount=at("/run/cached/mounts", options="rw")), "warning", "is mounted writable"),
        (
            replace(MANY, mount=at("/run/cached/mounts", receives=False)),
            "problem", "models that come after the pod has started do not appear",
        ),
        (replace(ONE, readable=False), "problem", "may not read /model"),
    ],
)  # fmt: skip
def test_models_that_are_not(place: Place, level: str, said: str) -> None:
    found = only(models.judge([place]))
    assert found[0] == level
    assert said in found[1]


def test_mounts_of_models_are_known_by_what_they_show() -> None:
    mounts = [
        at("/", "/"),
        at("/model", f"/var/lib/cached/trees/{HEX}"),
        at("/gone", f"/trees/{HEX}//deleted"),
        at("/run/cached/mounts", "/cached/mounts"),
        at(f"/run/cached/mounts/{HEX}", f"/cache/trees/{HEX}"),
        at("/var/lib/cached/trees", "/lib/cached/trees"),
        at("/woods", "/home/trees"),
        at("/trees/short", "/trees/abcd"),
    ]
    found = [(place.mount.point, place.many) for place in models.places_of(mounts)]
    assert found == [
        ("/model", False),
        ("/gone", False),
        ("/run/cached/mounts", True),
        ("/var/lib/cached/trees", True),
    ]


CACHE = Path("/models/hub")
HOME = Path("/scratch/hf")
GOOD = {"HF_HUB_CACHE": str(CACHE), "HF_HUB_OFFLINE": "1", "HF_HOME": str(HOME)}


@pytest.mark.parametrize(
    ("environ", "writable", "found"),
    [
        (GOOD, True, []),
        (GOOD | {"HF_HUB_OFFLINE": "TRUE"}, True, []),
        (GOOD | {"HF_HUB_OFFLINE": "0"}, True, [("warning", "the hub itself is asked")]),
        (GOOD, False, [("problem", "/scratch/hf cannot be written to")]),
        (
            {"HF_HUB_OFFLINE": "1"}, True,
            [("problem", "looks into /scratch/hf/hub, but the model is laid out at /models/hub")],
        ),
    ],
)  # fmt: skip
def test_loaders_of_the_hub(environ: dict[str, str], writable: bool, found: list[tuple[str, str]]) -> None:
    told = bad(hub.judge([CACHE], environ, HOME, writable=writable))
    assert [level for level, _ in told] == [level for level, _ in found]
    assert all(said in message for (_, said), (_, message) in zip(found, told, strict=True))


def test_the_librarys_own_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert hub.home_of({"HF_HOME": "~/hf"}) == Path("/home/me/hf")
    assert hub.home_of({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface")
    assert hub.home_of({}) == Path("/home/me/.cache/huggingface")
