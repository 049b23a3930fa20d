"""What is said of the catalog, its sources, the models that came, and the clock."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cached._proto.v1 import types_pb2 as types
from cached._proto.v1.operator_pb2 import (
    GATE_STATE_OPEN_DEADLINE,
    CatalogStatus,
    Gate,
    ReadinessResponse,
    SourceCheck,
)
from cached.cli.doctor.node import about_catalog, clock, models, sources
from cached.config.catalog import Catalog
from cached.config.settings import S3, Settings
from tests.doctor.found import bad, only

GIB = 1 << 30
CATALOG = Catalog.model_validate(
    {
        "models": {
            "m": {"source": "s3://b/m", "warm_at_start": True},
            "near": {"source": "file:///srv/models/near"},
            "far": {"source": "file:///home/far"},
        },
        "images": {"redis": {}, "quay.io/team/app:1": {}},
    }
)
FILE = "/etc/cached/catalog.yaml"


@pytest.mark.parametrize(
    ("status", "written", "level", "said"),
    [
        (CatalogStatus(path=FILE, load_time=Timestamp(seconds=1000)), 1059.0, "ok", "in force: 3 models, 2"),
        (CatalogStatus(path=FILE, load_time=Timestamp(seconds=1000)), 1061.0, "warning", "has not read that"),
        (CatalogStatus(path=FILE), 0.0, "warning", "has not read that"),
        (CatalogStatus(path=FILE, error="models.x: no"), 0.0, "problem", "models.x: no"),
    ],
)
def test_the_catalog_in_force(status: CatalogStatus, written: float, level: str, said: str) -> None:
    finding = about_catalog.in_force(status, written, CATALOG)
    assert finding.level == level
    assert said in finding.message


def test_images_of_registries_that_nobody_may_ask() -> None:
    found = bad(about_catalog.of_images(CATALOG.images, ["docker.io"]))
    assert [(level, message.split(",")[0]) for level, message in found] == [
        ("problem", "the catalog has images of quay.io")
    ]
    assert bad(about_catalog.of_images(CATALOG.images, ["docker.io", "quay.io"])) == []


def test_models_outside_of_the_roots() -> None:
    found = only(about_catalog.of_files(CATALOG.models, [Path("/srv/models")]))
    assert found == ("problem", "model far comes from /home/far, outside of sources.file.roots")
    assert bad(about_catalog.of_files(CATALOG.models, [])) == []


def artifact(ref: str, size: int, **more: Any) -> types.Artifact:
    facts: dict[str, Any] = {"tree": f"sha256:{ref}", "size_bytes": size * GIB}
    return types.Artifact(ref=ref, **(facts | more))


@pytest.mark.parametrize(
    ("artifacts", "said"),
    [
        ([artifact("m", 60), artifact("near", 900)], ""),
        ([artifact("near", 101, pinned=True)], "what is pinned takes 101 GiB, capacity is 100 GiB"),
        ([artifact("near", 50, pinned=True), artifact("m", 51)], "pinned or warmed at start takes 101 GiB"),
        ([artifact("m@v1", 51), artifact("oci://docker.io/library/redis:latest", 51)], "takes 102 GiB"),
        ([artifact("m", 51), artifact("oci://quay.io/team/app:1", 99, in_runtime=True)], ""),
        ([artifact("a", 60, pinned=True, tree="t"), artifact("b", 60, pinned=True, tree="t")], ""),
        (
            [artifact("a", 101, pinned=True), artifact("b", 0, pinned=True, tree="")],
            "takes 101 GiB, and 1 of unknown size,",
        ),
    ],
)  # fmt: skip
def test_what_is_to_stay_must_fit(artifacts: list[types.Artifact], said: str) -> None:
    found = bad(about_catalog.of_room(artifacts, CATALOG, 100 * GIB))
    assert [(level, said in message) for level, message in found] == ([("warning", True)] if said else [])


def refused(source: str, reason: str, *refs: str, hint: str = "look") -> SourceCheck:
    error = types.ErrorDetail(reason=reason, message=f"{source}: {reason}", hint=hint)
    return SourceCheck(source=source, refs=refs, error=error)


def test_sources_that_can_be_read() -> None:
    (finding,) = sources.judge([SourceCheck(source="s3://b/m", refs=["m"])], None)
    assert (finding.level, finding.message) == ("ok", "1 of 1 can be read")
    (finding,) = sources.judge([], None)
    assert finding.level == "skipped"


def test_refusals_are_told_once_for_each_bucket_and_reason() -> None:
    found = bad(
        sources.judge(
            [
                refused("s3://b/one", "Denied", "one", "uno"),
                refused("s3://b/two", "Denied", *(f"two@{n}" for n in range(5))),
                refused("s3://b/three", "NotFound", "three", hint=""),
                refused("s3://c/four", "Denied", "four"),
                SourceCheck(source="s3://c/five", refs=["five"]),
            ],
            None,
        )
    )
    assert found == [
        ("problem", "one, uno, two@0, two@1, two@2 and 2 more: s3://b/one: Denied"),
        ("problem", "three: s3://b/three: NotFound"),
        ("problem", "four: s3://c/four: Denied"),
    ]


@pytest.mark.parametrize(
    ("s3", "reason", "told"),
    [
        ({}, "SourceUnavailable", True),
        ({}, "NotConfigured", True),
        ({}, "Denied", False),
        ({"region": "eu-west-1"}, "NotConfigured", False),
        ({"endpoint": "http://s3.example"}, "SourceUnavailable", False),
        ({"region": "eu-west-1", "buckets": {"b": {}}}, "NotConfigured", True),
        ({"buckets": {"b": {"profile": "p"}}}, "NotConfigured", False),
    ],
)
def test_a_region_that_nobody_set_is_mentioned(s3: dict[str, Any], reason: str, told: bool) -> None:
    (finding,) = sources.judge([refused("s3://b/m", reason, "m")], S3.model_validate(s3))
    assert ("says no region" in finding.hint) is told


def test_models_that_failed() -> None:
    failed = [artifact(f"m{n}", 1, state=types.ARTIFACT_STATE_FAILED, last_error="no room") for n in range(7)]
    found = bad(models.of_failures([artifact("well", 1, state=types.ARTIFACT_STATE_WARM), *failed]))
    assert found[0] == ("problem", "m0 failed: no room")
    assert (len(found), found[-1][1]) == (6, "2 more failed")
    assert bad(models.of_failures([])) == []


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (ReadinessResponse(wanted_count=2), []),
        (ReadinessResponse(wanted_count=0), []),
        (
            ReadinessResponse(wanted_count=2, missing=[types.Artifact(ref="m")]),
            [("warning", "1 of 2 that are to be warm from the start are not: m")],
        ),
        (
            ReadinessResponse(wanted_count=0, gate=Gate(node="n1", trouble="403 Forbidden")),
            [("problem", "node n1 cannot be opened to pods: 403 Forbidden")],
        ),
        (
            ReadinessResponse(
                wanted_count=1,
                missing=[types.Artifact(ref="m")],
                gate=Gate(node="n1", state=GATE_STATE_OPEN_DEADLINE),
            ),
            [
                ("warning", "1 of 1 that are to be warm from the start are not: m"),
                ("warning", "node n1 was opened by gate.deadline, before all was warm"),
            ],
        ),
    ],
)
def test_what_is_to_be_warm(told: ReadinessResponse, found: list[tuple[str, str]]) -> None:
    assert bad(models.of_readiness(told)) == found


@pytest.mark.parametrize(
    ("ahead", "level", "said"),
    [
        ({}, "skipped", "no server was found"),
        ({"s3": 3.0, "api": -29.0}, "ok", "within 30 s of s3, api"),
        ({"s3": 45.0}, "warning", "this node's clock is 45s ahead of that of s3: S3 refuses"),
        ({"s3": -45.0, "api": -50.0}, "warning", "45s behind that of s3"),
        ({"s3": 1000.0, "api": 1001.0}, "problem", "16m40s ahead of"),
        ({"s3": 1000.0, "api": 0.0}, "warning", "the clock of s3 differs by more than 30 s"),
    ],
)  # fmt: skip
def test_clocks(ahead: dict[str, float], level: str, said: str) -> None:
    finding = clock.judge(ahead)
    assert finding.level == level
    assert said in finding.message
    assert bool(finding.hint) is (level in ("warning", "problem"))


def test_dates_of_servers() -> None:
    assert clock.skew_of(formatdate(1000, usegmt=True), 1042.0) == 42.0
    for nonsense in ("", "yesterday", "Mon, 99 Xyz 2026 00:00:00 GMT"):
        assert clock.skew_of(nonsense, 0.0) is None


def test_servers_that_are_asked_anyway_tell_the_time() -> None:
    settings = Settings.model_validate(
        {
            "sources": {"s3": {"region": "eu-west-1", "buckets": {"b": {"endpoint": "http://s3.lab:9000"}}}},
            "images": {"upstreams": {"docker.io": {}, "r.lab:5000": {"endpoint": "http://r.lab:5000/"}}},
        }
    )
    registries = ["https://registry-1.docker.io/v2/", "http://r.lab:5000/v2/"]
    assert clock.endpoints(settings, True) == [
        "https://s3.eu-west-1.amazonaws.com", "http://s3.lab:9000", *registries,
    ]  # fmt: skip
    assert clock.endpoints(settings, False) == registries
