"""Settings: defaults, file, environment, and every way to get them wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cached.config import settings
from cached.config.settings import Settings
from cached.core.errors import InvalidRequest
from cached.kit.units import Share


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_no_file_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    loaded = settings.load(None, {})
    assert loaded.root == tmp_path / "cached"
    assert loaded.socket_directory == tmp_path / "cached" / "run"
    assert loaded.allowed_prefixes == ("s3://", "file:///")


def test_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.yaml", "capacity: 1GiB\nsources:\n  s3: {endpoint: 'http://a:1', region: r1}\n"
    )
    environ = {
        "CACHED__CAPACITY": "2TiB",
        "CACHED__SOURCES__S3__ENDPOINT": "http://b:2",
        "CACHED_PORT": "tcp://x",
    }
    loaded = settings.load(file, environ)
    assert loaded.capacity == 2 << 40
    assert (loaded.sources.s3.endpoint, loaded.sources.s3.region) == ("http://b:2", "r1")


def test_free_space_may_be_a_share_of_the_disk() -> None:
    loaded = settings.load(None, {"CACHED__MIN_FREE": "20%"})
    assert loaded.min_free == Share(20)
    assert json.loads(loaded.model_dump_json())["min_free"] == "20%"


def test_a_list_from_the_environment() -> None:
    assert settings.load(None, {"CACHED__ALLOW_SOURCES": "[s3://a/, s3://b/]"}).allow_sources == (
        "s3://a/",
        "s3://b/",
    )


def test_a_catalog_closes_the_door_to_other_sources(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", f"catalog: {tmp_path}/models.yaml\n")
    assert settings.load(file, {}).allowed_prefixes == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("capcity: 1GiB", "unknown key capcity"),
        ("transfer: {conections: 3}", "unknown key transfer.conections"),
        ("sources: {s3: {buckets: {b: {endpont: x}}}}", "unknown key sources.s3.buckets.b.endpont"),
        ("capacity: much", "capacity: not a size"),
        ("capacity: -5", "capacity: a size cannot be negative"),
        ("capacity: true", "capacity"),
        ("drain_timeout: soon", "drain_timeout: not a time"),
        ("transfer: {connections: 0}", "transfer.connections"),
        ("metrics: '9464'", "metrics: write host:port"),
        ("allow_sources: ['ftp://x']", "allow_sources"),
        ("sockets: {pods_mode: 438}", "sockets.pods_mode"),
        ("sources: {s3: {endpoint: 'http://user:hunter2@host'}}", "sources.s3.endpoint"),
        ("images: {upstreams: {'a b': {}}}", "images.upstreams: not a registry"),
        ("images: {upstreams: {quay.io: {endpoint: 'http://user:hunter2@host'}}}", "quay.io.endpoint"),
        ("images: {upstreams: {quay.io: {trust: ['**']}}}", "unknown key images.upstreams.quay.io.trust"),
        ("images: {mirror: '0.0.0.0:7402'}", "mirror: pullers show passwords there"),
        ("images: {mirror: 'mirror.test:7402'}", "mirror: pullers show passwords there"),
        ("images: {mirror: '7402'}", "images.mirror: write host:port"),
        ("gate: {node: Node_1}", "gate.node: write the node's name"),
        ("gate: {node: ''}", "gate.node"),
        ("gate: {node: $(NODE_NAME)}", "gate.node"),
        ("gate: {taint: 'a b'}", "gate.taint: write a name with a domain"),
        ("gate: {condition: /Ready}", "gate.condition"),
        ("gate: {deadline: never}", "gate.deadline: not a time"),
        ("gate: {labels: {prefix: model.cached.dev}}", "gate.labels.prefix: write a domain of your own"),
        ("gate: {labels: {prefix: kubernetes.io/}}", "gate.labels.prefix"),
        ("gate: {labels: {prefix: node.k8s.io/}}", "gate.labels.prefix"),
        ("gate: {labels: {most: 101}}", "gate.labels.most"),
        ("- a\n- b", "must be a mapping"),
        ("a: [", "not valid YAML"),
        ("capacity: 1\ncapacity: 2", "stands twice"),
        ("? [a, b]\n: 1", "YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = write(tmp_path / "c.yaml", text)
    with pytest.raises(InvalidRequest) as caught:
        settings.load(file, {})
    assert named in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "127.0.0.1:7402",
        "'[::1]:7402'",
        "localhost:7402",
        "127.7.7.7:0",
        "0.0.0.0:7402, mirror_for_others: true",
    ],
)
def test_the_mirror_stays_on_its_node_unless_told(tmp_path: Path, said: str) -> None:
    file = write(tmp_path / "c.yaml", f"images: {{mirror: {said}}}")
    assert settings.load(file, {}).images.mirror


def test_a_gate_is_off_until_the_node_is_named() -> None:
    assert settings.load(None, {}).gate.node is None
    gate = settings.load(None, {"CACHED__GATE__NODE": "ip-10-0-0-1.ec2.internal"}).gate
    assert (gate.node, gate.taint, gate.condition, gate.deadline) == (
        "ip-10-0-0-1.ec2.internal",
        "cached.dev/not-ready",
        None,
        600,
    )


def test_a_gate_need_not_wait_take_taints_or_label(tmp_path: Path) -> None:
    environ = {
        "CACHED__GATE__TAINT": "",
        "CACHED__GATE__CONDITION": "cached.dev/Ready",
        "CACHED__GATE__DEADLINE": "0",
        "CACHED__GATE__LABELS__MOST": "0",
    }
    gate = settings.load(None, environ).gate
    assert (gate.taint, gate.condition, gate.deadline) == (None, "cached.dev/Ready", 0)
    assert gate.labels.most == 0
    file = write(tmp_path / "c.yaml", "gate: {taint: ''}\n")
    assert settings.load(file, {}).gate.taint is None


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "capcity: 1\nlog: {level: loud}\n")
    with pytest.raises(InvalidRequest) as caught:
        settings.load(file, {"CACHED__ROOOT": "/x"})
    for key in ("capcity", "log.level", "rooot"):
        assert key in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*: No such file"):
        settings.load(tmp_path / "none.yaml", {})


def test_the_schema_describes_every_key() -> None:
    schema = Settings.model_json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, section in {**schema["$defs"], "Settings": schema}.items()
        for key, told in section["properties"].items()
        if "description" not in told and "$ref" not in told  # a section is described at its own place
    ]
    assert not undescribed
    assert json.dumps(schema)
