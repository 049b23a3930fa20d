"""Names from outside: what passes is safe below a directory."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.core.errors import InvalidRequest
from cached.core.names import check_model_name, check_path, check_revision
from cached.core.ref import Ref
from cached.core.tree import Tree, TreeFile

BLOB = Digest.sha256(b"x")


@pytest.mark.parametrize("name", ["minilm", "Qwen/Qwen2.5-72B", "a", "org/team/model/quant_4"])
def test_model_names(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/abs", "a/", "a//b", "a/../b", "-x", ".hidden", "a b", "a\0b", "a\n", "é",
     "a" * 201, "a/b/c/d/e", "a@b", "a\\b", "%2e%2e"],
)  # fmt: skip
def test_no_model_names(name: str) -> None:
    with pytest.raises(InvalidRequest, match="model name"):
        check_model_name(name)


@pytest.mark.parametrize("revision", ["", "..", "a/b", "x" * 129, "sha256:abc", "-v", "v1\n"])
def test_no_revisions(revision: str) -> None:
    with pytest.raises(InvalidRequest, match="revision"):
        check_revision(revision)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a/./b", "a//b", "a/", "./a", "a\0b", "a\nb", "a\x7fb",
     "a\\b", "x" * 256, "é" * 128, "a/" * 600 + "b", "\ud800", "..\\x"],
)  # fmt: skip
def test_hostile_paths(path: str) -> None:
    with pytest.raises(InvalidRequest, match="file name"):
        check_path(path)


@given(st.text(max_size=300))
def test_what_passes_stays_below_and_fits(path: str) -> None:
    try:
        check_path(path)
    except InvalidRequest:
        return
    assert os.path.normpath(os.path.join("/root/tree", path)).startswith("/root/tree/")
    assert all(len(part.encode()) <= 255 and part not in ("", ".", "..") for part in path.split("/"))


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "a"),
        ("Model.bin", "model.bin"),
        ("a", "a/b"),
        ("a/b/c", "A"),
        ("caf\u00e9", "cafe\u0301"),
        ("ß", "SS"),
    ],
)
def test_paths_that_clash(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        Tree.of(TreeFile(path, 1, BLOB) for path in paths)


def test_a_tree_needs_a_file() -> None:
    with pytest.raises(InvalidRequest):
        Tree.of([])


def test_a_blob_has_one_size() -> None:
    with pytest.raises(InvalidRequest, match="two sizes"):
        Tree.of([TreeFile("a", 1, BLOB), TreeFile("b", 2, BLOB)])


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(0, 1 << 50), min_size=1))
def test_a_tree_is_named_by_its_content_alone(files: dict[str, int]) -> None:
    rows = [
        TreeFile(path, size, Digest.of_origin("s3://b/" + path, "v", size)) for path, size in files.items()
    ]
    tree = Tree.of(rows)
    assert Tree.of(reversed(rows)).digest == tree.digest
    assert Tree.decode(tree.encoded) == tree
    assert tree.size == sum(files.values())


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("minilm", Ref(name="minilm")),
        ("a/b@v1", Ref(name="a/b", revision="v1")),
        ("s3://bucket/key@x", Ref(uri="s3://bucket/key@x")),
        ("a@sha256:" + "0" * 64, Ref(name="a", revision="sha256:" + "0" * 64)),
        ("a?include=*.json", Ref(name="a", include=("*.json",))),
        ("a/b@v1?include=**/x&include=a%26b&view=hub", Ref("a/b", "v1", include=("**/x", "a&b"), view="hub")),
    ],
)
def test_refs(text: str, ref: Ref) -> None:
    assert Ref.parse(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "@v1", "a@", "a@b@c", "s3://a\nb", "s3://" + "x" * 3000, "../a", "a@../b"),
        *(
            "a?",
            "a?x=1",
            "a?include=",
            "a?include",
            "a?view=flat&view=hub",
            "a?view=tree",
            "?include=x",
            "a?&",
        ),
        *("a?include=%00", "a?include=" + "x" * 513, "a?" + "&".join(f"include={n}" for n in range(33))),
    ],
)
def test_no_refs(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Ref.parse(text)


def test_one_ref_is_written_in_one_way() -> None:
    assert str(Ref.parse("a?view=flat&include=b&include=a&include=b")) == "a?include=a&include=b"
    assert str(Ref.of("a", include=["what?"])) == "a?include=what%3F"
    assert Ref.parse("a?include=what%3F").include == ("what?",)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "G" * 64, "md5:" + "0" * 64, "sha256:" + "0" * 64 + "\n"]
)
def test_no_digests(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Digest.parse(text)
