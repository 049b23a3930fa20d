"""What requests must be like, and what attributes mean."""

from __future__ import annotations

import inspect

import grpc
import pytest

from cached._proto.csi.v1 import csi_pb2 as csi
from cached.core import errors
from cached.core.digest import Digest
from cached.core.errors import CachedError, InvalidRequest, NoSpace, NotFound
from cached.core.progress import Progress
from cached.core.ref import Ref
from cached.engine.publish.volume import on_its_way
from cached.engine.views import Resolved
from cached.serve.csi.checks import check_use, namespace_of, wanted
from cached.serve.csi.errors import MAX_TEXT_BYTES, STATUS, answer
from cached.serve.csi.faces import LONGEST, patience
from tests.csi.kubelet import NOT_FINAL

Code = grpc.StatusCode
LEAVES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CachedError) and not kind.__subclasses__() and kind is not CachedError
]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_has_a_row_of_its_own(kind: type[CachedError]) -> None:
    assert kind in STATUS


@pytest.mark.parametrize("kind", LEAVES)
def test_kubelet_tries_again_at_once_where_that_may_help(kind: type[CachedError]) -> None:
    """All that may go well by itself is not final; after a final code nothing is left of the volume."""
    assert (STATUS[kind] in NOT_FINAL) == kind.retryable


def test_what_is_said_fits_into_an_event() -> None:
    said = answer(NotFound("x" * 5000, hint="look elsewhere"), "NodePublishVolume")
    assert (said.code, len(said.text.encode())) == (Code.NOT_FOUND, MAX_TEXT_BYTES)
    full = NoSpace("no room for m", needed=1, free=0, held=0, hint="release something")
    assert answer(full, "NodePublishVolume").text == "no room for m (release something)"


def test_a_bug_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    said = answer(ExceptionGroup("g", [KeyError("secret")]), "NodePublishVolume")
    assert said.code is Code.INTERNAL
    assert "secret" not in said.text
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("attributes", "ref"),
    [
        ({"model": "m"}, Ref(name="m")),
        ({"model": "a/b", "revision": "v1"}, Ref(name="a/b", revision="v1")),
        ({"model": "m@v1"}, Ref(name="m", revision="v1")),
        ({"model": "m@v1", "revision": "v1"}, Ref(name="m", revision="v1")),
        ({"model": "m", "include": ""}, Ref(name="m")),
        ({"model": "m", "include": " b.json,\n a/**  "}, Ref(name="m", include=("a/**", "b.json"))),
        ({"model": "m", "view": "hub"}, Ref(name="m", view="hub")),
        ({"model": "m", "view": "flat"}, Ref(name="m")),
        ({"socket": "true"}, None),
        ({"model": "m", "csi.storage.k8s.io/pod.name": "p"}, Ref(name="m")),
    ],
)
def test_what_attributes_mean(attributes: dict[str, str], ref: Ref | None) -> None:
    assert wanted(attributes) == ref


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"modle": "m"}, "modle"),
        ({"model": "m", "Revision": "v1"}, "Revision"),
        ({"model": "s3://bucket/x"}, "s3://bucket/x"),
        ({"model": "file:///etc"}, "file:///etc"),
        ({"model": "m?view=hub"}, "include and view"),
        ({"model": "../m"}, "../m"),
        ({"model": "m", "revision": "../x"}, "../x"),
        ({"model": "m@v1", "revision": "v2"}, "two revisions"),
        ({"model": "m", "view": "tree"}, "tree"),
        ({"model": "m", "include": "a" * 513}, "pattern"),
        ({"model": "m", "include": ",".join(map(str, range(40)))}, "40 patterns"),
        ({"socket": "false"}, "socket"),
        ({"socket": "true", "model": "m"}, "socket"),
        ({"socket": "true", "view": "hub"}, "socket"),
    ],
    ids=str,
)
def test_what_attributes_do_not_mean(attributes: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted(attributes)
    assert named in str(caught.value)


def request(**changes: object) -> csi.NodePublishVolumeRequest:
    whole: dict[str, object] = {
        "volume_capability": csi.VolumeCapability(mount=csi.VolumeCapability.MountVolume()),
        "readonly": True,
    }
    return csi.NodePublishVolumeRequest(**{**whole, **changes})  # type: ignore[arg-type]


def test_how_a_volume_may_be_used() -> None:
    check_use(request())
    check_use(request(volume_context={"csi.storage.k8s.io/ephemeral": "true"}))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"readonly": False}, "readOnly: true"),
        ({"volume_capability": None}, "volume_capability"),
        ({"volume_capability": csi.VolumeCapability()}, "volume_capability"),
        ({"volume_capability": csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume())}, "block"),
        (
            {
                "volume_capability": csi.VolumeCapability(
                    mount=csi.VolumeCapability.MountVolume(mount_flags=["suid"])
                )
            },
            "mountOptions",
        ),
        ({"volume_context": {"csi.storage.k8s.io/ephemeral": "false"}}, "inline"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_it_may_not(changed: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_use(request(**changed))
    assert named in str(caught.value)


def test_the_pods_namespace() -> None:
    assert namespace_of({"csi.storage.k8s.io/pod.namespace": "team-a"}) == "team-a"
    assert namespace_of({"namespace": "team-a"}) == ""


def test_a_call_ends_before_its_deadline() -> None:
    assert patience(120.0) == LONGEST == 110.0
    assert patience(None) == LONGEST
    assert patience(1000.0) == LONGEST
    assert patience(2.0) == 1.8
    assert patience(0.0) == patience(-3.0) == 0.0


def test_how_far_a_model_is_said_to_be() -> None:
    ref = Ref.parse("org/m@v1")
    resolved = Resolved(str(ref), Digest.sha256(b""), 10 << 30, 3, 1 << 30, stale=False)
    assert on_its_way(ref, None, None) == "org/m@v1 is being looked up at its source"
    assert on_its_way(ref, resolved, None) == "org/m@v1 is on its way: 1.0 GiB of 10.0 GiB are here"
    moving = Progress(total=10 << 30, done=5 << 30, rate=float(1 << 30), eta=5.0)
    assert on_its_way(ref, resolved, moving) == (
        "org/m@v1 is on its way: 5.0 GiB of 10.0 GiB are here, 1.0 GiB/s, 5.0s left"
    )
