"""The patch for Gardener: its fields, its contents, its size."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cached.cli.main import cli

UNITS = Path(__file__).parents[2] / "systemd"
CATALOG = "models:\n  minilm: {source: 's3://models/minilm', warm_at_start: true}\n"
PLAIN = "root: /var/lib/cached\nsockets: {directory: /run/cached}\n"
MIRROR = "images: {mirror: '127.0.0.1:7402', upstreams: {docker.io: {}, ghcr.io: {}}}\n"

# The fields of extensions.gardener.cloud/v1alpha1 that a patch may set, with the JSON types that they have.
_TEXTS = [str]
_FIELDS: Mapping[str, Any] = {
    "apiVersion": str,
    "kind": str,
    "spec": {
        "purpose": str,
        "units": [
            {
                "name": str,
                "command": str,
                "enable": bool,
                "content": str,
                "dropIns": [{"name": str, "content": str}],
                "filePaths": _TEXTS,
            }
        ],
        "files": [
            {
                "path": str,
                "permissions": int,
                "content": {
                    "inline": {"encoding": str, "data": str},
                    "imageRef": {"image": str, "filePathInImage": str},
                },
            }
        ],
        "criConfig": {
            "name": str,
            "containerd": {
                "registries": [
                    {
                        "upstream": str,
                        "server": str,
                        "hosts": [{"url": str, "capabilities": _TEXTS, "caCerts": _TEXTS}],
                        "readinessProbe": bool,
                    }
                ]
            },
        },
    },
}
# Those that the CustomResourceDefinition demands of an entry, should there be one.
_DEMANDED = {
    "units": {"name"},
    "dropIns": {"name", "content"},
    "files": {"path", "content"},
    "inline": {"encoding", "data"},
    "imageRef": {"image", "filePathInImage"},
    "registries": {"upstream"},
    "hosts": {"url"},
    "criConfig": {"name"},
    "spec": {"purpose"},
}


def check(value: Any, allowed: Any, where: str = "") -> None:
    """Raise AssertionError, naming the field, for one that Gardener's API does not have or has otherwise."""
    if isinstance(allowed, list):
        assert isinstance(value, list), where
        for each in value:
            check(each, allowed[0], where)
    elif isinstance(allowed, dict):
        assert isinstance(value, dict), where
        assert value.keys() <= allowed.keys(), f"{where} has {value.keys() - allowed.keys()}"
        assert _DEMANDED.get(where, set()) <= value.keys(), f"{where} lacks {_DEMANDED[where] - value.keys()}"
        for key, each in value.items():
            check(each, allowed[key], key)
    else:
        assert type(value) is allowed, f"{where} is {value!r}"


def osc(directory: Path, settings: str, *args: str, catalog: str | None = None) -> Result:
    """`cachectl gardener osc`, of these files."""
    (directory / "cached.yaml").write_text(settings)
    given = ["--config", str(directory / "cached.yaml")]
    if catalog is not None:
        (directory / "catalog.yaml").write_text(catalog)
        given += ["--catalog", str(directory / "catalog.yaml")]
    return CliRunner().invoke(cli, ["gardener", "osc", *given, *args], prog_name="cachectl")


def spec(directory: Path, settings: str, *args: str, catalog: str | None = None) -> Any:
    result = osc(directory, settings, *args, "-o", "json", catalog=catalog)
    assert (result.exit_code, result.stderr) == (0, "")
    patch = json.loads(result.stdout)
    check(patch, _FIELDS)
    return patch["spec"]


def refusal(directory: Path, settings: str, *args: str, catalog: str | None = None) -> str:
    result = osc(directory, settings, *args, catalog=catalog)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def unit(spec: Any, name: str) -> Any:
    (found,) = (each for each in spec["units"] if each["name"] == name)
    return found


def drop_ins(spec: Any, name: str) -> dict[str, str]:
    return {each["name"]: each["content"] for each in unit(spec, name)["dropIns"]}


def files(spec: Any) -> dict[str, Any]:
    return {each["path"]: each["content"] for each in spec["files"]}


def test_units_are_those_of_the_repository(tmp_path: Path) -> None:
    made = spec(tmp_path, PLAIN)
    assert [each["name"] for each in made["units"]] == [
        "cached-node-init.service", "cached.service", "kubelet.service",
    ]  # fmt: skip
    for name in ("cached-node-init.service", "cached.service"):
        assert unit(made, name)["content"] == (UNITS / name).read_text()
        assert (unit(made, name)["enable"], unit(made, name)["command"]) == (True, "start")
    assert unit(made, "kubelet.service").keys() == {"name", "dropIns"}, "kubelet's unit is Gardener's"
    assert (
        drop_ins(made, "kubelet.service")["10-cached.conf"]
        == (UNITS / "kubelet.service.d/10-cached.conf").read_text()
    )


def test_files_are_as_they_were_written_and_for_the_daemons_user_to_read(tmp_path: Path) -> None:
    settings = f"# ours\n{PLAIN}catalog: /etc/cached/models/catalog.yaml\n"
    made = spec(tmp_path, settings, catalog=CATALOG)
    inline = {path: content["inline"]["data"] for path, content in files(made).items()}
    assert inline == {
        "/etc/cached/cached.yaml": settings,
        "/etc/cached/models/catalog.yaml": CATALOG,
        "/etc/sysusers.d/cached.conf": (UNITS / "sysusers.d/cached.conf").read_text(),
        "/etc/tmpfiles.d/cached.conf": (UNITS / "tmpfiles.d/cached.conf").read_text(),
    }
    assert {each["permissions"] for each in made["files"]} == {0o644}
    assert {content["inline"]["encoding"] for content in files(made).values()} == {""}


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    result = osc(tmp_path, PLAIN + MIRROR)
    patch = yaml.safe_load(result.stdout)
    assert patch["spec"] == spec(tmp_path, PLAIN + MIRROR)
    assert (patch["apiVersion"], patch["kind"]) == (
        "extensions.gardener.cloud/v1alpha1",
        "OperatingSystemConfig",
    )
    assert patch["spec"]["purpose"] == "reconcile"
    assert "content: |\n      [Unit]" in result.stdout, "units are to be read line by line"


def test_every_path_that_a_unit_depends_on_is_a_file_of_the_patch(tmp_path: Path) -> None:
    made = spec(
        tmp_path, f"{PLAIN}catalog: /etc/cached/catalog.yaml\n", "--image", "reg/i:1", catalog=CATALOG
    )
    for each in made["units"]:
        assert set(each.get("filePaths", ())) <= files(made).keys()


def test_a_changed_catalog_restarts_nothing(tmp_path: Path) -> None:
    made = spec(tmp_path, f"{PLAIN}catalog: /etc/cached/catalog.yaml\n", catalog=CATALOG)
    assert all("/etc/cached/catalog.yaml" not in each.get("filePaths", ()) for each in made["units"])
    assert unit(made, "cached.service")["filePaths"] == ["/etc/cached/cached.yaml"]


def test_registries_name_the_mirror_and_never_wait_for_it(tmp_path: Path) -> None:
    settings = PLAIN + (
        "images:\n"
        "  mirror: 127.0.0.1:7402\n"
        "  upstreams:\n"
        "    docker.io: {}\n"
        "    registry.internal:5000: {endpoint: 'https://10.0.0.9:5000', ca_file: /etc/ssl/registry.crt}\n"
    )
    mirror = {"url": "http://127.0.0.1:7402", "capabilities": ["pull", "resolve"]}
    server = {
        "url": "https://10.0.0.9:5000",
        "capabilities": ["pull", "resolve"],
        "caCerts": ["/etc/ssl/registry.crt"],
    }
    assert spec(tmp_path, settings)["criConfig"] == {
        "name": "containerd",
        "containerd": {
            "registries": [
                {
                    "upstream": "docker.io",
                    "server": "https://registry-1.docker.io",
                    "hosts": [mirror],
                    "readinessProbe": False,
                },
                {
                    "upstream": "registry.internal:5000",
                    "server": "https://10.0.0.9:5000",
                    "hosts": [mirror, server],
                    "readinessProbe": False,
                },
            ]
        },
    }


@pytest.mark.parametrize("settings", [PLAIN, PLAIN + "images: {upstreams: {docker.io: {}}}\n"])
def test_without_a_mirror_there_are_no_registries(tmp_path: Path, settings: str) -> None:
    assert "criConfig" not in spec(tmp_path, settings)


def test_containerds_files_are_left_to_gardener(tmp_path: Path) -> None:
    last = re.findall(
        r"^ExecStart=.*$",
        drop_ins(spec(tmp_path, PLAIN), "cached-node-init.service")["10-gardener.conf"],
        re.M,
    )
    assert last == ["ExecStart=", "ExecStart=/opt/cached/bin/cachectl node-init --no-containerd"]


@pytest.mark.parametrize(
    ("more", "privileged"),
    [
        ("", False),
        (MIRROR, False),
        ("publish: {mode: bind}\n", True),
        ("csi: {driver: csi.cached.dev}\n", True),
        ("images: {runtime: {socket: /run/containerd/containerd.sock}}\n", True),
        ("images: {runtime: {root: /var/lib/containerd}}\n", True),
    ],
)
def test_privileges_are_given_where_they_are_needed(tmp_path: Path, more: str, privileged: bool) -> None:
    names = drop_ins(spec(tmp_path, PLAIN + more), "cached.service")
    assert ("20-privileges.conf" in names) is privileged


def test_another_root_is_said_wherever_it_counts(tmp_path: Path) -> None:
    made = spec(tmp_path, "root: /mnt/k8s-disks/0/cached\n")
    assert "RequiresMountsFor=/mnt/k8s-disks/0/cached\n" in unit(made, "cached.service")["content"]
    assert files(made)["/etc/tmpfiles.d/cached.conf"]["inline"]["data"].startswith(
        "d /mnt/k8s-disks/0/cached "
    )
    assert "/var/lib/cached" not in json.dumps(made)


@pytest.mark.parametrize("root", ["/mnt/a b", "/mnt/50%", '/mnt/"x"', "/mnt/a\\\\b"])
def test_a_root_that_units_would_misread_is_refused(tmp_path: Path, root: str) -> None:
    assert "cannot be written into systemd's files" in refusal(tmp_path, f"root: '{root}'\n")


@pytest.mark.parametrize(
    ("settings", "key", "variable"),
    [
        (
            "peers: {advertise: '10.0.0.5:7400', plaintext: true}\n",
            "peers.advertise",
            "CACHED__PEERS__ADVERTISE",
        ),
        ("peers: {listen: '10.0.0.5:7400'}\n", "peers.listen", "CACHED__PEERS__LISTEN"),
        ("csi: {node: gpu-1}\n", "csi.node", "CACHED__CSI__NODE"),
        ("gate: {node: gpu-1}\n", "gate.node", "CACHED__GATE__NODE"),
    ],
)
def test_what_is_one_nodes_own_does_not_go_to_all(
    tmp_path: Path, settings: str, key: str, variable: str
) -> None:
    said = refusal(tmp_path, PLAIN + settings)
    assert f"{key} is one node's own" in said
    assert variable in said


def test_an_upstream_that_gardener_would_refuse_is_refused_here(tmp_path: Path) -> None:
    settings = PLAIN + "images: {mirror: '127.0.0.1:7402', upstreams: {'[fd00::1]:5000': {}}}\n"
    assert "Gardener takes no registry called [fd00::1]:5000" in refusal(tmp_path, settings)


def test_the_program_may_come_in_an_image(tmp_path: Path) -> None:
    made = spec(tmp_path, PLAIN, "--image", "ghcr.io/org/cached-node:0.1.0")
    assert files(made)["/opt/cached.tar"] == {
        "imageRef": {"image": "ghcr.io/org/cached-node:0.1.0", "filePathInImage": "/cached.tar"}
    }
    assert "/opt/cached.tar" in unit(made, "cached-node-init.service")["filePaths"]
    assert "tar --extract" in drop_ins(made, "cached-node-init.service")["20-unpack.conf"]


def test_a_provision_config_has_what_gardener_takes_there(tmp_path: Path) -> None:
    made = spec(tmp_path, PLAIN + MIRROR, "--purpose", "provision")
    assert made["purpose"] == "provision"
    assert "criConfig" not in made
    assert [each["name"] for each in made["units"]] == ["cached-node-init.service", "cached.service"]
    assert "no file comes from an image" in refusal(
        tmp_path, PLAIN, "--purpose", "provision", "--image", "x/y:1"
    )


def big_catalog(size: int) -> str:
    return CATALOG + "# of the team that owns it\n" * (size // 27)


@pytest.mark.parametrize(("purpose", "size"), [("reconcile", 1 << 20), ("provision", 16 << 10)])
def test_what_is_too_big_is_named(tmp_path: Path, purpose: str, size: int) -> None:
    settings = f"{PLAIN}catalog: /etc/cached/catalog.yaml\n"
    assert spec(tmp_path, settings, "--purpose", purpose, catalog=big_catalog(size // 4))
    said = refusal(tmp_path, settings, "--purpose", purpose, catalog=big_catalog(size))
    assert "the file /etc/cached/catalog.yaml alone has" in said
    assert {"reconcile": "a Secret", "provision": "user data"}[purpose] in said


@pytest.mark.parametrize(
    ("settings", "catalog"), [(PLAIN, CATALOG), (f"{PLAIN}catalog: /etc/cached/catalog.yaml\n", None)]
)
def test_settings_and_catalog_belong_together(tmp_path: Path, settings: str, catalog: str | None) -> None:
    assert "as its catalog" in (said := refusal(tmp_path, settings, catalog=catalog)) or "no catalog" in said


@pytest.mark.parametrize(
    ("settings", "catalog"), [("capacty: 1\n", None), (f"{PLAIN}catalog: /c\n", "models: [1]\n")]
)
def test_files_with_faults_go_nowhere(tmp_path: Path, settings: str, catalog: str | None) -> None:
    assert ".yaml: " in refusal(tmp_path, settings, catalog=catalog)


def test_the_environment_of_whoever_prints_it_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHED__PEERS__ADVERTISE", "10.0.0.5:7400")
    assert spec(tmp_path, PLAIN)
