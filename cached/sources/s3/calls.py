"""The three questions that S3 is asked: what is there, what is this, and may I read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from cached.core.clock import Clock
from cached.core.errors import Unauthenticated
from cached.core.source import RangeRequest
from cached.sources.s3.clients import Clients
from cached.sources.s3.errors import translated
from cached.sources.s3.facts import Facts, split_pin
from cached.sources.s3.listing import Listed, read_page
from cached.sources.s3.options import S3Options
from cached.sources.s3.uri import S3Uri

_URL_SECONDS: Final = 3600


class S3Calls:
    """Methods block, may be called from several threads, and raise only the errors of `Source`."""

    def __init__(
        self, clients: Clients, clock: Clock, options: S3Options, buckets: Mapping[str, S3Options]
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._options = options
        self._buckets = buckets
        self._regions: dict[str, str] = {}

    def page(self, where: S3Uri, token: str = "") -> tuple[list[Listed], str]:
        """Up to 1,000 objects below `where`, and the token of the next page or ""."""
        options, payer = self._terms(where)
        with translated(where, options):
            answer = self._clients.get(options).s3.list_objects_v2(
                Bucket=where.bucket,
                Prefix=where.prefix,
                **({"ContinuationToken": token} if token else {}),
                **payer,
            )
        self._note_region(where, answer)
        return read_page(where, answer)

    def head(self, where: S3Uri) -> Facts:
        """What pins and names the object as it is now."""
        options, payer = self._terms(where)
        with translated(where, options):
            answer = self._clients.get(options).s3.head_object(
                Bucket=where.bucket, Key=where.key, ChecksumMode="ENABLED", **payer
            )
        return Facts.of_head(where, answer)

    def presign(self, where: S3Uri, pin: str) -> RangeRequest:
        """Sign for all ranges of the pinned object, for an hour or for as long as the credentials last.

        No call is made, but for credentials that are due.
        """
        options, payer = self._terms(where)
        version, etag = split_pin(pin)
        wanted = {"Bucket": where.bucket, "Key": where.key, "IfMatch": etag, **payer}
        if version:
            wanted["VersionId"] = version
        with translated(where, options):
            client = self._clients.get(options)
            seconds = int(client.seconds_left(_URL_SECONDS))
            if seconds < 1:
                raise Unauthenticated(f"the credentials for {where} have expired", hint="renew them")
            url = client.s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds)
        headers = {"If-Match": etag}
        if payer:
            headers["x-amz-request-payer"] = "requester"
        expires_at = None if options.anonymous else self._clock.now() + seconds
        return RangeRequest(url, headers, expires_at, etag)

    def _terms(self, where: S3Uri) -> tuple[S3Options, dict[str, str]]:
        """The bucket's options, and the parameter that accepts its charges where they say so."""
        options = self._buckets.get(where.bucket, self._options)
        if region := self._regions.get(where.bucket):
            options = replace(options, region=region)
        return options, {"RequestPayer": "requester"} if options.requester_pays else {}

    def _note_region(self, where: S3Uri, answer: Mapping[str, Any]) -> None:
        """boto3 follows a bucket to its region when it lists, but presigns for the client's own."""
        if region := answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region"):
            self._regions[where.bucket] = region
