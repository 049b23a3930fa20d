"""Which host a URL leads to, by which proxy, and what it may be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.errors import NotConfigured
from cached.kit.proxies import Proxies, Proxy
from cached.transfer.address import Endpoint, call_to, redirected

NONE = Proxies({})
SECRET = {"Authorization": "Bearer secret", "If-Match": '"e"'}


def test_a_url_is_taken_apart() -> None:
    call = call_to("https://h.example/a%20b/ü c?x=1&y=ä%2F#frag", {}, NONE)
    assert call.endpoint == Endpoint("https", "h.example", 443)
    assert call.target == "/a%20b/%C3%BC%20c?x=1&y=%C3%A4%2F"
    assert call_to("http://h.example:8080", {}, NONE).target == "/"
    assert call_to("http://[::1]:90/x", {}, NONE).endpoint == Endpoint("http", "::1", 90)
    assert call_to("http://bücher.example/", {}, NONE).endpoint.host == "xn--bcher-kva.example"


@given(st.text())
def test_no_text_in_a_url_can_break_the_request_line(path: str) -> None:
    try:
        target = call_to(f"http://h/{path}", {}, NONE).target
    except ValueError:
        return
    assert target.isascii()
    assert not any(c <= " " or c == "\x7f" for c in target)


def test_neither_url_nor_headers_are_shown() -> None:
    shown = repr(call_to("http://h/x?X-Amz-Signature=secret", SECRET, NONE))
    assert "secret" not in shown
    assert "pw" not in repr(Proxies({"http": "http://u:pw@p:1"}).of("http", "h"))


@pytest.mark.parametrize(
    ("settings", "url", "proxy"),
    [
        ({"https": "http://p.example:3128"}, "https://h/", Proxy("p.example", 3128)),
        ({"https": "p.example:3128"}, "https://h/", Proxy("p.example", 3128)),
        ({"https": "http://p.example"}, "http://h/", None),
        ({"http": "http://p.example"}, "http://h/", Proxy("p.example", 80)),
        ({"http": "http://p:1", "no": "other.example,h.example"}, "http://s3.h.example/", None),
        ({"http": "http://p:1", "no": "h.example:9000"}, "http://h.example:9000/", None),
        ({"http": "http://p:1", "no": "h.example:9000"}, "http://h.example:9001/", Proxy("p", 1)),
        ({"http": "http://p:1", "no": "*"}, "http://h/", None),
        ({"http": "http://us%40er:p%3Aw@p:1"}, "http://h/", Proxy("p", 1, "Basic dXNAZXI6cDp3")),
    ],
)
def test_proxies_are_found_as_boto3_finds_them(
    settings: dict[str, str], url: str, proxy: Proxy | None
) -> None:
    assert call_to(url, {}, Proxies(settings)).endpoint.proxy == proxy


def test_a_plaintext_proxy_is_told_the_whole_url_and_who_asks() -> None:
    call = call_to("http://h:81/x?q", {"A": "b"}, Proxies({"http": "http://u:p@proxy:1"}))
    assert call.target == "http://h:81/x?q"
    assert call.headers == {"A": "b", "Proxy-Authorization": "Basic dTpw"}


def test_a_proxy_spoken_to_in_tls_is_refused_without_its_password() -> None:
    with pytest.raises(NotConfigured, match="HTTPS_PROXY") as error:
        call_to("https://h/", {}, Proxies({"https": "https://u:pw@proxy:1"}))
    assert "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("location", "url", "told"),
    [
        ("/other?sig=1", "https://h.example/other?sig=1", True),
        ("https://h.example:443/y", "https://h.example/y", True),
        ("https://h.example:444/y", "https://h.example:444/y", False),
        ("https://cdn.example/y?sig=2", "https://cdn.example/y?sig=2", False),
        ("//cdn.example/y", "https://cdn.example/y", False),
        ("http://h.example/y", None, False),
        ("file:///etc/passwd", None, False),
        ("ftp://h.example/y", None, False),
        ("https://h.example:port/y", None, False),
        ("https://[::1/y", None, False),
        ("https:///y", "https://h.example/y", True),
    ],
)
def test_redirects_keep_secrets_at_home(location: str, url: str | None, told: bool) -> None:
    call = call_to("https://h.example/x", SECRET, NONE)
    there = redirected(call, location, SECRET, NONE)
    assert (there.url if there else None) == url
    if there:
        assert there.headers["If-Match"] == '"e"'
        assert ("Authorization" in there.headers) is told
