"""What the daemon is told agrees with what its pod gives it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner

from cached.cli.main import cli as cachectl
from cached.config import catalog
from cached.config.settings import Settings
from cached.daemon.main import cli as cached
from cached.kit.units import parse_bytes
from tests.daemonset.built import (
    HERE,
    INSTALLS,
    Object,
    composed,
    daemon,
    environment,
    examples,
    install,
    only,
    settings_of,
)

_MEMORY = 150_000_000
_BUFFER = 8 << 20
_KUBELET_EVICTS_AT = 15  # % free of the disk with the images, by kubelet's own default


@pytest.mark.parametrize("where", INSTALLS)
def test_settings_pass_the_check(where: str, tmp_path: Path) -> None:
    objects = install(where)
    file = tmp_path / "cached.yaml"
    file.write_text(only(objects, "ConfigMap")["data"]["cached.yaml"])
    variables = environment(daemon(objects)) | {"CACHED__CATALOG": str(_catalog(tmp_path))}
    done = CliRunner().invoke(cached, ["config", "check", "--config", str(file)], env=variables)
    assert done.exit_code == 0, done.output
    assert "4 models" in done.output


def _catalog(directory: Path) -> Path:
    [config_map] = examples()["catalog.yaml"]
    [text] = config_map["data"].values()
    file = directory / "catalog.yaml"
    file.write_text(text)
    return file


def test_the_example_of_a_catalog_passes_the_check(tmp_path: Path) -> None:
    done = CliRunner().invoke(cachectl, ["config", "check", str(_catalog(tmp_path))])
    assert done.exit_code == 0, done.output
    assert "valid catalog" in done.output


def test_the_catalog_is_where_it_is_looked_for(tmp_path: Path) -> None:
    [config_map] = examples()["catalog.yaml"]
    for where in INSTALLS:
        objects = install(where)
        path = settings_of(objects, tmp_path).catalog
        assert path is not None
        spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
        [volume] = [each for each in spec["volumes"] if each["name"] == "catalog"]
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        assert path.name in config_map["data"]
        assert str(path.parent) in _mounts(objects)


def _mounts(objects: Sequence[Object]) -> dict[str, Object]:
    return {mount["mountPath"]: mount for mount in daemon(objects)["volumeMounts"]}


def _writable(objects: Sequence[Object]) -> list[str]:
    return [path for path, mount in _mounts(objects).items() if not mount.get("readOnly")]


def _host_paths(objects: Sequence[Object]) -> dict[str, str]:
    """Where the daemon's container sees directories of the host, by mount path."""
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    of = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each}
    return {path: of[mount["name"]] for path, mount in _mounts(objects).items() if mount["name"] in of}


@pytest.mark.parametrize("where", INSTALLS)
def test_directories_of_the_host_are_at_the_same_paths_in_the_pod(where: str) -> None:
    paths = _host_paths(install(where))
    assert paths
    assert all(inside == outside for inside, outside in paths.items())


def _needed(settings: Settings) -> list[Path]:
    """Where the daemon writes."""
    needed = [settings.root, settings.socket_directory]
    if settings.publish.mode == "bind":
        needed.append(settings.publish.directory)
    if settings.csi.driver:
        needed += [
            settings.csi.socket_path,
            settings.csi.registration_path,
            settings.csi.kubelet_root / "pods",
        ]
    return needed


@pytest.mark.parametrize("where", INSTALLS)
def test_what_is_written_to_lies_on_the_host(where: str, tmp_path: Path) -> None:
    """The container's own filesystem is read-only, and nobody else would see what is in it."""
    objects = install(where)
    assert daemon(objects)["securityContext"]["readOnlyRootFilesystem"] is True
    hosts = _host_paths(objects).keys() & set(_writable(objects))
    for path in _needed(settings_of(objects, tmp_path)):
        assert any(PurePosixPath(path).is_relative_to(host) for host in hosts), path


@pytest.mark.parametrize("where", INSTALLS)
def test_what_is_mounted_reaches_the_host(where: str, tmp_path: Path) -> None:
    objects = install(where)
    settings = settings_of(objects, tmp_path)
    shared = {path for path, m in _mounts(objects).items() if m.get("mountPropagation") == "Bidirectional"}
    wanted = [settings.publish.directory] if settings.publish.mode == "bind" else []
    wanted += [settings.csi.kubelet_root / "pods"] if settings.csi.driver else []
    for path in wanted:
        assert any(path.is_relative_to(each) for each in shared), path
    assert bool(shared) is bool(wanted), "privileged for nothing"


@pytest.mark.parametrize("where", INSTALLS)
def test_files_that_settings_name_are_mounted(where: str, tmp_path: Path) -> None:
    objects = install(where)
    settings = settings_of(objects, tmp_path)
    tls, runtime = settings.peers.tls, settings.images.runtime
    named = [path for path in (tls.ca, tls.cert, tls.key, runtime.socket) if path]
    if runtime.root:
        named.append(runtime.root / "io.containerd.content.v1.content")
    for path in named:
        mounts = [m for p, m in _mounts(objects).items() if path.is_relative_to(p)]
        assert mounts, path
        assert all(mount["readOnly"] for mount in mounts)


@pytest.mark.parametrize("where", INSTALLS)
def test_ports_are_those_of_the_settings(where: str, tmp_path: Path) -> None:
    objects = install(where)
    settings = settings_of(objects, tmp_path)
    ports = {each["name"]: each["containerPort"] for each in daemon(objects)["ports"]}
    expected = {"metrics": _port(settings.metrics)}
    if settings.peers.advertise:
        peer = _port(settings.peers.listen or settings.peers.advertise)
        expected |= {"peer": peer, "data": settings.peers.data_port or peer + 1}
        service = {each["name"]: each["port"] for each in only(objects, "Service")["spec"]["ports"]}
        assert service == {"peer": expected["peer"], "data": expected["data"]}
    if settings.images.mirror and settings.images.mirror_for_others:
        expected["mirror"] = _port(settings.images.mirror)
    assert ports == expected


def _port(address: str | None) -> int:
    assert address is not None
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("where", INSTALLS)
def test_memory_is_what_the_buffers_need(where: str, tmp_path: Path) -> None:
    objects = install(where)
    transfer = settings_of(objects, tmp_path).transfer
    need = _MEMORY + (transfer.connections + transfer.spare_buffers) * _BUFFER
    resources = daemon(objects)["resources"]
    assert parse_bytes(resources["requests"]["memory"]) >= need
    assert parse_bytes(resources["limits"]["memory"]) >= 2 * need
    assert "cpu" not in resources["limits"], "what is throttled is the transfer that a GPU waits for"


@pytest.mark.parametrize("where", INSTALLS)
def test_there_is_time_to_drain(where: str, tmp_path: Path) -> None:
    """The daemon itself tells systemd the same: 30 s beyond the drain."""
    objects = install(where)
    grace = only(objects, "DaemonSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= settings_of(objects, tmp_path).drain_timeout + 30


@pytest.mark.parametrize("where", ["overlays/eks", "overlays/gke", "examples/cluster"])
def test_a_disk_that_kubelet_shares_keeps_more_free_than_kubelet_wants(where: str, tmp_path: Path) -> None:
    from cached.kit.units import Share

    min_free = settings_of(install(where), tmp_path).min_free
    assert isinstance(min_free, Share)
    assert min_free.percent > _KUBELET_EVICTS_AT


def test_neighbours_are_known_by_the_name_in_their_certificate(tmp_path: Path) -> None:
    objects = composed("peers", "cert-manager")
    settings = settings_of(objects, tmp_path)
    [certificate] = [
        each for each in objects if each["kind"] == "Certificate" and not each["spec"].get("isCA")
    ]
    assert settings.peers.tls.name in certificate["spec"]["dnsNames"]
    assert {"server auth", "client auth"} <= set(certificate["spec"]["usages"])
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == certificate["spec"]["secretName"]
    assert volume["secret"]["defaultMode"] & 0o007 == 0, "a key that anybody may read is refused"
    service = only(objects, "Service")
    space, name = str(settings.peers.members.endpoint_slices).split("/")
    assert (space, name) == (service["metadata"]["namespace"], service["metadata"]["name"])
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("name", [name for name in examples() if name != "catalog.yaml"])
def test_pods_ask_for_what_the_catalog_lets_them_have(name: str, tmp_path: Path) -> None:
    models = catalog.load(_catalog(tmp_path)).models
    [workload] = examples()[name]
    spec = workload["spec"]["template"]["spec"]
    volumes = [each["csi"] for each in spec["volumes"] if "csi" in each]
    commands = [c.get("command", []) for c in spec["containers"] + spec.get("initContainers", [])]
    asked = [each["volumeAttributes"]["model"] for each in volumes]
    asked += [command[2] for command in commands if command[:2] == ["cachectl", "exec"]]
    assert len(asked) == 1
    namespaces = models[asked[0]].namespaces
    assert not namespaces or workload["metadata"]["namespace"] in namespaces
    assert all(each["readOnly"] for each in volumes), "kubelet would change owners"


def test_volumes_are_of_the_driver_that_is_installed(tmp_path: Path) -> None:
    objects = install("")
    driver = only(objects, "CSIDriver")["metadata"]["name"]
    assert settings_of(objects, tmp_path).csi.driver == driver
    pods = [
        each["spec"]["template"]["spec"] for found in examples().values() for each in found if "spec" in each
    ]
    used = {volume["csi"]["driver"] for spec in pods for volume in spec["volumes"] if "csi" in volume}
    assert used == {driver}
    critical = only(install("overlays/gardener"), "DaemonSet")["spec"]["template"]["metadata"]
    assert critical["annotations"]["node.gardener.cloud/wait-for-csi-node-cached"] == driver
    assert (HERE / "components" / "csi" / "csidriver.yaml").is_file()
