"""Whether the sources of the catalog can be read, with the credentials that the daemon has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import Denied

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import SourceCheck
    from cached.config.settings import S3

SECONDS: Final = 20.0
_MARGIN: Final = 2.0
_NAMED: Final = 5
_ELSEWHERE: Final = ("NotConfigured", "SourceUnavailable")


def look(scene: Scene) -> Iterator[Finding]:
    with scene.operator() as operator:
        try:
            checked = operator.check_sources(timeout=SECONDS - _MARGIN)
        except Denied:
            raise Skipped("this daemon is older than cachectl, and cannot be asked") from None
    yield from judge(checked, scene.settings.sources.s3 if scene.settings else None)


def judge(checked: Sequence[SourceCheck], s3: S3 | None) -> Iterator[Finding]:
    """One finding for each bucket or registry, and kind of refusal. s3: settings, where they are known."""
    if not checked:
        yield Finding("skipped", "sources", "the catalog names none")
        return
    refused: dict[tuple[str, str], list[SourceCheck]] = defaultdict(list)
    for each in checked:
        if each.HasField("error"):
            refused[place_of(each.source), each.error.reason].append(each)
    for (place, _), alike in refused.items():
        error, refs = alike[0].error, [ref for each in alike for ref in each.refs]
        hint = error.hint or "mend the source in the catalog, or what lies there"
        if error.reason in _ELSEWHERE and s3 and place.startswith("s3://") and not says_where(s3, place):
            hint = f"sources.s3 says no region, so AWS_REGION counts, or else us-east-1; {hint}"
        names = ", ".join(refs[:_NAMED]) + (f" and {len(refs) - _NAMED} more" if len(refs) > _NAMED else "")
        yield Finding("problem", refs[0], f"{names}: {error.message}", hint)
    well = sum(not each.HasField("error") for each in checked)
    if well:
        yield Finding("ok", "sources", f"{well} of {len(checked)} can be read")


def place_of(source: str) -> str:
    """A bucket, a registry or a directory's root, with its scheme. Pure."""
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc}"


def says_where(s3: S3, place: str) -> bool:
    """Whether the settings say where a bucket is. Pure."""
    options = s3.buckets.get(place.removeprefix("s3://"), s3)
    return bool(options.endpoint or options.region or options.profile)
