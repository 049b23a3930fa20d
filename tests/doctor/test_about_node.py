"""What is said of settings, sockets, the daemon's own words, limits and mounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cached._proto.v1.operator_pb2 import ScrubStatus, StatusResponse
from cached.cli.doctor.door import Door
from cached.cli.doctor.node import daemon, limits, mounts, settings, sockets
from cached.cli.doctor.node.limits import Use
from cached.cli.doctor.node.mounts import Place
from cached.cli.doctor.scene import Scene, View
from cached.client.errors import Unreachable
from cached.config.settings import Settings
from cached.core.errors import Denied
from cached.kit.mountinfo import Mount
from tests.doctor.found import bad, only

OPERATORS, PODS = (Path(f"/run/cached/{name}/cached.sock") for name in ("operator", "pods"))
SCENE = Scene(
    View.NODE, OPERATORS, config=Path("/etc/cached/cached.yaml"), settings=Settings(root=Path("/data"))
)
STATUS = StatusResponse(version="1.0", root="/data", start_time=Timestamp(seconds=1000))


@pytest.mark.parametrize(
    ("status", "written", "said"),
    [
        (STATUS, 900.0, ""),
        (STATUS, None, ""),
        (None, 2000.0, ""),
        (STATUS, 1100.0, "was changed after the daemon started"),
        (StatusResponse(root="/other"), 900.0, "its root is /other, not /data"),
    ],
)
def test_settings_are_those_that_the_daemon_runs_with(
    status: StatusResponse | None, written: float | None, said: str
) -> None:
    found = bad(settings.judge(SCENE, written, status))
    assert [(level, said in message) for level, message in found] == ([("warning", True)] if said else [])


def test_settings_are_told_with_what_they_come_from() -> None:
    def message(scene: Scene) -> str:
        (finding,) = settings.judge(scene, None, None)
        return finding.message

    assert message(SCENE) == "/etc/cached/cached.yaml"
    assert (
        message(replace(SCENE, config=None, variables=("A",))) == "no file and 1 variable of its environment"
    )
    assert message(replace(SCENE, variables=("A", "B"))).endswith(" and 2 variables of its environment")


def door(path: Path, **more: object) -> Door:
    return replace(Door(path, 0o600, True), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operators", "pods", "level", "said"),
    [
        (Door(OPERATORS), Door(PODS), "problem", "does not run: no socket at /run/cached/operator"),
        (door(OPERATORS), Door(PODS), "problem", "no socket at /run/cached/pods"),
        (door(OPERATORS, serving=False), door(PODS), "problem", "does not serve"),
        (door(OPERATORS), door(PODS, mode=0o777), "warning", "has mode 0777, the settings say 0600"),
        (
            door(OPERATORS, serving=None, fault=Unreachable("nobody listens", hint="start it")), door(PODS),
            "problem", "nobody listens",
        ),
        (
            door(OPERATORS, serving=None, fault=Denied("may not be opened", hint="be root")), door(PODS),
            "problem", "may not be opened",
        ),
    ],
)  # fmt: skip
def test_sockets_that_are_not_as_they_should_be(operators: Door, pods: Door, level: str, said: str) -> None:
    found = only(sockets.judge(operators, pods, operators_mode=0o600, pods_mode=0o600, entrance=True))
    assert found[0] == level
    assert said in found[1]


def test_a_socket_for_everybody_needs_a_way_to_it() -> None:
    open_ = door(PODS, mode=0o666)
    for entrance in (True, False):
        found = sockets.judge(
            door(OPERATORS), open_, operators_mode=0o600, pods_mode=0o666, entrance=entrance
        )
        assert bool(bad(found)) is not entrance
    assert (
        bad(sockets.judge(door(OPERATORS), open_, operators_mode=None, pods_mode=None, entrance=False)) == []
    )


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (STATUS, []),
        (StatusResponse(version="0.9"), [("warning", "the daemon is 0.9, this cachectl 1.0")]),
        (
            StatusResponse(version="1.0", draining=True),
            [("warning", "it is stopping, and takes no new work")],
        ),
        (
            StatusResponse(version="1.0", warnings=["leases are not recorded: disk full"]),
            [("warning", "leases are not recorded: disk full")],
        ),
        (
            StatusResponse(
                version="1.0",
                scrub=ScrubStatus(corrupt_count=2),
                warnings=["the scrub found 2 corrupt blobs: check this node's disk"],
            ),
            [("problem", "2 blobs found corrupt on this disk since the daemon started")],
        ),
    ],
)
def test_what_the_daemon_says_of_itself(status: StatusResponse, found: list[tuple[str, str]]) -> None:
    assert bad(daemon.judge(status, "1.0")) == found


@pytest.mark.parametrize(
    ("files", "watches", "instances", "level", "said"),
    [
        (Use(90, 100), Use(0, 9999), Use(0, 128), "problem", "has 90 files open, of 100"),
        (Use(50, 1024), Use(0, 9999), Use(0, 128), "warning", "may open 1024 files only"),
        (Use(50, 4096), Use(9000, 9999), Use(0, 128), "warning", "999 of 9999 inotify watches left"),
        (Use(50, 4096), Use(0, 9999), Use(125, 128), "warning", "3 of 128 inotify instances left"),
    ],
)
def test_limits(files: Use, watches: Use, instances: Use, level: str, said: str) -> None:
    found = only(limits.judge(files, watches, instances))
    assert found[0] == level
    assert said in found[1]


def test_limits_that_are_wide_enough() -> None:
    assert bad(limits.judge(Use(50, 1 << 30), Use(100, 8192), Use(3, 128))) == []


def at(point: str, *, group: str = "", options: str = "rw") -> Mount:
    return Mount(1, "/", point, frozenset({options}), shared=bool(group), group=group)


RUN = Place(Path("/run/cached/mounts"), reaches=True)
KUBELET = Place(Path("/var/lib/kubelet/pods"), reaches=False, alone=True)


@pytest.mark.parametrize(
    ("beneath", "reaches"),
    [
        (at("/run", group="7"), True),
        (at("/run", group="9"), False),  # shared, but with copies of its own namespace alone
        (at("/run"), False),
        (None, False),
    ],
)
def test_mounts_reach_whoever_shares_them(beneath: Mount | None, reaches: bool) -> None:
    assert mounts.reaches(beneath, [at("/"), at("/host/run", group="7")]) is reaches


def test_mounts_that_reach_the_pods() -> None:
    trees = [at("/run/cached/mounts/ab", options="ro")]
    assert bad(mounts.judge([RUN, KUBELET], trees, may_mount=True)) == []
    assert bad(mounts.judge([RUN], trees, may_mount=None)) == []


@pytest.mark.parametrize(
    ("place", "others", "may_mount", "said"),
    [
        (replace(RUN, reaches=False), [], True, "/run/cached/mounts is on no mount that is shared"),
        (replace(KUBELET, alone=False), [], True, "/var/lib/kubelet/pods is on no mount that is shared"),
        (RUN, [], False, "has no CAP_SYS_ADMIN"),
        (RUN, [at("/run/cached/mounts/ab")], True, "/run/cached/mounts/ab is mounted writable"),
    ],
)  # fmt: skip
def test_mounts_that_do_not(place: Place, others: list[Mount], may_mount: bool, said: str) -> None:
    level, message = only(mounts.judge([place], others, may_mount=may_mount))
    assert (level, said in message) == ("problem", True)


def test_what_is_mounted_deeper_or_elsewhere_is_not_ours() -> None:
    others = [at("/run/cached/mounts/ab/c"), at("/run/other")]
    assert bad(mounts.judge([RUN], others, may_mount=True)) == []
