"""A machine that systemd boots as its first process, in a container over this machine's own files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "systemd"
_PATIENCE = 60.0
# They would reach beyond the container, or are of no use in it.
_MASKED = (
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-binfmt.service",
    "systemd-timesyncd.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "getty.target",
    "timers.target",
    "remote-fs.target",
    "mdadm-shutdown.service",
)


class Machine:
    """Its files are those of this machine, with whatever it writes kept in memory and dropped at the end.

    `root` is its root directory, to prepare before `boot`. /opt/cached is this checkout's installation. Only
    `devices` are to be found in its /dev. A network of its own, with nothing in it.
    """

    def __init__(self, devices: Iterable[str] = ()) -> None:
        self._devices = list(devices)
        self._stack = ExitStack()
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        _need()
        with ExitStack() as stack:
            home = Path(tempfile.mkdtemp(prefix="machine-"))
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            _mount(stack, home, "-t", "tmpfs", "-o", "size=1g,mode=755", "tmpfs")
            upper, work, self.root = home / "upper", home / "work", home / "root"
            for directory in (upper, work, self.root):
                directory.mkdir()
            _mount(
                stack,
                self.root,
                "-t",
                "overlay",
                "-o",
                f"lowerdir=/,upperdir={upper},workdir={work}",
                "overlay",
            )
            self._log = stack.enter_context((home / "console.log").open("w+b"))
            self._furnish()
            stack.callback(self.power_off)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._leader:
            print(self.run("journalctl", "--no-pager", "--boot", code=None)[-12000:])
        self._stack.close()

    def _furnish(self) -> None:
        etc = self.root / "etc"
        for links in (etc / "systemd/system").glob("*.wants"):
            shutil.rmtree(links)
        for unit in _MASKED:
            (etc / "systemd/system" / unit).unlink(missing_ok=True)
            (etc / "systemd/system" / unit).symlink_to("/dev/null")
        self.write("/etc/fstab", "")
        self.write("/etc/machine-id", f"{os.urandom(16).hex()}\n")
        self.write("/etc/cached/environment", f"PYTHONPATH={REPOSITORY}\nPYTHONDONTWRITEBYTECODE=1\n")
        self._bound = []
        for place in {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}:
            for above in place.relative_to("/").parents:  # the daemon's user must get there
                inside = self.root / above
                inside.mkdir(exist_ok=True)
                inside.chmod(inside.stat().st_mode | 0o011)
            if place.stat().st_dev != Path("/").stat().st_dev:
                self._bound.append(f"--bind-ro={place}")
        (self.root / "opt/cached").mkdir(parents=True)
        (self.root / "opt/cached/bin").symlink_to(Path(sys.prefix) / "bin")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file into the machine, running or not."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def install(self, *units: str) -> None:
        """Put units and drop-ins of this repository into place, with what systemd is to make for them."""
        for name in units:
            self.write(f"/etc/systemd/system/{name}", (UNITS / name).read_text())
        for kind in ("sysusers.d", "tmpfiles.d"):
            self.write(f"/etc/{kind}/cached.conf", (UNITS / kind / "cached.conf").read_text())

    def enable(self, *units: str) -> None:
        """As `systemctl enable` does; the machine need not run."""
        subprocess.run(["systemctl", "--quiet", f"--root={self.root}", "enable", *units], check=True)

    def boot(self) -> str:
        """Start it, and wait until all that was to start has, or has failed; returns systemd's verdict."""
        name = self.root.parent.name.replace("_", "x")  # none may end with a hyphen
        devices = [f"--bind={device}" for device in self._devices]
        self._nspawn = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "systemd-nspawn", f"--directory={self.root}", "--boot"),
                *("--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"),
                *(f"--machine={name}", "--console=pipe", *devices, *self._bound),
            ],
            # udev works, and so do units of devices, only where /sys may be written to.
            env=os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            for child in psutil.Process(self._nspawn.pid).children():
                self._leader = child.pid
                if self._inside("systemctl", "is-system-running").stdout.strip() not in (b"", b"offline"):
                    return self.run("systemctl", "is-system-running", "--wait", code=None).strip()
            time.sleep(0.05)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace")
        pytest.skip(f"systemd-nspawn boots nothing here: {said[-2000:]}")

    def power_off(self) -> None:
        """At once, as when the power goes."""
        if self._nspawn is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self._leader or self._nspawn.pid, signal.SIGKILL)
        self._nspawn.wait(_PATIENCE)
        self._nspawn, self._leader = None, 0

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self._leader}", "--mount", "--pid", "--net", "--uts", "--ipc", "--"]

    def _inside(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self._enter, *command], capture_output=True, check=False, timeout=_PATIENCE)

    def start(self, *command: str) -> int:
        """Leave a program running in there; returns its id as the machine counts them."""
        script = f"{shlex.join(command)} >/dev/null 2>&1 & echo $!"
        return int(self.run("sh", "-c", script))

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a program in there as root; asserts its exit code, unless `code` is None."""
        done = self._inside(*command)
        said = done.stdout.decode(errors="replace")
        assert code in (None, done.returncode), (
            f"{command}: {done.returncode}\n{said}\n{done.stderr.decode()}"
        )
        return said

    def show(self, unit: str, *properties: str) -> list[str]:
        """Properties of a unit, as `systemctl show` tells them, in the order asked for."""
        told = self.run("systemctl", "show", f"--property={','.join(properties)}", unit)
        values = dict(line.split("=", 1) for line in told.splitlines())
        return [values[name] for name in properties]

    def state(self, unit: str) -> str:
        return self.show(unit, "ActiveState")[0]

    def cachectl(self, *arguments: str, code: int = 0) -> Any:
        """What cachectl prints as JSON."""
        environment = ("env", f"PYTHONPATH={REPOSITORY}")
        return json.loads(
            self.run(*environment, "/opt/cached/bin/cachectl", *arguments, "-o", "json", code=code)
        )


def _mount(stack: ExitStack, where: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, where], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no machine can be booted: {done.stderr.strip()}")
    stack.callback(lambda: subprocess.run(["umount", "--lazy", where], check=True))


def _need() -> None:
    if os.getuid() != 0:
        pytest.skip("booting systemd in a container needs root")
    if REPOSITORY.is_relative_to("/tmp"):
        pytest.skip("a machine has a /tmp of its own, and would not see this checkout in there")
    missing = [tool for tool in ("systemd-nspawn", "nsenter", "udevadm") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: make packages installs systemd-container, util-linux and udev")
