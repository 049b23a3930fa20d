"""How to reach a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where a bucket is and who asks. Credentials never stand here: boto3 finds them by its own chain.

    endpoint: URL of an S3-compatible server, None for what boto3 finds, else AWS. region: None for
    boto3's own choice. profile: in the AWS configuration files. addressing: how the bucket stands in
    URLs. requester_pays: accept the charges for reading. anonymous: sign nothing.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"
    requester_pays: bool = False
    anonymous: bool = False
