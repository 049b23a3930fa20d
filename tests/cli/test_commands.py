"""What each command asks of the daemon, prints, and ends with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2

from cached._proto.v1 import cache_pb2, operator_pb2
from tests.cli.conftest import Ask
from tests.cli.containerd_node import NodeFiles
from tests.cli.node import IMAGE, TREE, Node


def parsed(text: str) -> Any:
    return json.loads(text)


def test_get_prints_the_path_alone(node: Node, ask: Ask) -> None:
    result = ask("get", "minilm")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{node.model}\n", "")


def test_get_leaves_the_lease_to_its_ttl(node: Node, ask: Ask) -> None:
    ask("get", "--ttl", "1h30m", "--holder", "me", "minilm")
    asked = node.acquired[0]
    assert (asked.ref, asked.ttl.seconds, asked.holder) == ("minilm", 5400, "me")
    assert node.released == []


def test_get_as_json(node: Node, ask: Ask) -> None:
    answer = parsed(ask("get", "-o", "json", "minilm").stdout)
    assert answer.pop("lease").keys() == {"id", "expire_time", "ttl"}
    assert answer == {
        "ref": "minilm",
        "path": str(node.model),
        "tree": TREE,
        "size_bytes": 90_868_376,
        "file_count": 7,
        "stale": False,
    }


def test_get_says_when_the_revision_may_be_old(node: Node, ask: Ask) -> None:
    result = ask("get", "stale")
    assert result.stdout == f"{node.model}\n"
    assert result.stderr.startswith("warning: the source of stale does not answer")


def test_get_explains_a_path_that_is_not_here_and_gives_the_lease_back(node: Node, ask: Ask) -> None:
    result = ask("get", "hidden")
    assert (result.exit_code, result.stdout) == (11, "")
    assert "hostPath" in result.stderr
    assert node.released == ["lease-of-hidden"]


def test_get_gives_up_in_time(node: Node, ask: Ask) -> None:
    result = ask("--timeout", "300ms", "get", "slow")
    assert (result.exit_code, result.stdout) == (8, "")
    assert node.left.wait(5)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("Denied", 4), ("NoSpace", 5), ("TooLarge", 5), ("SourceUnavailable", 6), ("DiskFault", 14)],
)
def test_errors_are_told_with_a_hint_and_end_in_their_code(ask: Ask, reason: str, code: int) -> None:
    ref = f"fail-{reason}"
    result = ask("get", ref)
    assert (result.exit_code, result.stdout) == (code, "")
    told = f"error: {ref}: {reason} happened\nhint: do something about {reason}\n"
    assert result.stderr == told


def test_with_json_errors_stay_on_stderr(ask: Ask) -> None:
    result = ask("describe", "nope", "-o", "json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: nope: NotFound happened\n")


def test_a_malformed_ref_never_reaches_the_daemon(node: Node, ask: Ask) -> None:
    assert ask("get", "../x").exit_code == 2
    assert node.acquired == []


def test_an_absent_daemon_is_told_at_once(ask: Ask) -> None:
    result = ask("--address", "/nowhere/cached.sock", "ls")
    assert result.exit_code == 7
    assert "there is no socket at /nowhere/cached.sock" in result.stderr
    assert "\nhint: " in result.stderr


def test_shared_options_stand_before_or_after_the_command(ask: Ask) -> None:
    assert ask("ls", "--address", "/nowhere/cached.sock").exit_code == 7
    assert ask("--timeout", "0.3", "get", "-q", "slow").exit_code == 8
    assert ask("get", "-q", "slow", "--timeout", "0.3").exit_code == 8


def test_ls(ask: Ask) -> None:
    header, big, cold, minilm = (line.split() for line in ask("ls").stdout.splitlines())
    assert header == ["REF", "STATE", "SIZE", "FILES", "PINNED", "LEASES", "LAST", "USED", "SOURCE"]
    assert big == ["big", "cold", "-", "-", "-", "-", "-", "-"]
    assert cold[:3] == ["cold", "fetching", "50%"]
    assert minilm == ["minilm", "warm", "86.7", "MiB", "7", "yes", "2", "3m", "ago", "s3://models/minilm"]


def test_ls_as_json_and_yaml_are_the_same(ask: Ask) -> None:
    answer = parsed(ask("ls", "-o", "json").stdout)
    assert [each["ref"] for each in answer["artifacts"]] == ["big", "cold", "minilm"]
    assert answer["artifacts"][2]["size_bytes"] == 90_868_376
    assert answer["artifacts"][1]["progress"]["eta"] == 3.0
    again = yaml.safe_load(ask("ls", "-o", "yaml").stdout)
    for each in answer["artifacts"] + again["artifacts"]:
        del each["last_use_time"]
    assert again == answer


def test_describe(ask: Ask) -> None:
    told = ask("describe", "minilm").stdout
    facts, files, leases = told.split("\n\n")
    assert f"tree       {TREE}" in facts.splitlines()
    assert files.splitlines()[1].split() == ["config.json", "612", "B", "yes", TREE]
    assert leases.splitlines()[1].split() == ["pod/?[31mevil", "in", "5m"]


def test_describe_tells_the_swarm(node: Node, ask: Ask) -> None:
    node.swarm = cache_pb2.Swarm(
        coordinator="10.0.0.1:7400",
        chunk_count=40,
        have_count=12,
        neighbours=[cache_pb2.SwarmNeighbour(member="10.0.0.2:7400", have_count=39)],
        totals=cache_pb2.SwarmTotals(
            member_count=16,
            complete_count=3,
            held_count=38,
            granted_count=2,
            read_count=37,
            holders=["10.0.0.7:7400", "10.0.0.9:7400"],
        ),
    )
    facts, *_, neighbours = ask("describe", "minilm").stdout.split("\n\n")
    told = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert told["coordinator"] == "10.0.0.1:7400"
    assert told["chunks"] == "12 of 40 here"
    assert told["swarm"] == (
        "16 members, 3 with all of it; 38 of 40 chunks held, 2 being read from the source, 37 read"
    )
    assert told["holders"] == "10.0.0.7:7400 10.0.0.9:7400, and 1 more"
    assert [line.split() for line in neighbours.splitlines()] == [
        ["NEIGHBOUR", "CHUNKS"],
        ["10.0.0.2:7400", "39", "of", "40"],
    ]
    exact = parsed(ask("describe", "minilm", "-o", "json").stdout)["swarm"]
    assert exact["neighbours"] == [{"member": "10.0.0.2:7400", "have_count": 39}]
    assert exact["totals"]["read_count"] == 37


def test_describe_of_a_swarm_without_a_coordinator(node: Node, ask: Ask) -> None:
    node.swarm = cache_pb2.Swarm(chunk_count=40)
    told = ask("describe", "minilm").stdout
    assert "none answers" in told
    assert "members" not in told
    assert "NEIGHBOUR" not in told


PEERS = operator_pb2.ListPeersResponse(
    address="10.0.0.1:7400",
    data_address="10.0.0.1:7401",
    zone="a",
    encrypted=True,
    membership="dns nodes.cached.svc",
    peers=[
        operator_pb2.Peer(
            address="10.0.0.2:7400",
            zone="a",
            state=operator_pb2.PEER_STATE_OK,
            received_bytes=90 << 20,
            sent_bytes=512,
        ),
        operator_pb2.Peer(
            address="10.0.0.3:7400",
            state=operator_pb2.PEER_STATE_BANNED,
            usable_in=Duration(seconds=58, nanos=500_000_000),
            failure_count=2,
        ),
    ],
)


def test_peers(node: Node, ask: Ask) -> None:
    node.peers = PEERS
    own, table = ask("peers").stdout.split("\n\n")
    assert own == "this node is 10.0.0.1:7400, zone a, encrypted, members from dns nodes.cached.svc"
    assert [line.split() for line in table.splitlines()] == [
        ["ADDRESS", "ZONE", "STATE", "USABLE", "IN", "RECEIVED", "SENT", "FAILURES"],
        ["10.0.0.2:7400", "a", "ok", "-", "90.0", "MiB", "512", "B", "0"],
        ["10.0.0.3:7400", "-", "banned", "58s", "0", "B", "0", "B", "2"],
    ]


def test_peers_as_json_and_yaml_are_the_same(node: Node, ask: Ask) -> None:
    node.peers = PEERS
    answer = parsed(ask("peers", "-o", "json").stdout)
    assert (answer["address"], answer["encrypted"]) == ("10.0.0.1:7400", True)
    assert [(each["state"], each["usable_in"]) for each in answer["peers"]] == [
        ("ok", None),
        ("banned", 58.5),
    ]
    assert yaml.safe_load(ask("peers", "-o", "yaml").stdout) == answer


def test_peers_of_a_node_that_knows_nobody(node: Node, ask: Ask) -> None:
    node.peers = operator_pb2.ListPeersResponse(address="10.0.0.1:7400")
    own, others = ask("peers").stdout.split("\n\n")
    assert own == "this node is 10.0.0.1:7400, not encrypted, no members configured"
    assert others == "no other node is known\n"


def test_peers_of_a_node_that_has_none(ask: Ask) -> None:
    result = ask("peers")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "no peers: the daemon runs alone until peers.advertise is set\n"
    assert parsed(ask("peers", "-o", "json").stdout)["address"] == ""


def test_peers_of_a_daemon_that_is_absent(ask: Ask) -> None:
    assert ask("--address", "/nowhere/cached.sock", "peers").exit_code == 7


def test_status(ask: Ask) -> None:
    facts = dict(line.split(maxsplit=1) for line in ask("status").stdout.splitlines())
    assert facts["used"] == "12.0 GiB of 100 GiB"
    assert facts["state"] == "serving for 2h"
    assert facts["catalog"] == "/etc/cached/catalog.yaml: never read well"
    assert facts["refused"] == "models.x.source: field required"
    assert facts["warning"] == "the filesystem is nearly full"


def test_status_as_json_is_exact(ask: Ask) -> None:
    answer = parsed(ask("status", "-o", "json").stdout)
    assert answer["space"]["used_bytes"] == 12 << 30
    assert answer["catalog"]["load_time"] is None


def test_warm_tells_every_failure_and_ends_with_the_first(node: Node, ask: Ask) -> None:
    result = ask("warm", "minilm", "fail-NoSpace", "cold", "fail-NotFound", "-q")
    assert result.exit_code == 5
    assert [line for line in result.stderr.splitlines() if line.startswith("error")] == [
        "error: fail-NoSpace: NoSpace happened",
        "error: fail-NotFound: NotFound happened",
    ]
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["minilm", "warm"],
        ["fail-NoSpace", "failed"],
        ["cold", "warm"],
        ["fail-NotFound", "failed"],
    ]


def test_warm_as_json(ask: Ask) -> None:
    result = ask("warm", "cold", "fail-Denied", "-q", "-o", "json")
    cold, refused = parsed(result.stdout)["results"]
    assert (cold["state"], cold["fetched_bytes"], cold["error"]) == ("warm", 100 << 20, None)
    assert (refused["state"], refused["path"], refused["error"]["reason"]) == ("failed", None, "Denied")
    assert result.exit_code == 4


def test_warm_without_waiting(ask: Ask) -> None:
    rows = [line.split()[:2] for line in ask("warm", "--all", "--no-wait").stdout.splitlines()]
    assert rows[1:] == [["minilm", "accepted"], ["cold", "accepted"]]


@pytest.mark.parametrize(
    "args", [["warm"], ["warm", "--all", "minilm"], ["warm", "--all", "--image", "redis"]]
)
def test_warm_wants_names_or_all(ask: Ask, args: list[str]) -> None:
    assert ask(*args).exit_code == 2


def test_warm_of_images_beside_models(node: Node, ask: Ask) -> None:
    names = ["--image", "redis", "--image", IMAGE.removeprefix("oci://")]
    result = ask("warm", "minilm", *names, "--platform", "linux/arm64", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    (asked,) = node.warmed
    assert (asked.pull, asked.all) == (False, False)
    assert list(asked.refs) == [
        "minilm",
        "oci://docker.io/library/redis:latest?platform=linux/arm64",
        f"{IMAGE}?platform=linux/arm64",
    ]


def test_warm_has_the_runtime_unpack_images(node: Node, ask: Ask) -> None:
    result = ask("warm", "--image", IMAGE.removeprefix("oci://"), "--image", "redis:7", "--pull")
    assert result.exit_code == 0
    assert [(list(asked.refs), asked.pull) for asked in node.warmed] == [
        ([IMAGE, "oci://docker.io/library/redis:7"], True)
    ]
    told = [line.split(maxsplit=1) for line in result.stderr.splitlines()]
    assert [ref for ref, _ in told] == [IMAGE] * 3 + ["oci://docker.io/library/redis:7"] * 2
    assert told[0][1].startswith("0% 0 B of 100 MiB")
    assert [words for _, words in (told[1], told[3])] == ["unpacking"] * 2
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert rows == [
        [IMAGE, "warm", "86.7", "MiB", "100", "MiB", str(node.model)],
        ["oci://docker.io/library/redis:7", "warm", "86.7", "MiB", "0", "B", "-"],
    ]


def test_warm_of_all_may_pull_the_images_among_it(node: Node, ask: Ask) -> None:
    assert ask("warm", "--all", "--pull", "--no-wait").exit_code == 0
    assert (node.warmed[0].all, node.warmed[0].pull) == (True, True)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["minilm", "--pull"], "name one with --image"),
        (["minilm", "--platform", "linux/arm64"], "--platform is of the images"),
        (["--image", "redis", "--platform", "linux/arm64", "--pull"], "leave --platform out"),
        (["--image", "redis", "--platform", "arm64"], "not a platform: 'arm64' (write it as linux/amd64)"),
        (["--image", "Redis"], "not a repository: 'library/Redis'"),
        (["--image", "redis:a b"], "not an image's tag: 'a b'"),
        (["--image", "redis@sha256:beef"], "sha256:beef"),
        (["--image", "docker://redis"], "write the name alone"),
        (["--image", ""], "not a repository"),
    ],
)
def test_what_is_wrong_with_images_is_a_usage_error(node: Node, ask: Ask, args: list[str], why: str) -> None:
    result = ask("warm", *args)
    assert (result.exit_code, result.stdout, node.warmed) == (2, "", [])
    assert why in " ".join(result.stderr.split())


def test_an_image_may_be_a_ref_everywhere(node: Node, ask: Ask) -> None:
    assert ask("pin", IMAGE).stdout == f"{IMAGE} pinned\n"
    assert ask("unpin", IMAGE).stdout == f"{IMAGE} unpinned\n"
    assert ask("evict", IMAGE).stdout == f"{IMAGE} evicted, 86.7 MiB freed\n"
    assert ask("verify", IMAGE, "-q").stdout == f"{IMAGE}: 100 MiB verified, all well\n"
    facts = dict(
        line.split(maxsplit=1) for line in ask("describe", IMAGE).stdout.split("\n\n")[0].splitlines()
    )
    assert (facts["ref"], facts["runtime"]) == (IMAGE, "not unpacked")
    assert "runtime" not in ask("describe", "minilm").stdout


def test_ls_of_images(ask: Ask) -> None:
    header, redis, broken, cold = ask("ls", "--images").stdout.splitlines()
    assert re.split(r"  +", header) == [
        "IMAGE", "PLATFORM", "STATE", "SIZE", "RUNTIME", "PINNED", "LAST USED", "NOTE",
    ]  # fmt: skip
    assert re.split(r"  +", redis) == [
        "docker.io/library/redis:7", "-", "warm", "86.7 MiB", "unpacked", "yes", "3m ago", "-",
    ]  # fmt: skip
    assert re.split(r"  +", broken) == [
        "quay.io/a/b:1", "linux/arm64", "failed", "-", "-", "-", "-", "quay.io does not?answer",
    ]  # fmt: skip
    assert re.split(r"  +", cold) == ["registry.example:5000/nim/llama:1.8", "-", "cold", *["-"] * 5]
    exact = parsed(ask("ls", "--images", "-o", "json").stdout)["artifacts"]
    assert [each["in_runtime"] for each in exact] == [True, False, False]


def test_evict_goes_on_after_a_refusal(node: Node, ask: Ask) -> None:
    result = ask("evict", "fail-InUse", "minilm")
    assert result.exit_code == 9
    assert result.stdout == "minilm evicted, 86.7 MiB freed\n"
    assert node.evicted == ["minilm"]


def test_evict_as_json(ask: Ask) -> None:
    held, gone = parsed(ask("evict", "fail-InUse", "minilm", "-o", "json").stdout)["results"]
    assert (held["ref"], held["error"]["reason"]) == ("fail-InUse", "InUse")
    assert gone == {"ref": "minilm", "freed_bytes": 90_868_376, "error": None}


def test_an_absent_daemon_is_told_once_for_many_models(ask: Ask) -> None:
    result = ask("--address", "/nowhere/cached.sock", "evict", "a", "b", "c")
    assert (result.exit_code, result.stderr.count("error: ")) == (7, 1)


def test_pin_and_unpin(node: Node, ask: Ask) -> None:
    assert ask("pin", "minilm", "cold").stdout == "minilm pinned\ncold pinned\n"
    assert node.pinned == ["minilm", "cold"]
    (result,) = parsed(ask("unpin", "minilm", "-o", "json").stdout)["results"]
    assert (result["ref"], result["artifact"]["pinned"], result["error"]) == ("minilm", False, None)
    assert node.pinned == ["cold"]


def test_verify_finds_nothing_wrong(ask: Ask) -> None:
    result = ask("verify", "-q")
    assert (result.exit_code, result.stdout) == (0, "store: 100 MiB verified, all well\n")


def test_verify_finds_wrong_blobs(node: Node, ask: Ask) -> None:
    node.corrupt = [
        operator_pb2.CorruptBlob(blob="sha256:aa", refs=["minilm", "big"]),
        operator_pb2.CorruptBlob(blob="sha256:bb"),
    ]
    result = ask("verify", "minilm", "-q")
    assert result.exit_code == 10
    assert result.stderr.startswith("error: minilm: 2 of the blobs had wrong bytes")
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["sha256:aa", "minilm", "big"],
        ["sha256:bb", "-"],
    ]
    assert len(parsed(ask("verify", "-o", "json", "-q").stdout)["corrupt"]) == 2


def test_health(node: Node, ask: Ask) -> None:
    assert (ask("health").stdout, ask("health").exit_code) == ("SERVING\n", 0)
    node.serve(health_pb2.HealthCheckResponse.NOT_SERVING)
    result = ask("health", "-o", "json")
    assert (parsed(result.stdout), result.exit_code) == ({"status": "not_serving"}, 12)


def test_health_waits_no_longer_than_told(node: Node, ask: Ask) -> None:
    node.serve(health_pb2.HealthCheckResponse.NOT_SERVING)
    result = ask("health", "--wait", "--timeout", "0.4")
    assert result.exit_code == 8
    assert result.stderr.startswith("error: the daemon does not serve yet\n")


@pytest.mark.parametrize("time", ["0", "-3", "soon", "1x"])
def test_impossible_times_are_usage_errors(ask: Ask, time: str) -> None:
    assert ask("get", "--ttl", time, "minilm").exit_code == 2
    assert ask("ls", "--timeout", time).exit_code == 2


def test_help_of_a_command_is_its_own_help(ask: Ask) -> None:
    assert ask("help", "get").stdout == ask("get", "--help").stdout
    assert ask("help").stdout == ask("--help").stdout
    assert ask("help", "nope").exit_code == 2


def test_help_tells_the_shape_of_every_output(ask: Ask) -> None:
    told = ask("help", "output").stdout
    for answer in (
        ask("get", "minilm", "-o", "json"),
        ask("warm", "minilm", "-o", "json"),
        ask("evict", "minilm", "-o", "json"),
        ask("pin", "minilm", "-o", "json"),
        ask("verify", "-q", "-o", "json"),
        ask("health", "-o", "json"),
    ):
        shown = parsed(answer.stdout)
        names = {*shown, *(name for result in shown.get("results", ()) for name in result)}
        assert all(name in told for name in names)


def test_help_tells_the_shape_of_what_containerd_commands_print(tmp_path: Path, ask: Ask) -> None:
    told = ask("help", "output").stdout
    node = NodeFiles.make(tmp_path / "etc", "docker.io")
    for command in ("configure", "check"):
        answer = parsed(node.run(command, "-o", "json").stdout)
        rows = [row for value in answer.values() if isinstance(value, list) for row in value]
        assert rows
        assert all(name in told for name in {*answer, *(name for row in rows for name in row)})


def test_every_command_has_help_and_all_but_help_an_example(ask: Ask) -> None:
    from cached.cli.main import COMMANDS

    for name in COMMANDS:
        told = ask("config", "check", "--help") if name == "config" else ask(name, "--help")
        assert told.exit_code == 0
        assert "Examples:" in told.stdout or name == "help", name


def test_an_unknown_command_is_a_usage_error(ask: Ask) -> None:
    assert ask("fetch").exit_code == 2


def test_version(ask: Ask) -> None:
    from cached import __version__

    assert ask("--version").stdout == f"cachectl {__version__}\n"
