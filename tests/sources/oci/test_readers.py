"""Who is let in: anybody, the node, and pullers that prove themselves."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cached.core.errors import CachedError, Denied, NotConfigured, Unauthenticated
from cached.core.registry import ANYBODY, NODE, Found, Reader, file_of
from cached.core.runtime import Login
from tests.servers.faults import Fault
from tests.servers.images import basic
from tests.servers.tokens import TokenService
from tests.sources.oci.conftest import OPEN, SHUT
from tests.sources.oci.helpers import Helper
from tests.sources.oci.house import HOST, PASSWORD, USER, House, docker_config

BASIC = Reader(basic(USER, PASSWORD))
WRONG = Reader(basic(USER, "wr0ng"))


def found(house: House) -> Found:
    return Found(house.layer, house.image.layers[0].size)


def told(house: House) -> list[str]:
    """The Authorization headers that the registry was shown, in order."""
    return [seen.headers.get("authorization", "") for seen in house.server.requests(method="")]


async def test_a_password_is_shown_to_who_asks_for_one(with_password: House) -> None:
    assert await with_password.blob(NODE) == found(with_password)
    assert await with_password.blob(NODE) == found(with_password)
    assert told(with_password) == ["", BASIC.authorization, BASIC.authorization]


async def test_cookies_are_not_kept_and_nothing_is_squeezed(with_password: House) -> None:
    with_password.server.inject(Fault(method="", times=None, headers={"Set-Cookie": "who=ann; Path=/"}))
    await with_password.blob(NODE)
    await with_password.blob(NODE)
    for seen in with_password.server.requests(method=""):
        assert "cookie" not in seen.headers
        assert seen.headers["accept-encoding"] == "identity"


async def test_anybody_has_no_password(with_password: House) -> None:
    with pytest.raises(Unauthenticated, match="without credentials") as raised:
        await with_password.blob(ANYBODY)
    assert raised.value.challenge == 'Basic realm="registry.test"'
    assert told(with_password) == [""]


async def test_a_puller_shows_its_own(with_password: House) -> None:
    assert await with_password.blob(BASIC) == found(with_password)
    assert told(with_password) == [BASIC.authorization]
    with pytest.raises(Unauthenticated, match="the puller's credentials for blob") as raised:
        await with_password.blob(WRONG)
    assert raised.value.challenge == 'Basic realm="registry.test"'
    assert told(with_password)[1:] == [WRONG.authorization]


async def test_wrong_credentials_of_the_node(with_password: House, tmp_path: Path) -> None:
    docker_config(tmp_path, password="wr0ng")
    with pytest.raises(Unauthenticated, match="does not accept the node's credentials") as raised:
        await with_password.tag(NODE)
    assert "images.credentials" in raised.value.hint
    assert "wr0ng" not in str(raised.value)
    docker_config(tmp_path)
    assert (await with_password.tag(NODE)).digest == with_password.image.digest


async def test_a_node_without_credentials(with_password: House) -> None:
    with_password.credentials = []
    source = with_password.another()
    with pytest.raises(Unauthenticated, match="the node has none"):
        await source.blob(with_password.repository, with_password.layer, NODE)


async def test_credentials_that_cannot_be_used(with_password: House, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{s3cr")
    with pytest.raises(NotConfigured, match=r"config\.json"):
        await with_password.tag(NODE)


async def test_changed_credentials_count_within_a_minute(with_password: House, tmp_path: Path) -> None:
    assert await with_password.blob(NODE) == found(with_password)
    docker_config(tmp_path, password="wr0ng")
    with_password.clock.turn(61)
    with pytest.raises(Unauthenticated):
        await with_password.blob(NODE)


async def test_what_a_helper_said_is_asked_for_anew_when_it_is_refused(
    with_password: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    helper = Helper(tmp_path / "bin", "test")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {HOST: "test"}}))
    helper.says(USER, PASSWORD)
    assert await with_password.blob(NODE) == found(with_password)
    with_password.server.inject(
        Fault(method="", skip=0, times=2, status=401, headers={"WWW-Authenticate": "Basic"})
    )
    with_password.clock.turn(30)
    helper.says(USER, "wr0ng")
    with pytest.raises(Unauthenticated):
        await with_password.blob(NODE)
    assert len(helper.calls) == 2
    helper.says(USER, PASSWORD)
    with_password.clock.turn(30)
    assert await with_password.blob(NODE) == found(with_password)
    assert len(helper.calls) == 3


async def test_the_node_is_let_in_by_a_token(with_tokens: House, tokens: TokenService) -> None:
    assert await with_tokens.blob(NODE) == found(with_tokens)
    assert [(call.user, call.scopes) for call in tokens.calls] == [(USER, (f"repository:{SHUT}:pull",))]
    first, second = told(with_tokens)
    assert (first, second.split(" ")[0]) == ("", "Bearer")


async def test_anybody_is_let_in_where_that_is_so(with_tokens: House, tokens: TokenService) -> None:
    with_tokens.name = OPEN
    assert await with_tokens.blob(ANYBODY) == found(with_tokens)
    assert [call.user for call in tokens.calls] == [""]


async def test_anybody_is_not_let_in_where_it_is_not_so(with_tokens: House, tokens: TokenService) -> None:
    with pytest.raises(Unauthenticated, match="without credentials") as raised:
        await with_tokens.blob(ANYBODY)
    assert raised.value.challenge.startswith(
        f'Bearer realm="{tokens.realm}",service="registry.test",scope="repository:{SHUT}:pull"'
    )
    assert [call.user for call in tokens.calls] == [""]


async def test_a_puller_brings_its_own_token(with_tokens: House, tokens: TokenService) -> None:
    token = Reader(f"Bearer {tokens.token(USER, f'repository:{SHUT}:pull')}")
    assert await with_tokens.blob(token) == found(with_tokens)
    for reader in (
        Reader("Bearer wr0ng"),
        Reader(f"Bearer {tokens.token(USER, f'repository:{OPEN}:pull')}"),
        WRONG,
    ):
        with pytest.raises(Unauthenticated) as raised:
            await with_tokens.blob(reader)
        assert f'realm="{tokens.realm}"' in raised.value.challenge
        assert f'scope="repository:{SHUT}:pull"' in raised.value.challenge
    assert tokens.calls == [], "what pullers show is for the registry alone"


async def test_what_one_is_let_in_by_is_no_other_readers(with_tokens: House) -> None:
    await with_tokens.blob(NODE)
    with pytest.raises(Unauthenticated):
        await with_tokens.blob(ANYBODY)
    with pytest.raises(Unauthenticated):
        await with_tokens.blob(Reader("Bearer wr0ng"))


async def test_users_that_the_token_service_does_not_know(
    with_tokens: House, tokens: TokenService, tmp_path: Path
) -> None:
    docker_config(tmp_path, password="wr0ng")
    with pytest.raises(Unauthenticated, match="does not accept the node's credentials"):
        await with_tokens.blob(NODE)
    assert [call.status for call in tokens.calls] == [401]


async def test_a_repository_that_the_user_may_not_have(
    with_tokens: House, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tokens.members, USER, ["elsewhere/*"])
    with pytest.raises(Unauthenticated, match="does not accept the node's credentials"):
        await with_tokens.blob(NODE)
    assert [call.status for call in tokens.calls] == [200]


@pytest.mark.parametrize(
    "realm",
    ["https://evil.example/token", "http://127.0.0.1@evil.example/token", "ftp://127.0.0.1/token"],
)
async def test_a_token_service_elsewhere_sees_nothing(with_password: House, realm: str) -> None:
    challenge = f'Bearer realm="{realm}",service="x"'
    fault = Fault(method="", times=None, status=401, headers={"WWW-Authenticate": challenge})
    with_password.server.inject(fault)
    for reader in (NODE, ANYBODY):
        with pytest.raises(NotConfigured, match="not on its own domain") as raised:
            await with_password.blob(reader)
        assert f"token_hosts of {HOST}" in raised.value.hint
    with pytest.raises(Denied, match="not on its own domain"):
        await with_password.blob(BASIC)


@pytest.mark.parametrize(
    "challenge", ["", "Digest realm=x", "Bearer service=x", 'Bearer realm="', "\x80", "Bearer " + "x" * 7000]
)
async def test_challenges_that_cannot_be_answered(with_password: House, challenge: str) -> None:
    fault = Fault(method="", times=None, status=401, headers={"WWW-Authenticate": challenge})
    with_password.server.inject(fault)
    for reader in (NODE, ANYBODY, BASIC):
        with pytest.raises(Unauthenticated) as raised:
            await with_password.blob(reader)
        assert raised.value.challenge == ""
    assert told(with_password) == ["", "", BASIC.authorization]


async def test_a_challenge_is_passed_on_in_one_line_that_says_no_more_than_needed(
    with_password: House,
) -> None:
    challenge = (
        f'Basic realm="r", Bearer realm="{with_password.server.endpoint}/token",service="s",evil="x\ty"'
    )
    fault = Fault(method="", times=None, status=401, headers={"WWW-Authenticate": challenge})
    with_password.server.inject(fault)
    with pytest.raises(Unauthenticated) as raised:
        await with_password.blob(BASIC)
    assert raised.value.challenge == f'Bearer realm="{with_password.server.endpoint}/token",service="s"'


@pytest.mark.parametrize("header", ["Bearer x\r\nX-Evil: 1", "Bearer ü", "Bearer " + "x" * 20_000, "\udcff"])
async def test_what_no_puller_may_show(with_password: House, header: str) -> None:
    with pytest.raises(Denied, match="nothing a registry takes"):
        await with_password.blob(Reader(header))
    assert told(with_password) == []


async def test_forbidden_is_denied(with_password: House) -> None:
    with_password.server.inject(Fault(method="", times=None, status=403))
    for reader in (NODE, ANYBODY, BASIC):
        with pytest.raises(Denied, match="does not let this reader have"):
            await with_password.blob(reader)


async def test_the_runtime_is_given_a_login(with_password: House, tmp_path: Path) -> None:
    source = with_password.source
    assert await source.login(HOST) == Login(USER, PASSWORD)
    assert await source.login("other.test") is None
    entry = {"auths": {HOST: {"identitytoken": "s3cr"}, "other.test": {"username": "x", "password": "y"}}}
    (tmp_path / "config.json").write_text(json.dumps(entry))
    assert await source.login(HOST) is None
    assert await source.login("other.test") is None, "no image may come from there"


async def test_nothing_that_was_shown_is_logged_or_in_an_error(
    with_password: House, with_tokens: House, tokens: TokenService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [PASSWORD, BASIC.authorization or "", "wr0ng", WRONG.authorization or ""]
    errors: list[CachedError] = []
    shown: list[object] = []
    for house in (with_password, with_tokens):
        for reader in (NODE, ANYBODY, BASIC, WRONG):
            try:
                await house.tag(reader)
                request = await house.source.open_blob(
                    house.repository, file_of(house.repository, found(house)), reader
                )
                secrets.append(request.headers["Authorization"])
                shown += [request, house.source]
            except CachedError as error:
                errors.append(error)
    assert len(errors) == 5
    assert len(secrets) == 7
    everything = " ".join(
        map(
            repr,
            [*errors, *shown, *(error.challenge for error in errors if isinstance(error, Unauthenticated))],
        )
    )
    everything += " ".join(map(str, errors)) + caplog.text
    for secret in secrets:
        assert secret.split(" ")[-1] not in everything
