"""Tokens: how they are asked for, kept and renewed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cached.core.errors import Denied, SourceUnavailable, Unauthenticated
from cached.core.registry import ANYBODY, NODE, Found, file_of
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image
from tests.servers.tokens import TokenService
from tests.sources.oci.canned import Canned
from tests.sources.oci.conftest import OPEN, SHUT
from tests.sources.oci.helpers import Helper
from tests.sources.oci.house import HOST, PASSWORD, USER, House, docker_config


@pytest.mark.parametrize("field", ["token", "access_token"])
async def test_both_names_are_taken(with_tokens: House, tokens: TokenService, field: str) -> None:
    tokens.field = field
    assert (await with_tokens.tag(NODE)).digest == with_tokens.image.digest


async def test_a_token_serves_until_shortly_before_its_end(with_tokens: House, tokens: TokenService) -> None:
    for seconds, calls in ((0, 1), (100, 1), (160, 1), (15, 2), (200, 2)):
        with_tokens.clock.turn(seconds)
        await with_tokens.tag(NODE)
        assert len(tokens.calls) == calls
    unproven = [
        seen for seen in with_tokens.server.requests(method="") if "authorization" not in seen.headers
    ]
    assert len(unproven) == 1, "a token is renewed before it is refused"


@pytest.mark.parametrize(("said", "kept"), [(None, 54), (20, 18), (300, 270), (86400, 3570)])
async def test_how_long_a_token_is_kept(
    with_tokens: House, tokens: TokenService, said: int | None, kept: int
) -> None:
    tokens.expires_in = said
    await with_tokens.tag(NODE)
    with_tokens.clock.turn(kept - 4)
    await with_tokens.tag(NODE)
    assert len(tokens.calls) == 1
    with_tokens.clock.turn(5)
    await with_tokens.tag(NODE)
    assert len(tokens.calls) == 2


async def test_many_who_ask_share_one_call(with_tokens: House, tokens: TokenService) -> None:
    tokens.pause = 0.2
    await asyncio.gather(*(with_tokens.blob(NODE) for _ in range(20)))
    assert len(tokens.calls) == 1
    with_tokens.clock.turn(280)
    await asyncio.gather(*(with_tokens.blob(NODE) for _ in range(20)))
    assert len(tokens.calls) == 2


async def test_one_who_is_late_takes_what_others_have_got(with_tokens: House, tokens: TokenService) -> None:
    with_tokens.server.inject(Fault(method="HEAD", before=lambda: time.sleep(0.3)))
    await asyncio.gather(*(with_tokens.blob(NODE) for _ in range(5)))
    assert len(tokens.calls) == 1


async def test_one_who_leaves_takes_it_from_nobody(with_tokens: House, tokens: TokenService) -> None:
    tokens.pause = 0.3
    first = asyncio.create_task(with_tokens.blob(NODE))
    second = asyncio.create_task(with_tokens.blob(NODE))
    await asyncio.sleep(0.15)
    first.cancel()
    assert (await second).digest == with_tokens.layer
    assert first.cancelled()
    assert len(tokens.calls) == 1


async def test_each_repository_and_reader_has_its_own(with_tokens: House, tokens: TokenService) -> None:
    for name in (OPEN, SHUT):
        with_tokens.name = name
        await with_tokens.blob(NODE)
    with_tokens.name = OPEN
    await with_tokens.blob(ANYBODY)
    assert [(call.user, call.scopes[0].split(":")[1]) for call in tokens.calls] == [
        (USER, OPEN),
        (USER, SHUT),
        ("", OPEN),
    ]


async def test_a_token_that_is_refused_before_its_time_is_replaced(
    with_tokens: House, tokens: TokenService
) -> None:
    await with_tokens.tag(NODE)
    realm = f'Bearer realm="{tokens.realm}",service="{tokens.service}",scope="repository:{SHUT}:pull"'
    with_tokens.server.inject(Fault(method="", status=401, headers={"WWW-Authenticate": realm}))
    assert (await with_tokens.tag(NODE)).digest == with_tokens.image.digest
    assert len(tokens.calls) == 2


async def test_an_identity_token_is_traded_for_one(
    with_tokens: House, tokens: TokenService, tmp_path: Path
) -> None:
    entry = {"identitytoken": tokens.identity(USER)}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: entry}}))
    tokens.field = "access_token"
    assert (await with_tokens.tag(NODE)).digest == with_tokens.image.digest
    (call,) = tokens.calls
    assert (call.method, call.grant, call.user) == ("POST", "refresh_token", USER)


async def test_an_identity_token_that_is_void(
    with_tokens: House, tokens: TokenService, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: {"identitytoken": "void"}}}))
    with pytest.raises(Unauthenticated, match="does not accept the node's credentials"):
        await with_tokens.tag(NODE)


async def test_what_a_helper_said_is_asked_for_anew_when_it_is_refused(
    with_tokens: House, tokens: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    helper = Helper(tmp_path / "bin", "test")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": helper.name}))
    helper.says(USER, PASSWORD)
    await with_tokens.tag(NODE)
    tokens.users = {USER: "changed"}
    helper.says(USER, "changed")
    with_tokens.clock.turn(280)
    await with_tokens.tag(NODE)
    assert [call.status for call in tokens.calls] == [200, 401, 200]
    assert len(helper.calls) == 2


async def test_a_registry_token_is_shown_as_it_is(
    with_tokens: House, tokens: TokenService, tmp_path: Path
) -> None:
    entry = {"registrytoken": tokens.token(USER, f"repository:{SHUT}:pull")}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: entry}}))
    assert (await with_tokens.tag(NODE)).digest == with_tokens.image.digest
    assert tokens.calls == []


async def test_a_registry_token_that_is_refused_brings_no_challenge_of_strangers(
    with_tokens: House, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {HOST: {"registrytoken": "void"}}}))
    challenge = {"WWW-Authenticate": 'Bearer realm="https://evil.example/token"'}
    with_tokens.server.inject(Fault(method="", times=None, status=401, headers=challenge))
    with pytest.raises(Unauthenticated) as raised:
        await with_tokens.tag(NODE)
    assert raised.value.challenge == ""


async def test_what_was_refused_is_not_handed_out(
    with_tokens: House, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tokens.members, USER, ["elsewhere/*"])
    file = file_of(with_tokens.repository, Found(with_tokens.layer, 1))
    with pytest.raises(Unauthenticated):
        await with_tokens.tag(NODE)
    with pytest.raises(Unauthenticated):
        await with_tokens.source.open_blob(with_tokens.repository, file, NODE)


@pytest.fixture
async def canned(small: Image, tmp_path: Path) -> AsyncIterator[tuple[House, Canned]]:
    """A registry that wants a token of its own `/token`, whatever is shown to it."""
    said = Canned()
    with FaultyServer(said) as server:
        challenge = f'Bearer realm="{server.endpoint}/token?x=y"'
        said.put("/v2/a/b/manifests/v1", 401, WWW_Authenticate=challenge)
        house = House(server, small, credentials=[docker_config(tmp_path)])
        yield house, said
        await house.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b'"token"',
        b"{}",
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": "x\\r\\nX-Evil: 1"}',
        b'{"token": "x y"}',
        json.dumps({"token": "x" * 40_000}).encode(),
        b"[" * 50_000,
        b"x" * (2 << 20),
    ],
    ids=range(12),
)
async def test_answers_without_a_token(canned: tuple[House, Canned], body: bytes) -> None:
    house, said = canned
    said.put("/token", 200, body)
    with pytest.raises(SourceUnavailable, match="token"):
        await house.tag(NODE)
    assert len(house.server.requests("/token")) == 1


@pytest.mark.parametrize(
    "expires_in", ["0", "-5", "true", '"soon"', "null", "1e300", "1" + "0" * 400, "NaN", "Infinity", "[]"]
)
async def test_lives_that_make_no_sense(canned: tuple[House, Canned], expires_in: str) -> None:
    house, said = canned
    said.put("/token", 200, b'{"token": "t0k3n", "expires_in": %b}' % expires_in.encode())
    with pytest.raises(Unauthenticated):
        await house.tag(NODE)
    shown = [seen.headers.get("authorization", "") for seen in house.server.requests("/v2/*", "HEAD")]
    assert shown == ["", "Bearer t0k3n"]


async def test_where_no_scope_is_said_it_is_that_of_a_pull(canned: tuple[House, Canned]) -> None:
    house, said = canned
    with pytest.raises(SourceUnavailable, match="answered 404"):
        await house.tag(NODE)
    assert said.targets[-1] == "/token?x=y&scope=repository%3Aa%2Fb%3Apull"


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthenticated), (403, Denied), (500, SourceUnavailable), (302, SourceUnavailable)],
)
async def test_what_token_services_may_answer(
    canned: tuple[House, Canned], status: int, error: type[Exception]
) -> None:
    house, said = canned
    said.put("/token", status, Location=f"{house.server.endpoint}/elsewhere")
    with pytest.raises(error):
        await house.tag(NODE)
    with pytest.raises(Unauthenticated if status == 403 else error):
        await house.tag(ANYBODY)
    assert house.server.requests("/elsewhere") == [], "credentials follow no redirect"
