"""Lists that are passed on to whoever asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest

from cached.core.errors import InvalidRequest, NotFound, SourceUnavailable, Unauthenticated
from cached.core.registry import ANYBODY, NODE, Passed
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, push
from tests.servers.registry import DockerRegistry
from tests.sources.oci.canned import Canned
from tests.sources.oci.house import House

TAGS = "/v2/a/b/tags/list"


async def listed(house: House, path: str = "tags/list", **query: str) -> Passed:
    return await house.source.passed(house.repository, path, query, NODE)


async def test_tags(house: House, registry: DockerRegistry, small: Image) -> None:
    for tag in ("v1", "v2"):
        push(registry.endpoint, "tags/t", tag, small)
    house.name = "tags/t"
    found = await listed(house)
    assert json.loads(found.body) == {"name": "tags/t", "tags": ["v1", "v2"]}
    assert (found.status, found.headers) == (200, {"Content-Type": "application/json"})


async def test_what_is_not_there_or_not_for_everybody(house: House, with_password: House) -> None:
    house.name = "no/such"
    with pytest.raises(NotFound, match=r"tags/list of registry\.test/no/such"):
        await listed(house)
    with pytest.raises(Unauthenticated) as raised:
        await with_password.source.passed(with_password.repository, "tags/list", {}, ANYBODY)
    assert raised.value.challenge
    assert (await listed(with_password)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tags/list/",
        "../../_catalog",
        "manifests/v1",
        "blobs/uploads/",
        "referrers/",
        "referrers/x",
        "tags/list\n",
        "referrers/sha256:" + "0" * 63,
        "referrers/sha256:" + "0" * 64 + "/../x",
    ],
)
async def test_nothing_else_is_passed_on(house: House, path: str) -> None:
    with pytest.raises(InvalidRequest, match="not a list"):
        await listed(house, path)
    assert house.server.requests() == []


@pytest.fixture
async def canned(small: Image) -> AsyncIterator[tuple[House, Canned]]:
    said = Canned()
    with FaultyServer(said) as server:
        house = House(server, small)
        yield house, said
        await house.close()


async def test_a_page_of_tags(canned: tuple[House, Canned]) -> None:
    """The real registry of these tests knows no pages."""
    house, said = canned
    said.put(TAGS, 200, b'{"tags": ["v2"]}', Link='</v2/a/b/tags/list?last=v2&n=1>; rel="next"')
    found = await listed(house, n="1", last="v1", ns="not passed on")
    assert json.loads(found.body)["tags"] == ["v2"]
    assert found.headers["Link"] == '</v2/a/b/tags/list?last=v2&n=1>; rel="next"'
    assert said.targets == [f"{TAGS}?n=1&last=v1"]


async def test_referrers_with_what_their_readers_need(canned: tuple[House, Canned]) -> None:
    house, said = canned
    path = f"referrers/{house.image.digest}"
    headers = {
        "Content_Type": "application/vnd.oci.image.index.v1+json; charset=utf-8",
        "OCI_Filters_Applied": "artifactType",
        "Docker_Content_Digest": house.image.digest,
        "Set_Cookie": "x=y",
        "WWW_Authenticate": "Basic",
    }
    said.put(f"/v2/a/b/{path}", 200, b"{}", **headers)
    found = await listed(house, path, artifactType="a/b+c d")
    assert found.headers == {
        "Content-Type": "application/vnd.oci.image.index.v1+json",
        "OCI-Filters-Applied": "artifactType",
        "Docker-Content-Digest": house.image.digest,
    }
    assert said.targets == [f"/v2/a/b/{path}?artifactType=a%2Fb%2Bc+d"]


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ('<{here}/v2/a/b/tags/list?n=1&last=x>; rel="next"', "/v2/a/b/tags/list?n=1&last=x"),
        ("</v2/a/b/tags/list?last=x>;rel=next", "/v2/a/b/tags/list?last=x"),
        ('<list?last=x>; rel="next"', "/v2/a/b/tags/list?last=x"),
        ('</v2/a/b/tags/list>; rel="next"', "/v2/a/b/tags/list"),
        ('<http://evil.example/v2/a/b/tags/list?last=x>; rel="next"', ""),
        ('<//evil.example/v2/a/b/tags/list?last=x>; rel="next"', ""),
        ('</v2/other/tags/list?last=x>; rel="next"', ""),
        ('</v2/a/b/../../other/tags/list>; rel="next"', ""),
        ('</v2/a/b/tags/list?last=ü>; rel="next"', ""),
        ('</v2/a/b/tags/list?last=x>; rel="prev"', ""),
        ('<http://[>; rel="next"', ""),
        ("<" + "x" * 5000 + '>; rel="next"', ""),
        ("nonsense", ""),
    ],
)
async def test_the_next_page_is_asked_of_whom_the_first_was(
    canned: tuple[House, Canned], link: str, kept: str
) -> None:
    house, said = canned
    link = link.replace("{here}", house.server.endpoint)
    said.put(TAGS, 200, b"{}", Link=link.encode().decode("latin-1"))
    found = await listed(house)
    assert found.headers.get("Link", "") == (f'<{kept}>; rel="next"' if kept else "")


async def test_no_more_than_four_mebibytes(canned: tuple[House, Canned]) -> None:
    house, said = canned
    said.put(TAGS, 200, bytes(4 << 20))
    assert len((await listed(house)).body) == 4 << 20
    said.put(TAGS, 200, bytes((4 << 20) + 1))
    with pytest.raises(SourceUnavailable, match="more than 4194304 bytes"):
        await listed(house)


@pytest.mark.parametrize("headers", [{"Content-Type": "text/html\x01"}, {"OCI-Filters-Applied": "<script>"}])
async def test_headers_that_make_no_sense_are_left_out(house: House, headers: Mapping[str, str]) -> None:
    house.server.inject(Fault(headers=headers))
    try:
        found = await listed(house)
    except SourceUnavailable:
        return  # it is no HTTP at all
    assert found.headers["Content-Type"] == "application/json"
    assert "OCI-Filters-Applied" not in found.headers
