"""Whatever is sent to the mirror of a real daemon: it answers, tells nobody a secret, and goes on serving."""

from __future__ import annotations

import base64
import json
import re
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final
from urllib.parse import quote

import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faulty import FaultyServer
from tests.servers.images import basic
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.system.waiting import eventually

MADE: Final = hello(3 * MIB)
LAYER: Final = MADE.layers[-1]
DATA: Final = LAYER.data
PASSWORD: Final = "correct-horse"
SHOWN: Final = basic("owner", PASSWORD)
HEX: Final = LAYER.digest[7:]
_PATIENCE: Final = 20.0
_CROWD: Final = 2000


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    home = tmp_path_factory.mktemp("registry")
    with DockerRegistry(home) as registry, FaultyServer(registry.endpoint) as front:
        upstream = Upstream(registry, front)
        upstream.offer("team/app", MADE)
        yield upstream


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Node]:
    """One for all; its daemon has the image."""
    if why := lacking("1.7"):
        pytest.skip(why)
    with Node(tmp_path_factory.mktemp("node"), upstream) as node:
        node.daemon.start()
        node.warm(f"{upstream.host}/team/app:v1")
        yield node


@pytest.fixture(autouse=True)
def unimpressed(node: Node, upstream: Upstream) -> Iterator[None]:
    """After each test all is as before."""
    upstream.front.forget()
    memory = node.daemon.process.memory_info().rss
    yield
    assert ask(node, f"/v2/team/app/blobs/{LAYER.digest}") == (200, DATA)
    assert node.daemon.process.memory_info().rss < memory + 48 * MIB
    log = node.daemon.log
    assert "Traceback" not in log
    for secret in (PASSWORD, SHOWN.removeprefix("Basic "), base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in log
    assert node.daemon.metric("cached_mirror_wedged_total") == 0
    assert node.daemon.metric("cached_mirror_guards_total") == 1


def ask(node: Node, target: str, *fields: str) -> tuple[int, bytes]:
    """Status and body of the answer to a GET by somebody with credentials."""
    said = [f"GET {target} HTTP/1.1", "Host: mirror", f"Authorization: {SHOWN}", "Connection: close", *fields]
    answer = send(node, "\r\n".join([*said, "", ""]).encode("latin-1"), _PATIENCE)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


def send(node: Node, data: bytes, patience: float = 0.5) -> bytes:
    """All that is answered until the mirror ends the connection, or says nothing for so many seconds."""
    answer = b""
    with socket.create_connection(("127.0.0.1", node.mirror_port), _PATIENCE) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        connection.settimeout(patience)
        with suppress(ConnectionError, TimeoutError):
            while more := connection.recv(1 << 20):
                answer += more
    return answer


def assert_refused(node: Node, upstream: Upstream, target: str) -> None:
    """The answer is a refusal as registries have it, and the registry was not asked."""
    status, body = ask(node, target)
    assert status in (400, 404), target
    (error,) = json.loads(body)["errors"]
    assert set(error) == {"code", "message"}
    assert upstream.front.requests(method="") == [], target


def test_namespaces(node: Node, upstream: Upstream) -> None:
    own = upstream.host
    host, port = own.split(":")
    strangers = ["quay.io", "docker.io", "QUAY.IO", "169.254.169.254", "localhost", "[::1]"]
    near = [host, f"{host}:1", f"{host}:0{port}", f"{own}/", f"{own}/team", f" {own}", f"{own}\0"]
    odd = ["../..", "a/b", "/", ".", "\0", "\u00e9", f"{own}\r\nX: y", "a" * 300]
    urls = [f"http://{own}", f"user@{own}", f"{own}@quay.io"]
    for ns in strangers + near + odd + urls:
        assert_refused(node, upstream, f"/v2/team/app/manifests/v1?ns={quote(ns, safe='')}")
    for query in (f"ns={own}&ns={own}", f"ns={own}&ns=quay.io", "ns=%ff", "&".join("abcdefghijklmnopqrst")):
        assert_refused(node, upstream, f"/v2/team/app/manifests/v1?{query}")


def test_names(node: Node, upstream: Upstream) -> None:
    steps = ["..", ".", "../../../../etc/passwd", "team/../app", "team/./app"]
    slashes = ["team//app", "/team/app", "team/app/", "team%2fapp", "team%2Fapp", "team\\app"]
    hidden = ["%2e%2e", "team/%2e%2e/app", "team/app%00", "team/app%0d%0aX:%20y"]
    wrong = [
        "Team/App",
        "-team/app",
        "team/.app",
        "team/app.",
        "team/a___b",
        "t%C3%A9am/app",
        "~root",
        "_catalog",
    ]
    odd = ["a" * 300, "/".join("a" * 200), "team/app:v1", "team/app@v1"]
    for name in steps + slashes + hidden + wrong + odd:
        for what in ("manifests/v1", f"blobs/{LAYER.digest}", "tags/list", f"referrers/{MADE.digest}"):
            assert_refused(node, upstream, f"/v2/{name}/{what}")


def test_references(node: Node, upstream: Upstream) -> None:
    long = {"sha512": "a" * 128, "sha384": "a" * 96, "md5": "a" * 32, "blake3": HEX, "origin": HEX}
    others = [f"{algorithm}:{digits}" for algorithm, digits in long.items()]
    bad = [HEX[1:], f"{HEX}0", HEX.upper(), "g" * 64, f":{HEX}", "a" * 5000, "", ".."]
    wrong = [f"sha256:{digits}" for digits in bad]
    hidden = [f"sha256:../{HEX[3:]}", f"sha256:{HEX}%00", f"sha256:%2e%2e%2f{HEX[3:]}", f"sha256%253A{HEX}"]
    odd = [":", "::", f"%20sha256:{HEX}", f"SHA256:{HEX}"]
    for digest in others + wrong + hidden + odd:
        for kind in ("blobs", "manifests", "referrers"):
            assert_refused(node, upstream, f"/v2/team/app/{kind}/{digest}")
    tags = ["v1/../v1", "v1%2f..", "v1%00", "v1%0d%0aX:%20y", "-v1", ".v1", "%C3%A9", "v%201", ""]
    for tag in [*tags, "a" * 129, "a" * 300]:
        assert_refused(node, upstream, f"/v2/team/app/manifests/{tag}")


def test_ranges(node: Node, upstream: Upstream) -> None:
    """A part that is one, or all, or 416; never anything else than what the answer says."""
    size, digits = len(DATA), "9" * 10_000
    parts = ["0-0", f"{size - 1}-", "-1", f"-{size + 5}", f"5-{digits}"]
    beyond = ["9-5", f"{size}-", "-0", f"{digits}-"]
    none = ["0-1,5-6", "0-0," * 1000, ",", "--5", "-5-", "-1--1", "", "-", "0-5;x"]
    numbers = ["a-b", "0x0-0x5", "0.5-1", "+1-2", "\xb2-5", "1_0-2_0"]
    blob = f"/v2/team/app/blobs/{LAYER.digest}"
    for said in parts:
        first, _, last = said.replace(digits, str(size)).partition("-")
        wanted = DATA[int(first) : int(last or size) + 1] if first else DATA[-min(int(last), size) :]
        assert ask(node, blob, f"Range: bytes={said}") == (206, wanted), said[:40]
    for said in beyond:
        assert ask(node, blob, f"Range: bytes={said}")[0] == 416, said[:40]
    for said in none + numbers:
        assert ask(node, blob, f"Range: bytes={said}") == (200, DATA), said[:40]
    for said in ("lines=0-5", "bytes", "=", "-", "", "0-5", "bytes 0-5"):
        assert ask(node, blob, f"Range: {said}") == (200, DATA), said
    assert upstream.read() == 0


def test_fields(node: Node, upstream: Upstream) -> None:
    manifest = f"/v2/team/app/manifests/{MADE.digest}"
    assert ask(node, manifest, "Accept: " + "text/html;q=0.1," * 900)[0] == 200
    assert ask(node, manifest, "Accept: " + "text/html;q=0.1," * 3840)[0] == 400, "60 KiB"
    assert ask(node, manifest, *["Accept: a/b"] * 3000)[0] == 400
    for shown in (f"Basic {PASSWORD}\x80", f"Bearer {PASSWORD * 900}", f"\t{PASSWORD}", PASSWORD):
        fields = ["GET /v2/team/other/manifests/v1 HTTP/1.1", "Host: m", "Connection: close"]
        data = "\r\n".join([*fields, f"Authorization: {shown}", "", ""]).encode("latin-1")
        answer = send(node, data, _PATIENCE)
        assert answer.split(b" ", 2)[1] in (b"400", b"401", b"404")
        assert PASSWORD.encode() not in answer


def test_nothing_is_smuggled(node: Node, upstream: Upstream) -> None:
    """A request within another one's body is none, and nobody can disagree on where the body ends."""
    inner = b"GET /v2/team/smuggled/manifests/x HTTP/1.1\r\nHost: m\r\n\r\n"
    length, coding = b"Content-Length: %d" % len(inner), b"Transfer-Encoding: "
    twice = [b"Content-Length: 0\r\n" + length, length + b"\r\nContent-Length: 0", length + b", 0"]
    numbers = [b"Content-Length: " + each for each in (b"", b"-1", b"0x37", b"+55", b"5 5")]
    kinds = [b"chunked", b"xchunked", b"gzip", b"identity, chunked", b"\x0bchunked"]
    codings = [coding + each for each in kinds]
    both = [each + b"\r\n" + length for each in codings] + [length + b"\r\n" + each for each in codings]
    shapes = [b"Content-Length : 55", b"Transfer-Encoding : chunked", b"X: \0", b"Host: other"]
    folded = [b"X: y\r\n " + length, b"X: y\n" + length, b"X: y\r" + length]
    begin, end = b"GET /v2/ HTTP/1.1\r\nHost: m\r\n", b"\r\n\r\n" + inner
    said = [begin + each + end for each in twice + numbers + codings + both + shapes + folded]
    for fields, answer in at_once(node, said):
        assert len(re.findall(rb"HTTP/1\.\d \d{3} ", answer)) == 1, fields
        assert answer.split(b" ", 2)[1] == b"400", fields
    assert upstream.front.requests(method="") == []


def test_what_is_no_pull(node: Node, upstream: Upstream) -> None:
    upgrade = b"GET /v2/ HTTP/1.1\r\nHost: m\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    elsewhere = [b"GET http://169.254.169.254/latest/meta-data/ HTTP/1.1", b"CONNECT 127.0.0.1:22 HTTP/1.1"]
    changes = [b"PUT /v2/team/app/manifests/v1 HTTP/1.1", b"DELETE /v2/team/app/manifests/v1 HTTP/1.1"]
    old = [b"GET /v2/\r\n", b"GET /v2/\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 5000]
    others = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500)]
    noise = [b"A" * 200_000, bytes(range(256)) * 100, b"\0" * 1000]
    said = [*(line + b"\r\nHost: m\r\n\r\n" for line in elsewhere + changes), *old, *others, *noise]
    assert all(not answer.startswith(b"HTTP/1.1 101") for _, answer in at_once(node, [upgrade]))
    for data, answer in at_once(node, said):
        assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"404", b"405"), data[:50]
    assert upstream.front.requests(method="") == []


def at_once(node: Node, said: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Each of these with what it was answered; all are sent at the same time."""
    with ThreadPoolExecutor(len(said)) as threads:
        return list(zip(said, threads.map(partial(send, node), said), strict=True))


def test_a_crowd_that_stays(node: Node, upstream: Upstream) -> None:
    """Two thousand connections are opened and left, some amid a request: pulls are served all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * _CROWD), hard))
    before = node.daemon.process.num_fds()
    begun = (b"", b"GET /v2/", b"GET /v2/ HTTP/1.1\r\nHost: m\r\n\r\n")
    try:
        with ExitStack() as stack:
            for number in range(_CROWD):
                connection = socket.create_connection(("127.0.0.1", node.mirror_port), _PATIENCE)
                stack.enter_context(connection)
                with suppress(ConnectionError):  # a new one takes the place of one that was idle
                    connection.sendall(begun[number % len(begun)])
            eventually(lambda: node.daemon.process.num_fds() < before + 700)
            node.containerd.pull(f"{upstream.host}/team/app:v1")
            assert node.containerd.run(f"{upstream.host}/team/app:v1", *SAID) == "hello\n"
        # Amid the crowd a runtime may have gone on to the registry; once it has left, none does.
        node.containerd.remove(f"{upstream.host}/team/app:v1")
        upstream.front.forget()
        node.containerd.pull(f"{upstream.host}/team/app:v1")
        assert upstream.gets(by="containerd") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
