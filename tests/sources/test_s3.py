"""`s3://` against a real S3 server."""

from __future__ import annotations

import hashlib
import time
from email.utils import formatdate
from typing import Any

import pytest
from awscrt import checksums

from cached.core.errors import NotFound
from cached.core.source import CrcKind, Selection
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.sources.bucket import Bucket
from tests.sources.contract import ManyFilesContract, Place, SourceContract, listed
from tests.sources.reader import get, read_range


class TestContract(SourceContract):
    @pytest.fixture
    def place(self, bucket: Bucket) -> Place:
        return bucket


class TestManyFiles(ManyFilesContract):
    @pytest.fixture
    def place(self, bucket: Bucket) -> Place:
        return bucket


class TestContractVersioned(SourceContract):
    @pytest.fixture
    def place(self, versioned: Bucket) -> Place:
        return versioned

    async def test_what_changed_is_never_read_as_what_was(self, place: Place) -> None:
        """A version stays readable after another took its place."""
        place.put("a.bin", b"before")
        file = (await listed(place))["a.bin"]
        place.put("a.bin", b"behind")
        assert read_range(await place.source.open(file), 0, 6) == b"before"
        assert (await listed(place))["a.bin"].blob != file.blob

    async def test_what_was_removed_is_never_read(self, place: Place) -> None:
        place.put("a.bin", b"before")
        place.put("b.bin", b"stays")
        file = (await listed(place))["a.bin"]
        place.remove("a.bin")
        assert read_range(await place.source.open(file), 0, 6) == b"before"
        assert list(await listed(place)) == ["b.bin"]


async def test_a_whole_bucket_is_a_tree(bucket: Bucket) -> None:
    bucket.put("a.bin", b"1")
    for uri in (f"s3://{bucket.name}", f"s3://{bucket.name}/"):
        files = await bucket.source.list(uri, Selection(include=(f"{bucket.prefix}/",)))
        assert [file.path for file in files] == [f"{bucket.prefix}/a.bin"]


async def test_markers_of_directories_are_no_files(bucket: Bucket) -> None:
    bucket.server.put(bucket.name, f"{bucket.prefix}/", b"")
    bucket.server.put(bucket.name, f"{bucket.prefix}/sub/", b"")
    with pytest.raises(NotFound):
        await listed(bucket)
    bucket.put("sub/a.bin", b"1")
    assert list(await listed(bucket)) == ["sub/a.bin"]


async def test_a_sha256_names_the_blob(bucket: Bucket) -> None:
    data = b"weights" * 1000
    bucket.put("a.bin", data, checksum="SHA256")
    bucket.put("b.bin", data)
    found = await listed(bucket)
    assert found["a.bin"].blob == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found["a.bin"].crc is None
    assert found["b.bin"].blob.algorithm == "origin"


@pytest.mark.parametrize(
    ("name", "kind", "function"),
    [
        ("CRC32", CrcKind.CRC32, checksums.crc32),
        ("CRC32C", CrcKind.CRC32C, checksums.crc32c),
        ("CRC64NVME", CrcKind.CRC64NVME, checksums.crc64nvme),
    ],
)
async def test_a_crc_of_the_whole_object_is_told(
    bucket: Bucket, name: str, kind: CrcKind, function: Any
) -> None:
    data = b"weights" * 1000
    bucket.put("a.bin", data, checksum=name)
    file = (await listed(bucket))["a.bin"]
    assert file.crc == (kind, function(data))
    assert file.blob.algorithm == "origin"


def upload_in_parts(bucket: Bucket, path: str, checksum: str, **more: str) -> bytes:
    where = {"Bucket": bucket.name, "Key": f"{bucket.prefix}/{path}"}
    client = bucket.server.client
    upload = client.create_multipart_upload(**where, ChecksumAlgorithm=checksum, **more)
    where["UploadId"] = upload["UploadId"]
    bodies = [b"1" * (5 << 20), b"2" * 1000]
    parts = []
    for number, body in enumerate(bodies, 1):
        part = client.upload_part(**where, PartNumber=number, Body=body, ChecksumAlgorithm=checksum)
        told = {name: part[name] for name in ("ETag", f"Checksum{checksum}")}
        parts.append({"PartNumber": number, **told})
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    return b"".join(bodies)


async def test_a_checksum_of_checksums_is_not_taken_for_one_of_the_bytes(bucket: Bucket) -> None:
    upload_in_parts(bucket, "a.bin", "SHA256")
    file = (await listed(bucket))["a.bin"]
    assert file.blob.algorithm == "origin"
    assert file.crc is None


async def test_a_crc_of_all_parts_together_is_told(bucket: Bucket) -> None:
    data = upload_in_parts(bucket, "a.bin", "CRC64NVME", ChecksumType="FULL_OBJECT")
    file = (await listed(bucket))["a.bin"]
    assert file.crc == (CrcKind.CRC64NVME, checksums.crc64nvme(data))


async def test_what_uploaders_claim_in_metadata_is_not_believed(bucket: Bucket) -> None:
    claim = hashlib.sha256(b"other").hexdigest()
    bucket.server.put(bucket.name, f"{bucket.prefix}/a.bin", b"1", Metadata={"sha256": claim})
    assert (await listed(bucket))["a.bin"].blob.algorithm == "origin"


async def test_a_version_is_part_of_the_pin(versioned: Bucket) -> None:
    """The same bytes put again are another version, which may be deleted by itself."""
    versioned.put("a.bin", b"same")
    first = (await listed(versioned))["a.bin"]
    versioned.put("a.bin", b"same")
    second = (await listed(versioned))["a.bin"]
    assert first.pin != second.pin
    assert "versionId=" in (await versioned.source.open(second)).url


def heads(faulty_s3: FaultyServer) -> list[str]:
    return [seen.path.rpartition("/")[2] for seen in faulty_s3.requests(method="HEAD")]


async def test_objects_seen_before_are_not_looked_at_again(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    listings_later = Fault(path=f"/{faulty.name}", headers={"Date": formatdate(time.time() + 60)}, times=None)
    faulty_s3.inject(listings_later)
    faulty.put_many([f"{number}.bin" for number in range(40)], b"1")
    first = await listed(faulty)
    assert len(heads(faulty_s3)) == 40
    faulty.put("7.bin", b"2")
    faulty_s3.forget()
    second = await listed(faulty)
    assert heads(faulty_s3) == ["7.bin"]
    assert {path for path in first if first[path] != second[path]} == {"7.bin"}


async def test_objects_just_written_are_looked_at_again(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    """A listing tells times in whole seconds, and may not tell one write from the next."""
    faulty.put("a.bin", b"1")
    await listed(faulty)
    await listed(faulty)
    assert heads(faulty_s3) == ["a.bin", "a.bin"]


async def test_only_selected_objects_are_looked_at(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    faulty.put_many(["a.bin", "b.bin", "c.json"], b"1")
    await listed(faulty, Selection(include=("*.json",)))
    assert len(faulty_s3.requests(method="HEAD")) == 1


async def test_no_bytes_are_moved_by_listing_and_opening(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    faulty.put("a.bin", b"1" * 100000)
    request = await faulty.source.open((await listed(faulty))["a.bin"])
    assert not faulty_s3.requests("*/a.bin")
    read_range(request, 0, 10)
    assert faulty_s3.sent("*/a.bin") == 10


async def test_an_object_that_changes_behind_the_listing_is_told_as_it_is(
    faulty: Bucket, faulty_s3: FaultyServer
) -> None:
    faulty.put("a.bin", b"before")
    faulty_s3.inject(Fault(method="HEAD", before=lambda: faulty.put("a.bin", b"longer now")))
    file = (await listed(faulty))["a.bin"]
    assert file.size == 10
    assert read_range(await faulty.source.open(file), 0, 10) == b"longer now"
    assert (await listed(faulty))["a.bin"] == file


async def test_the_reader_must_send_what_was_signed(bucket: Bucket) -> None:
    bucket.put("a.bin", b"12345")
    request = await bucket.source.open((await listed(bucket))["a.bin"])
    assert request.headers == {"If-Match": request.etag}
    bare = type(request)(request.url)
    assert get(bare, {"Range": "bytes=0-1"})[0] == 403
