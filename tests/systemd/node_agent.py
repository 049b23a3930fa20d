"""What gardener-node-agent does on a node with an OperatingSystemConfig, in its order.

Learned from its reconciler, of August 2026: inline files, registries, files from images, units, a reload of
systemd, then all commands at the same time; files that are gone at last. Only what has changed is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.systemd.machine import Machine

_PATIENCE = 10  # seconds for a restart; then it goes on, and the restart does too


class NodeAgent:
    """Applies one config after the other. images: the content of the file that each image would hold."""

    def __init__(self, machine: Machine, images: Mapping[str, bytes]) -> None:
        self._machine = machine
        self._images = images
        self._files: dict[str, Any] = {}
        self._units: dict[str, Any] = {}

    def apply(self, spec: Mapping[str, Any]) -> list[str]:
        """Bring the node from the last config to this one; returns the units that were restarted."""
        files = {file["path"]: file for file in spec.get("files", ())}
        units = {unit["name"]: unit for unit in spec.get("units", ())}
        changed_files = [path for path, file in files.items() if self._files.get(path) != file]
        changed = [
            unit
            for name, unit in units.items()
            if self._units.get(name) != unit or set(unit.get("filePaths", ())) & set(changed_files)
        ]
        for path in changed_files:
            if "inline" in files[path]["content"]:
                self._put(files[path], files[path]["content"]["inline"]["data"].encode())
        for registry in spec.get("criConfig", {}).get("containerd", {}).get("registries", ()):
            self._hosts_toml(registry)
        for path in changed_files:
            if "imageRef" in files[path]["content"]:
                self._put(files[path], self._images[files[path]["content"]["imageRef"]["image"]])
        for unit in changed:
            self._write(unit)
        for name in self._units.keys() - units.keys():
            self._delete(self._units[name])
        self._machine.run("systemctl", "daemon-reload")
        names = [unit["name"] for unit in changed]
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._restart, names))
        for path in self._files.keys() - files.keys():
            self._machine.run("rm", "--force", path)
        self._files, self._units = files, units
        return names

    def unhealthy(self) -> list[str]:
        """What the node's condition SystemdUnitsReady would complain about: of each unit, what it is."""
        complaints = []
        for name in self._units:
            active, sub, kind = self._machine.show(name, "ActiveState", "SubState", "Type")
            if active != "active" and not (active == "inactive" and kind == "oneshot"):
                complaints.append(f"{name}: {active} ({sub})")
        return complaints

    def _put(self, file: Mapping[str, Any], data: bytes) -> None:
        path = self._machine.root / file["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(file.get("permissions", 0o600))

    def _hosts_toml(self, registry: Mapping[str, Any]) -> None:
        assert not registry.get("readinessProbe"), "it would wait for the mirror"
        text = f'server = "{registry["server"]}"\n'
        for host in registry["hosts"]:
            text += f'\n[host."{host["url"]}"]\n  capabilities = {host["capabilities"]}\n'
        self._machine.write(f"/etc/containerd/certs.d/{registry['upstream']}/hosts.toml", text)

    def _write(self, unit: Mapping[str, Any]) -> None:
        place = f"/etc/systemd/system/{unit['name']}"
        if "content" in unit:
            self._machine.write(place, unit["content"], 0o600)
        if not unit.get("dropIns"):
            self._machine.run("rm", "--recursive", "--force", f"{place}.d")
        gone = {d["name"] for d in self._units.get(unit["name"], {}).get("dropIns", ())}
        for drop_in in unit.get("dropIns", ()):
            self._machine.write(f"{place}.d/{drop_in['name']}", drop_in["content"], 0o600)
            gone.discard(drop_in["name"])
        for name in gone:
            self._machine.run("rm", "--force", f"{place}.d/{name}")
        self._machine.run(
            "systemctl", "--quiet", "enable" if unit.get("enable", True) else "disable", unit["name"]
        )

    def _delete(self, unit: Mapping[str, Any]) -> None:
        name = unit["name"]
        if "content" in unit:
            self._machine.run("systemctl", "--quiet", "disable", name)
            self._machine.run("systemctl", "stop", name)
            self._machine.run("rm", f"/etc/systemd/system/{name}")
        self._machine.run("rm", "--recursive", "--force", f"/etc/systemd/system/{name}.d")

    def _restart(self, name: str) -> None:
        done = self._machine.run(
            "sh", "-c", f"timeout {_PATIENCE} systemctl restart {name}; echo $?", code=None
        )
        assert done.split()[-1] in ("0", "124"), f"the restart of {name} failed"


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What an extension's webhook makes of both: units by their name, files by their path."""
    units: dict[str, Any] = {unit["name"]: dict(unit) for unit in base["units"]}
    for unit in patch["units"]:
        there = units.setdefault(unit["name"], {})
        drop_ins = [*there.get("dropIns", ()), *unit.get("dropIns", ())]
        units[unit["name"]] = {**there, **unit, "dropIns": drop_ins}
    files = {file["path"]: file for file in (*base.get("files", ()), *patch["files"])}
    return {
        **base,
        "units": [*units.values()],
        "files": [*files.values()],
        "criConfig": patch.get("criConfig", {}),
    }
