"""What becomes of a hosts.toml: the operator's words stay, the mirror comes first, and all can go again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.cli.containerd.hosts import Certificates, Place, Wanted, configured, hosts_of
from cached.cli.containerd.marks import Marked
from cached.core.errors import InvalidRequest

MIRROR = "http://127.0.0.1:7402"
WANTED = Wanted("docker.io", MIRROR, "https://registry-1.docker.io")
DIRECTORY = Path("/etc/containerd/certs.d/docker.io")
NO_DEFAULT = Place(DIRECTORY.parent / "_default")
ENTRY = {"capabilities": ["pull", "resolve"], "dial_timeout": "200ms"}


def put(text: str | None, wanted: Wanted = WANTED) -> str:
    return configured(wanted, Place(DIRECTORY, text), NO_DEFAULT)


def test_a_registry_without_a_file_gets_one() -> None:
    assert tomllib.loads(put(None)) == {"server": "https://registry-1.docker.io", "host": {MIRROR: ENTRY}}
    text = put(None, Wanted("localhost:5000", MIRROR))
    assert tomllib.loads(text) == {"host": {MIRROR: ENTRY}}
    text = put(None, Wanted("a.b", MIRROR, "https://a.b", Path('/etc/ca\\"s/é.pem')))
    assert tomllib.loads(text)["ca"] == ['/etc/ca\\"s/é.pem']


def test_certificates_that_lay_there_alone_still_count() -> None:
    found = Certificates.among(["b.crt", "a.crt", "me.cert", "me.key", "both.cert", "other.key", "README"])
    place = Place(DIRECTORY, None, found)
    parsed = tomllib.loads(configured(Wanted("a.b", MIRROR, None, Path("/c.pem")), place, NO_DEFAULT))
    assert parsed["ca"] == ["a.crt", "b.crt", "/c.pem"]
    assert parsed["client"] == [["both.cert", ""], ["me.cert", "me.key"]]
    # Where there is a hosts.toml, containerd has not looked at them before either.
    assert "ca" not in tomllib.loads(configured(WANTED, Place(DIRECTORY, "# mine\n", found), NO_DEFAULT))


OPERATORS = {
    "a server alone": 'server = "https://corp.example"\nskip_verify = true',
    "headers and certificates": (
        'server = "https://a"\n\n# ours\n[host."https://b"]\n  client = [["x.cert", "x.key"],]\n'
        '  [host."https://b".header]\n    authorization = ["Basic c2VjcmV0"]\n'
    ),
    "lines like heads in lists and texts": (
        'client = [\n  ["a.cert", "a.key"],\n  [ "b.cert", "" ]\n]\nca = """\n[host."https://no"]\n"""\n'
        "[header]\nx = '''\n# cached?\n[[host]]\n'''\n"
    ),
    "a table of all hosts": '[host]\n  [host."https://b"]\n  capabilities = ["pull"]\n',
    "inline within it": '[host]\n"https://b" = {capabilities = ["pull"]}\n',
    "a header after all": '[header]\nx = "y"\n',
    "other line ends": 'server = "https://a"\r\n[host."https://b"]\r\nskip_verify = true\r\n',
    "a comment alone": "# nothing yet",
    "separators that are none in TOML": '# a\u2028[host."x"]\u0085\nserver = "https://a"\n[host."https://b"]\n',
}


@pytest.mark.parametrize("text", OPERATORS.values(), ids=OPERATORS.keys())
def test_what_the_operator_wrote_stays_after_our_entry(text: str) -> None:
    result = put(text)
    before = tomllib.loads(text)
    assert tomllib.loads(result) == {**before, "host": {MIRROR: ENTRY, **before.get("host", {})}}
    assert hosts_of(tomllib.loads(result))[0] == MIRROR
    assert put(result) == result
    taken_apart = Marked.of(result, "hosts.toml")
    assert taken_apart.came_from(text)
    assert taken_apart.own in (text, f"{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        'host = {"https://b" = {skip_verify = true}}\n',
        'host."https://b".skip_verify = true\n',
        "[[host]]\nx = 1\n",
        'host = "https://b"\n',
    ],
)
def test_where_no_entry_can_be_put_first_nothing_is_done(text: str) -> None:
    with pytest.raises(InvalidRequest, match="no entry can be put first"):
        put(text)


@pytest.mark.parametrize(
    "text", ["server = ", "\ufeff# a", "a = 1\na = 2", "\0", "[host", "x = " + "[" * 5000]
)
def test_what_is_no_toml_is_told_with_its_place(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"docker\.io/hosts\.toml is not valid TOML"):
        put(text)


def test_a_new_address_takes_the_place_of_the_old() -> None:
    old = put(OPERATORS["headers and certificates"])
    new = put(old, Wanted("docker.io", "http://127.0.0.1:9999"))
    assert hosts_of(tomllib.loads(new)) == ["http://127.0.0.1:9999", "https://b"]
    assert Marked.of(new, "").came_from(OPERATORS["headers and certificates"])


def test_what_was_added_to_a_file_of_ours_stays_and_so_does_the_server() -> None:
    added = put(None) + '[host."https://b"]\n'
    result = tomllib.loads(put(added, Wanted("docker.io", "http://127.0.0.1:1", "https://c")))
    assert result["server"] == "https://c"
    assert hosts_of(result) == ["http://127.0.0.1:1", "https://b"]
    own = put('server = "https://mine"\n' + put(None))
    assert tomllib.loads(own)["server"] == "https://mine"


def test_an_entry_by_hand_is_left_alone_if_it_does() -> None:
    for capabilities in ("", 'capabilities = ["push", "resolve", "pull"]\n'):
        text = f'[host."{MIRROR}"]\n{capabilities}[host."https://b"]\n'
        assert put(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f'[host."https://b"]\n[host."{MIRROR}"]\n',
        f'[host."{MIRROR}"]\ncapabilities = ["pull"]\n',
        f'[host."{MIRROR}"]\ncapabilities = "pull resolve"\n',
    ],
)
def test_an_entry_by_hand_that_does_not_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="take it out by hand"):
        put(text)


def test_marks_without_a_last_newline_are_fine() -> None:
    assert put(put(None).rstrip("\n")) == put(None)


@pytest.mark.parametrize(
    "text",
    [
        put(None) + put(None),
        put(None).replace("# cached end\n", ""),
        put(None).replace("begin: this", "begin: that"),
        "# cached end\n" + put(None),
    ],
)
def test_damaged_marks_are_told(text: str) -> None:
    with pytest.raises(InvalidRequest, match="marks of cached"):
        put(text)


def test_what_default_says_is_not_put_out_of_effect() -> None:
    new = Place(DIRECTORY, missing=1)
    for default in (
        Place(NO_DEFAULT.directory, '[host."http://corp"]\n'),
        Place(NO_DEFAULT.directory, 'server = "http://corp"\n'),
        Place(NO_DEFAULT.directory, None, Certificates(("ca.crt",))),
    ):
        with pytest.raises(InvalidRequest, match=r"says where images of docker\.io come from") as caught:
            configured(WANTED, new, default)
        assert f"cp -a {default.directory} {DIRECTORY}" in caught.value.hint
        assert configured(WANTED, Place(DIRECTORY), default)
    assert configured(WANTED, new, Place(NO_DEFAULT.directory, "# nothing\n"))


_WORDS = st.text(st.sampled_from("[]\"'#=\n\r .{}ahost:/\u2028\\"), max_size=12)
_LINES = st.lists(
    st.one_of(st.sampled_from([line for text in OPERATORS.values() for line in text.split("\n")]), _WORDS)
)


@given(_LINES.map("\n".join))
def test_any_text_is_refused_or_only_added_to(text: str) -> None:
    try:
        result = put(text)
    except InvalidRequest:
        return
    before = tomllib.loads(text)
    if not text:
        assert "server" in tomllib.loads(result)
    elif MIRROR not in before.get("host", {}):
        assert tomllib.loads(result) == {**before, "host": {MIRROR: ENTRY, **before.get("host", {})}}
    assert hosts_of(tomllib.loads(result))[0] == MIRROR
    assert Marked.of(result, "").came_from(text)
    assert put(result) == result
