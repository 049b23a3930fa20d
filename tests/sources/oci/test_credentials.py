"""Credentials in files, in mounted pull secrets and in helper programs, and how they change."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cached.core.errors import NotConfigured
from cached.sources.oci import helper as helpers
from cached.sources.oci.credentials import Credentials
from cached.sources.oci.options import UpstreamOptions
from cached.sources.oci.secret import Secret
from cached.sources.oci.upstream import Upstream
from tests.sources.oci.clock import TurnedClock
from tests.sources.oci.helpers import Helper

HERE = Upstream.of("r.example:5000", UpstreamOptions())
HUB = Upstream.of("docker.io", UpstreamOptions())
ANN, BOB = Secret("ann", "s3cr:t"), Secret("bob", "pa55")


def config(secret: Secret, host: str = HERE.host) -> str:
    return json.dumps({"auths": {host: {"username": secret.user, "password": secret.password}}})


def write(path: Path, said: Any) -> Path:
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return path


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    return Helper(tmp_path / "bin", "test")


@pytest.fixture
def store(tmp_path: Path, clock: TurnedClock, helper: Helper) -> Iterator[Credentials]:
    """Those of a config.json that leaves all to the helper."""
    found = Credentials([write(tmp_path / "config.json", {"credsStore": helper.name})], clock)
    yield found
    found.close()


async def found_in(*paths: Path) -> Secret | None:
    credentials = Credentials(paths, TurnedClock())
    try:
        return await credentials.find(HERE)
    finally:
        credentials.close()


async def test_the_first_file_that_knows_the_registry_counts(tmp_path: Path) -> None:
    one = write(tmp_path / "one.json", config(ANN, "other.example"))
    two, three = write(tmp_path / "two.json", config(ANN)), write(tmp_path / "three.json", config(BOB))
    assert await found_in() is None
    assert await found_in(one) is None
    assert await found_in(one, two, three) == ANN
    assert await found_in(one, three, two) == BOB


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, clock: TurnedClock) -> None:
    path = write(tmp_path / "config.json", config(ANN))
    credentials = Credentials([path], clock)
    assert await credentials.find(HERE) == ANN
    os.replace(write(tmp_path / "draft", config(BOB)), path)
    assert await credentials.find(HERE) == BOB
    os.replace(write(tmp_path / "draft", {}), path)
    assert await credentials.find(HERE) is None
    credentials.close()


@pytest.mark.parametrize("name", [".dockerconfigjson", "config.json"])
async def test_a_mounted_secret_is_followed_as_kubelet_swaps_it(tmp_path: Path, name: str) -> None:
    """`NAME` leads to `..data/NAME`, and `..data` to a directory that is another after each change."""

    def swap(secret: Secret, generation: str) -> None:
        (tmp_path / generation).mkdir()
        write(tmp_path / generation / name, config(secret))
        (tmp_path / "..draft").symlink_to(generation)
        os.replace(tmp_path / "..draft", tmp_path / "..data")

    swap(ANN, "..2026_1")
    (tmp_path / name).symlink_to(f"..data/{name}")
    credentials = Credentials([tmp_path], TurnedClock())
    assert await credentials.find(HERE) == ANN
    swap(BOB, "..2026_2")
    assert await credentials.find(HERE) == BOB
    credentials.close()


async def test_an_old_pull_secret_is_a_dockercfg(tmp_path: Path) -> None:
    write(tmp_path / ".dockercfg", {HERE.host: {"username": "ann", "password": "s3cr:t"}})
    assert await found_in(tmp_path) == ANN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("{s3cr", "not JSON"),
        ("x" * (1 << 20) + "x", "at most 1 MiB"),
        ('{"auths": {"r.example:5000": {"auth": "s3cr"}}}', r"r\.example:5000"),
        ('{"credsStore": "../s3cr"}', "helper"),
    ],
)
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NotConfigured, match=says) as raised:
        await found_in(path)
    assert str(path) in str(raised.value)
    assert "s3cr" not in str(raised.value)


async def test_a_directory_without_a_secret_and_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="none of"):
        await found_in(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotConfigured, match="not a file"):
        await found_in(tmp_path / "fifo")


async def test_a_helper_is_asked_by_the_name_that_docker_gives(store: Credentials, helper: Helper) -> None:
    helper.says("ann", "s3cr:t")
    assert await store.find(HERE) == ANN
    assert await store.find(HUB) == ANN
    assert helper.calls == ["get r.example:5000", "get https://index.docker.io/v1/"]


async def test_a_helper_may_have_a_token_instead(store: Credentials, helper: Helper) -> None:
    helper.says("<token>", "s3cr")
    assert await store.find(HERE) == Secret(identity="s3cr")


async def test_where_a_helper_knows_nothing_the_file_may(tmp_path: Path, helper: Helper) -> None:
    helper.knows_nothing()
    said = {"credHelpers": {HERE.host: helper.name}, **json.loads(config(BOB))}
    assert await found_in(write(tmp_path / "config.json", said)) == BOB
    helper.says("ann", "s3cr:t")
    assert await found_in(write(tmp_path / "config.json", said)) == ANN


async def test_answers_are_kept_for_a_while(store: Credentials, helper: Helper, clock: TurnedClock) -> None:
    helper.says("ann", "s3cr:t")
    assert await asyncio.gather(*(store.find(HERE) for _ in range(5))) == [ANN] * 5
    clock.turn(290)
    helper.says("bob", "pa55")
    assert await store.find(HERE) == ANN
    assert len(helper.calls) == 1
    clock.turn(20)
    assert await store.find(HERE) == BOB
    assert len(helper.calls) == 2


async def test_that_it_knows_nothing_is_kept_too(store: Credentials, helper: Helper) -> None:
    helper.knows_nothing()
    assert [await store.find(HERE) for _ in range(3)] == [None] * 3
    assert len(helper.calls) == 1


async def test_what_was_refused_is_asked_for_anew_once(
    store: Credentials, helper: Helper, clock: TurnedClock
) -> None:
    helper.says("ann", "s3cr:t")
    assert await store.find(HERE) == ANN
    assert await store.renewed(HERE, ANN) is None
    assert len(helper.calls) == 1, "it was asked a moment ago"
    clock.turn(11)
    assert await store.renewed(HERE, ANN) is None
    assert await store.renewed(HERE, ANN) is None
    assert len(helper.calls) == 2
    clock.turn(11)
    helper.says("bob", "pa55")
    assert await store.renewed(HERE, ANN) == BOB
    assert await store.renewed(HERE, ANN) == BOB
    assert len(helper.calls) == 3


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        ("s3cr is wrong", 1, "it ended with 1"),
        ("s3cr", 0, "makes no sense"),
        ('["s3cr"]', 0, "makes no sense"),
        ('{"Username": "ann"}', 0, "makes no sense"),
        ('{"Username": "ann", "Secret": "s3cr\\nX-Evil: 1"}', 0, "makes no sense"),
        ('{"Username": "ann", "Secret": 7}', 0, "makes no sense"),
    ],
)
async def test_a_helper_that_fails_is_named_and_not_quoted(
    store: Credentials, helper: Helper, output: str, code: int, says: str
) -> None:
    helper.writes(output, code)
    with pytest.raises(NotConfigured, match=f"docker-credential-test .*{says}") as raised:
        await store.find(HERE)
    assert "s3cr" not in str(raised.value)


async def test_a_helper_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"docker-credential-absent .*No such file"):
        await found_in(write(tmp_path / "config.json", {"credsStore": "absent"}))


async def test_a_helper_that_hangs_is_killed_with_all_that_it_started(
    store: Credentials, helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "_SECONDS", 1.0)
    helper.writes("", pause=60)
    began = time.monotonic()
    with pytest.raises(NotConfigured, match="did not answer within 1 s"):
        await store.find(HERE)
    assert time.monotonic() - began < 10
    left = [
        each
        for each in psutil.process_iter(["cmdline"])
        if f"docker-credential-{helper.name}" in str(each.info["cmdline"])
    ]
    gone, alive = psutil.wait_procs(left, timeout=5)
    assert not alive, gone
