"""What S3 says of many objects at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from cached.core.errors import SourceUnavailable
from cached.sources.s3.facts import strong
from cached.sources.s3.uri import S3Uri

_SETTLING: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a listing. Once `settled`, equal lines mean one and the same write of an object.

    Before that they may not, since listings tell times in whole seconds.
    """

    uri: S3Uri
    path: str
    size: int
    etag: str
    modified: datetime | None
    settled: bool


def read_page(where: S3Uri, answer: Mapping[str, Any]) -> tuple[list[Listed], str]:
    """The lines of one answer to ListObjectsV2, and the token of the next page or "".

    Keys that end with a slash are left out: they mark directories. Raises SourceUnavailable for an answer
    that no S3 server gives.
    """
    nonsense = SourceUnavailable(f"the listing of {where} makes no sense", hint="is it an S3 server?")
    if "IsTruncated" not in answer:  # boto3 takes any XML for an empty listing
        raise nonsense
    told_at = _told_at(answer)
    lines = []
    for item in answer.get("Contents", ()):
        key, size, modified = item.get("Key", ""), item.get("Size", -1), item.get("LastModified")
        if key.endswith("/"):
            continue
        if not key.startswith(where.prefix) or size < 0:
            raise nonsense
        settled = bool(told_at and modified and told_at - modified > _SETTLING)
        path = key.removeprefix(where.prefix)
        lines.append(
            Listed(S3Uri(where.bucket, key), path, size, strong(item.get("ETag", "")), modified, settled)
        )
    return lines, answer.get("NextContinuationToken", "") if answer["IsTruncated"] else ""


def _told_at(answer: Mapping[str, Any]) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None
