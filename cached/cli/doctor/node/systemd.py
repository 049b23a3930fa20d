"""How systemd sees the daemon, where it runs as a unit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

_UNIT: Final = "cached.service"
_INIT: Final = "cached-node-init.service"
_PATIENCE: Final = 4.0
# Each of these gives the unit a mount namespace of its own, from which nothing that it mounts comes out; and
# the values that do not.
_CUTTING: Final = {
    "ProtectSystem": ("no",),
    "ProtectHome": ("no",),
    "PrivateTmp": ("no",),
    "PrivateDevices": ("no",),
    "PrivateMounts": ("no",),
    "ProtectKernelTunables": ("no",),
    "ProtectKernelModules": ("no",),
    "ProtectKernelLogs": ("no",),
    "ProtectControlGroups": ("no",),
    "ProtectProc": ("default",),
    "ReadOnlyPaths": ("",),
    "InaccessiblePaths": ("",),
    "ReadWritePaths": ("",),
    "BindPaths": ("",),
    "BindReadOnlyPaths": ("",),
    "TemporaryFileSystem": ("",),
    "RootDirectory": ("",),
    "DynamicUser": ("no",),
}
_ASKED: Final = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "NRestarts",
    "WatchdogUSec",
)
_MANY_RESTARTS: Final = 3


def look(scene: Scene) -> Iterator[Finding]:
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        raise Skipped("systemd does not run here")
    unit = show(_UNIT, *_ASKED, "NeedDaemonReload", *_CUTTING)
    if unit.get("LoadState") == "not-found":
        raise Skipped(f"there is no unit {_UNIT}: the daemon runs as a pod, or by hand")
    settings = scene.settings
    mounts = settings is not None and (settings.publish.mode == "bind" or settings.csi.driver is not None)
    yield from judge(unit, show(_INIT, *_ASKED), mounts=mounts)


def judge(unit: Mapping[str, str], init: Mapping[str, str], *, mounts: bool) -> Iterator[Finding]:
    """What `systemctl show` tells of the daemon's unit and of node-init's. mounts: it mounts for pods."""
    found = [*_of_state(_UNIT, unit), *_of_state(_INIT, init)]
    if unit["ActiveState"] != "active" and not any(each.level == "problem" for each in found):
        found.append(Finding("problem", _UNIT, f"{_UNIT} is {unit['ActiveState']}", "systemctl start cached"))
    if unit["UnitFileState"] not in ("enabled", "enabled-runtime", "static", "generated", "linked"):
        message = f"{_UNIT} is {unit['UnitFileState']}: it does not start at the next boot"
        found.append(Finding("warning", _UNIT, message, "systemctl enable cached"))
    if unit["WatchdogUSec"] in ("0", "infinity"):
        message = "WatchdogSec= is not set: a daemon that hangs is not restarted"
        found.append(
            Finding("warning", _UNIT, message, "WatchdogSec=30 in the unit, as in systemd/cached.service")
        )
    cutting = [
        f"{name}={unit[name]}" for name, open_ in _CUTTING.items() if unit.get(name, open_[0]) not in open_
    ]
    if cutting and mounts:
        message = (
            f"{', '.join(cutting)} gives it a mount namespace of its own: pods do not see what it mounts"
        )
        found.append(Finding("problem", _UNIT, message, "take these out of the unit and its drop-ins"))
    if unit.get("NeedDaemonReload") == "yes":
        message = "the unit's files were changed, and systemd has not read them"
        found.append(Finding("warning", _UNIT, message, "systemctl daemon-reload, then restart cached"))
    yield from found or [Finding("ok", _UNIT, f"{_UNIT} is {unit['SubState']} and {unit['UnitFileState']}")]


def _of_state(name: str, unit: Mapping[str, str]) -> Iterator[Finding]:
    log = f"journalctl -u {name.removesuffix('.service')}"
    if unit["LoadState"] not in ("loaded", "not-found"):
        yield Finding(
            "problem", name, f"systemd cannot use {name}: {unit['LoadState']}", f"systemctl status {name}"
        )
    elif unit["ActiveState"] == "failed":
        yield Finding(
            "problem", name, f"{name} has failed ({unit['Result']})", f"{log}; then systemctl restart {name}"
        )
    elif unit["SubState"] == "auto-restart" or int(unit["NRestarts"] or 0) >= _MANY_RESTARTS:
        message = f"{name} was restarted {unit['NRestarts']} times ({unit['Result']})"
        yield Finding("problem" if unit["SubState"] == "auto-restart" else "warning", name, message, log)


def show(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit, as systemd has them. Raises OSError, and Skipped when it does not answer."""
    command = ["systemctl", "show", f"--property={','.join(properties)}", unit]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except subprocess.SubprocessError as error:
        raise Skipped(f"systemctl does not answer ({type(error).__name__})") from None
    return dict(line.split("=", 1) for line in ended.stdout.splitlines() if "=" in line)
