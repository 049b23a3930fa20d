"""The units as systemd-analyze sees them, and what they promise to each other. Nothing is booted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cached.config.settings import Settings
from tests.systemd.machine import UNITS

SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
# The options of systemd.exec(5) that give a service a mount namespace of its own.
NAMESPACES = re.compile(
    r"Private\w+|Protect(System|Home|Proc|ControlGroups|Hostname|Kernel\w+)|ProcSubset|\w+Paths"
    r"|TemporaryFileSystem|Root\w+|Mount\w+|Extension\w+|DynamicUser|LogNamespace|\w+Credential\w*"
)


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing: it belongs to systemd")


def version() -> int:
    need("systemctl")
    told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    return int(told.split()[1])


def options(name: str) -> list[tuple[str, str]]:
    """All `Name=value` of a unit or a drop-in."""
    lines = (UNITS / name).read_text().splitlines()
    parted = [line.partition("=") for line in lines if line[:1] not in "#["]
    return [(key, value) for key, _, value in parted if key]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with all their drop-ins, and programs that exist: they are looked for."""
    for file in UNITS.rglob("*"):
        if file.is_file() and (version() >= 254 or file.name != "10-back-off.conf"):
            copy = tmp_path / file.relative_to(UNITS)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(re.sub(r"/opt/cached/bin/\w+", "/bin/true", file.read_text()))
    (tmp_path / "kubelet.service").write_text("[Service]\nExecStart=/bin/true\n")
    return tmp_path


def analyze(directory: Path, unit: str, *arguments: str) -> tuple[int, str]:
    """The exit code of systemd-analyze, and the last line of what it said."""
    need("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", *arguments, directory / unit],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{directory}:"},
    )
    return done.returncode, "".join((done.stdout + done.stderr).splitlines()[-1:])


def exposed(directory: Path, unit: str, tenths: int) -> tuple[int, str]:
    """Whether the unit's exposure is at most so many tenths: 0 or 1, and what it is."""
    return analyze(directory, unit, "security", "--offline=true", "--no-pager", f"--threshold={tenths}")


@pytest.mark.parametrize("unit", [*SERVICES, "kubelet.service"])
def test_systemd_finds_nothing_wrong(installed: Path, unit: str) -> None:
    assert analyze(installed, unit, "verify", "--recursive-errors=yes", "--man=no") == (0, "")


@pytest.mark.parametrize(
    ("unit", "tenths"),
    [("cached.service", 34), ("cached-node-init.service", 79), ("cached-warm.service", 67)],
)
def test_services_are_no_more_exposed_than_they_need_to_be(installed: Path, unit: str, tenths: int) -> None:
    """What is left of cached.service's is mostly mount namespaces, which it may not have, and the network."""
    (installed / "cached.service.d/20-privileges.conf").unlink()
    code, said = exposed(installed, unit, tenths)
    assert code == 0, said


def test_with_the_privileges_to_mount_it_is_a_little_more(installed: Path) -> None:
    code, said = exposed(installed, "cached.service", 40)
    assert code == 0, said
    assert exposed(installed, "cached.service", 33)[0] != 0, "the drop-in was not looked at"


@pytest.mark.parametrize(
    "name", ["cached.service", "cached.service.d/20-privileges.conf", "cached-node-init.service"]
)
def test_no_option_cuts_mounts_off_from_the_host(name: str) -> None:
    assert [key for key, _ in options(name) if NAMESPACES.fullmatch(key)] == []


def seconds(value: str) -> float:
    assert value.isdigit(), "seconds without a unit, to be compared"
    return float(value)


def test_a_drain_fits_into_a_stop() -> None:
    """The daemon asks for its drain and 30 s; without its asking, a stop must have as much by itself."""
    its = dict(options("cached.service"))
    assert seconds(its["TimeoutStopSec"]) == Settings().drain_timeout + 30


def test_nobody_is_activating_for_five_minutes() -> None:
    """From then on Gardener calls a node's units unhealthy; and kubelet waits for both."""
    both = ("cached-node-init.service", "cached.service")
    assert sum(seconds(dict(options(name))["TimeoutStartSec"]) for name in both) < 300


def test_kubelet_never_needs_cached() -> None:
    assert options("kubelet.service.d/10-cached.conf") == [
        ("Wants", "cached-node-init.service"),
        ("After", "cached-node-init.service cached.service"),
    ]
