"""Where registries are, and whose token services are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.errors import NotConfigured
from cached.sources.oci.options import UpstreamOptions
from cached.sources.oci.upstream import Upstream


def upstream(host: str, endpoint: str | None = None, *token_hosts: str) -> Upstream:
    return Upstream.of(host, UpstreamOptions(endpoint, token_hosts=token_hosts))


def test_where_registries_are() -> None:
    assert upstream("r.example:5000").url("a/b", "tags/list") == "https://r.example:5000/v2/a/b/tags/list"
    assert (
        upstream("docker.io").url("library/redis", "x") == "https://registry-1.docker.io/v2/library/redis/x"
    )
    assert upstream("docker.io").login == "https://index.docker.io/v1/"
    assert upstream("r.example").login == "r.example"
    below = upstream("r.example", "http://10.0.0.1:80/proxy/")
    assert below.url("a", "x") == "http://10.0.0.1:80/proxy/v2/a/x"
    assert (below.secure, below.address) == (False, "10.0.0.1:80")
    assert upstream("r.example").address == "r.example:443"


@pytest.mark.parametrize(
    "endpoint",
    [
        "r.example",
        "ftp://r.example",
        "https://",
        "https://r.example:port",
        "https://u:secret@r.example",
        "https://r?q",
    ],
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(NotConfigured, match=r"endpoint of the registry r\.example") as raised:
        upstream("r.example", endpoint)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "realm", "believed"),
    [
        ("docker.io", "https://auth.docker.io/token", True),
        ("docker.io", "https://docker.io/token", True),
        ("docker.io", "https://AUTH.Docker.IO/token", True),
        ("docker.io", "https://registry-1.docker.io:8443/token?x=y", True),
        ("docker.io", "http://auth.docker.io/token", False),
        ("docker.io", "https://auth.docker.io.evil.example/token", False),
        ("docker.io", "https://evildocker.io/token", False),
        ("docker.io", "https://a.auth.docker.io/token", False),
        ("docker.io", "https://auth.docker.io@evil.example/token", False),
        ("docker.io", "https://evil.example/\\@auth.docker.io/token", False),
        ("docker.io", "https://auth.docker.io\\.evil.example/", False),
        ("docker.io", "https://auth.docker.io./token", False),
        ("docker.io", "https://auth.docker.io/ token", False),
        ("docker.io", "//auth.docker.io/token", False),
        ("docker.io", "file:///etc/passwd", False),
        ("docker.io", "", False),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("registry.gitlab.com", "https://gitlab.example/jwt/auth", False),
        ("gitlab.com", "https://evil.com/token", False),
        ("registry.com", "https://com/token", False),
        ("ghcr.io", "https://ghcr.io/token", True),
        ("ghcr.io", "https://evil.io/token", False),
        ("r.example:5000", "https://r.example:5001/token", True),
        ("localhost", "https://localhost/token", True),
        ("10.1.2.3", "https://10.1.2.3/token", True),
        ("10.1.2.3", "https://9.1.2.3/token", False),
        ("[::1]:5000", "https://[::1]/token", True),
        ("[::1]:5000", "https://[::2]/token", False),
    ],
)
def test_realms(host: str, realm: str, believed: bool) -> None:
    assert upstream(host).believes(realm) is believed


def test_realms_elsewhere_have_to_be_named() -> None:
    named = upstream("r.example", None, "Auth.example.org", "other.example:8443")
    assert named.believes("https://auth.example.org/token")
    assert not named.believes("http://auth.example.org/token")
    assert named.believes("https://other.example:8443/token")
    assert not named.believes("https://other.example/token")
    assert not named.believes("https://third.example/token")


def test_a_registry_in_plaintext_may_have_its_token_service_in_plaintext() -> None:
    plain = upstream("r.example", "http://r.example")
    assert plain.believes("http://r.example:5001/token")
    assert plain.believes("https://r.example/token")


@given(st.text(st.sampled_from("adhiko.cers:/@#?\\[]%\t -0"), max_size=40))
def test_no_text_makes_a_foreign_host_a_believed_one(text: str) -> None:
    """Whatever is put around it, the host that a client would ask is one of the domain."""
    realm = f"https://{text}"
    if upstream("registry-1.docker.io").believes(realm):
        host = realm.removeprefix("https://").partition("/")[0].partition(":")[0]
        assert host == "docker.io" or host.endswith(".docker.io")
