"""What is believed of what S3 says of an object."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cached.core.digest import Digest
from cached.core.errors import SourceUnavailable
from cached.core.source import CrcKind
from cached.sources.s3.facts import Facts, split_pin
from cached.sources.s3.uri import S3Uri

URI = S3Uri("bucket", "models/a.bin")
SHA256 = base64.b64encode(bytes(range(32))).decode()
CRC32C = base64.b64encode(b"\0\0\1\2").decode()
PLAIN = {"ContentLength": 7, "ETag": '"abc"'}
PARTS = {"ContentLength": 7, "ETag": '"abc-12"'}


def facts(answer: dict[str, Any], **more: Any) -> Facts:
    return Facts.of_head(URI, {**answer, **more})


@pytest.mark.parametrize("kind", [{}, {"ChecksumType": "FULL_OBJECT"}])
def test_checksums_of_all_bytes_count(kind: dict[str, str]) -> None:
    assert facts(PLAIN, ChecksumSHA256=SHA256, **kind).sha256 == f"sha256:{bytes(range(32)).hex()}"
    assert facts(PLAIN, ChecksumCRC32C=CRC32C, **kind).crc == (CrcKind.CRC32C, 258)


@pytest.mark.parametrize(
    "answer",
    [
        {**PLAIN, "ChecksumType": "COMPOSITE"},
        {**PARTS, "ChecksumType": "COMPOSITE"},
        PARTS,
    ],
    ids=["of parts", "of many parts", "of parts, it seems"],
)
def test_checksums_of_parts_do_not(answer: dict[str, Any]) -> None:
    assert facts(answer, ChecksumSHA256=SHA256, ChecksumCRC32C=CRC32C) == Facts(7, answer["ETag"], "")


@pytest.mark.parametrize("odd", [f"{SHA256}-2", "not base64!", CRC32C, "", None, 5])
def test_checksums_of_another_form_do_not(odd: object) -> None:
    assert facts(PLAIN, ChecksumSHA256=odd) == Facts(7, '"abc"', "")


def test_a_multipart_object_may_state_a_checksum_of_all_bytes() -> None:
    assert facts(PARTS, ChecksumCRC32C=CRC32C, ChecksumType="FULL_OBJECT").crc == (CrcKind.CRC32C, 258)


@pytest.mark.parametrize("etag", ['"abc"', "abc", 'W/"abc"'])
def test_etags_have_one_form(etag: str) -> None:
    assert facts(PLAIN, ETag=etag).pin == '"abc"'


@pytest.mark.parametrize(
    "answer",
    [{"ETag": '"abc"'}, {"ContentLength": 7}, {**PLAIN, "ETag": '""'}, {**PLAIN, "ContentLength": -1}],
)
def test_what_is_not_pinned_is_not_taken(answer: dict[str, Any]) -> None:
    with pytest.raises(SourceUnavailable, match=str(URI)):
        facts(answer)


def test_a_pin_holds_version_and_etag() -> None:
    assert split_pin(facts(PLAIN, VersionId="v.1/x=").pin) == ("v.1/x=", '"abc"')
    assert split_pin(facts(PLAIN, VersionId="null").pin) == ("", '"abc"')


def test_names_differ_by_all_that_pins() -> None:
    other = S3Uri("bucket", "models/b.bin")
    blobs = [
        facts(PLAIN).file(URI, "a").blob,
        facts(PLAIN).file(other, "a").blob,
        facts(PLAIN, ETag='"other"').file(URI, "a").blob,
        facts(PLAIN, VersionId="v1").file(URI, "a").blob,
        facts(PLAIN, ContentLength=8).file(URI, "a").blob,
    ]
    assert len(set(blobs)) == len(blobs)
    assert facts(PLAIN).file(URI, "elsewhere").blob == blobs[0] == Digest.of_origin(str(URI), '"abc"', 7)


def test_a_known_digest_is_the_name_wherever_it_lies() -> None:
    digest = facts(PLAIN, ChecksumSHA256=SHA256).file(URI, "a").blob
    assert digest == facts(PARTS, ChecksumSHA256=SHA256, ChecksumType="FULL_OBJECT").file(URI, "b").blob
