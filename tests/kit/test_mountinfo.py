"""What the kernel says of mounts, read as it is meant."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.kit import mountinfo
from cached.kit.mountinfo import Mount, covering, parse

# As proc(5) has it, but for the second, third and last fields.
LINES = rb"""36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
22 27 0:21 / /proc rw,relatime - proc proc rw
71 36 0:45 /trees/ab//deleted /var/lib/a\040b\011c\012d\134e ro,nosuid,nodev shared:7 master:1 - xfs x\040y rw
"""


def test_fields() -> None:
    first, second, third = parse(LINES)
    options = frozenset({"rw", "noatime"})
    assert first == Mount(36, "/mnt1", "/mnt2", options, False, True, "ext3", "/dev/root")
    assert (second.point, second.read_only, second.shared) == ("/proc", False, False)
    assert third.point == "/var/lib/a b\tc\nd\\e"
    assert (third.root, third.read_only, third.shared) == ("/trees/ab//deleted", True, True)
    assert (second.receives, third.receives, third.kind, third.source) == (False, True, "xfs", "x y")
    assert (first.group, second.group, third.group) == ("", "", "7")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"36 35 98:0 /mnt1 /mnt2 rw",
        b"36 35 98:0 /mnt1 /mnt2 rw shared:1 ext3 /dev/root rw",
        b"x 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root rw",
        b"36 35 98:0 - - - ext3",
    ],
)
def test_lines_that_are_no_mounts_are_passed_over(line: bytes) -> None:
    assert [mount.id for mount in parse(line + b"\n" + LINES)] == [36, 22, 71]


NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def escaped(name: bytes) -> bytes:
    """As the kernel writes a name."""
    for special in (b"\\", b" ", b"\t", b"\n"):
        name = name.replace(special, b"\\%03o" % special[0])
    return name


@given(st.lists(NAMES, max_size=5))
def test_any_name_comes_back(names: list[bytes]) -> None:
    """Carriage returns, Unicode's line ends and bytes that are no UTF-8 are parts of names like others."""
    text = b"".join(b"1 2 0:3 / /%s rw shared:9 - tmpfs x rw\n" % escaped(name) for name in names)
    assert [os.fsencode(mount.point) for mount in parse(text)] == [b"/" + name for name in names]


@given(st.binary(max_size=400))
def test_no_text_is_too_strange(text: bytes) -> None:
    parse(text)
    parse(LINES[:90] + text + LINES[90:])


def test_the_mount_that_a_path_lies_on() -> None:
    def at(point: str, number: int) -> Mount:
        return Mount(number, "/", point, frozenset(), shared=False)

    mounts = [at("/", 1), at("/a", 2), at("/a/b", 3), at("/a/b", 4), at("/a/bc", 5)]
    found = {path: covering(mounts, path) for path in ("/a/b/c", "/a/bb", "/a", "/x", "/a/bc")}
    assert {path: mount and mount.id for path, mount in found.items()} == {
        "/a/b/c": 4,
        "/a/bb": 2,
        "/a": 2,
        "/x": 1,
        "/a/bc": 5,
    }
    assert covering([], "/x") is None


def test_this_machine() -> None:
    assert covering(mountinfo.read(), "/") is not None
