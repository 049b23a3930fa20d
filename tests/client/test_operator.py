"""What cachectl stands on."""

from __future__ import annotations

import time

import pytest

from cached.client import OperatorClient, Unreachable
from cached.core.errors import Denied, InUse, NotFound
from tests.client.daemon import Daemon, until
from tests.serve.fake_engine import IMAGE


def test_every_call(daemon: Daemon) -> None:
    with OperatorClient(str(daemon.operators)) as operator:
        assert [artifact.ref for artifact in operator.list()] == ["minilm", "zephyr"]
        assert operator.describe("minilm").artifact.source == "s3://models/minilm/"
        assert operator.evict("minilm") == 123
        assert operator.pin("minilm").pinned
        assert not operator.unpin("minilm").pinned
        assert operator.status().version == "0.1.0"
        assert operator.peers().address == "10.0.0.1:7400"
        assert operator.readiness().ready
        assert [check.source for check in operator.check_sources()] == ["s3://models/big", "s3://models/tiny"]
        assert [event.finished for event in operator.verify()] == [False, True]
        assert [event.WhichOneof("event") for event in operator.warm(everything=True, wait=False)] == [
            "accepted",
            "accepted",
        ]
        assert [event.ref for event in operator.warm(["minilm"])] == ["minilm"] * 4
        assert [image.ref for image in operator.list(images=True)] == [IMAGE]
        pulled = [event.WhichOneof("event") for event in operator.warm([IMAGE], pull=True)]
        assert pulled == ["accepted", "resolved", "progress", "unpacking", "warmed"]
        assert operator.serving()
        assert operator.serving("cached.v1.OperatorService")
        with pytest.raises(NotFound):
            operator.serving("nix")
        with pytest.raises(InUse, match="held by a lease of pod-a"):
            operator.evict("held")


def test_the_pods_socket_is_not_enough(daemon: Daemon) -> None:
    with OperatorClient(str(daemon.pods)) as operator:
        with pytest.raises(Denied, match="does not offer this at this socket"):
            operator.pin("minilm")
        assert operator.describe("minilm").artifact.source == ""


def test_a_stream_left_early_is_cancelled(daemon: Daemon) -> None:
    with OperatorClient(str(daemon.operators)) as operator:
        events = operator.warm(["minilm"])
        assert next(events).HasField("accepted")
        events.close()  # type: ignore[attr-defined]
        assert operator.status()


def test_an_absent_daemon_is_told_at_once_and_waited_for_on_demand(daemon: Daemon) -> None:
    daemon.stop()
    with OperatorClient(str(daemon.operators)) as operator:
        began = time.monotonic()
        with pytest.raises(Unreachable):
            operator.status()
        assert time.monotonic() - began < 1
        with pytest.raises(Unreachable):
            next(operator.warm(["minilm"]))
        daemon.start()
        assert operator.status(timeout=10).version == "0.1.0"
        until(lambda: operator.serving(timeout=1))
