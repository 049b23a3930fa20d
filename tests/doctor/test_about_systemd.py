"""What is said of the unit, by what systemctl shows of it."""

from __future__ import annotations

import pytest

from cached.cli.doctor.node.systemd import judge
from tests.doctor.found import bad, only

WELL = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "WatchdogUSec": "30s",
    "NeedDaemonReload": "no",
    "ProtectSystem": "no",
    "PrivateTmp": "no",
    "ReadOnlyPaths": "",
    "ProtectProc": "default",
}
INIT = WELL | {"SubState": "exited", "WatchdogUSec": "0", "NRestarts": "0"}
NONE = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "Result": "success"} | {
    "UnitFileState": "",
    "NRestarts": "0",
    "WatchdogUSec": "infinity",
}


@pytest.mark.parametrize("init", [INIT, NONE])
def test_a_unit_that_is_well(init: dict[str, str]) -> None:
    (finding,) = judge(WELL, init, mounts=True)
    assert (finding.level, finding.message) == ("ok", "cached.service is running and enabled")


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, "problem", "(exit-code)"),
        ({"ActiveState": "inactive", "SubState": "dead"}, "problem", "cached.service is inactive"),
        ({"LoadState": "bad-setting"}, "problem", "systemd cannot use cached.service: bad-setting"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "9", "Result": "watchdog"},
            "problem", "was restarted 9 times (watchdog)",
        ),
        ({"NRestarts": "3"}, "warning", "was restarted 3 times"),
        ({"UnitFileState": "disabled"}, "warning", "is disabled: it does not start at the next boot"),
        ({"WatchdogUSec": "infinity"}, "warning", "WatchdogSec= is not set"),
        ({"WatchdogUSec": "0"}, "warning", "WatchdogSec= is not set"),
        ({"PrivateTmp": "yes", "ProtectSystem": "strict"}, "problem", "ProtectSystem=strict, PrivateTmp=yes"),
        ({"ReadOnlyPaths": "/etc"}, "problem", "ReadOnlyPaths=/etc gives it a mount namespace"),
        ({"NeedDaemonReload": "yes"}, "warning", "systemd has not read them"),
    ],
)  # fmt: skip
def test_a_unit_that_is_not(change: dict[str, str], level: str, said: str) -> None:
    found = only(judge(WELL | change, NONE, mounts=True))
    assert found[0] == level
    assert said in found[1]


def test_a_namespace_of_its_own_harms_only_a_daemon_that_mounts() -> None:
    assert bad(judge(WELL | {"PrivateTmp": "yes"}, NONE, mounts=False)) == []


def test_node_init_that_failed() -> None:
    failed = INIT | {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}
    level, message = only(judge(WELL, failed, mounts=True))
    assert (level, message) == ("problem", "cached-node-init.service has failed (exit-code)")
