"""Whether images come by way of the mirror. Answers in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cached.cli.doctor.samples import total
from cached.cli.finding import Finding

_REQUESTS: Final = "cached_mirror_requests_total"
_ENOUGH: Final = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """To the wish for an image that does not exist. status: 0 when none came; code, message: OCI's error."""

    status: int
    code: str = ""
    message: str = ""


def of_traffic(url: str, samples: Mapping[str, float]) -> Iterator[Finding]:
    """What has come by. samples: the daemon's metrics, empty where it has none."""
    found = dict(samples)
    asked = sum(total(found, _REQUESTS, f'kind="{kind}"') for kind in ("manifest", "blob"))
    served = sum(total(found, _REQUESTS, f'kind="{kind}"', 'code="20') for kind in ("manifest", "blob"))
    if wedged := total(found, "cached_mirror_wedged_total"):
        yield Finding(
            "warning",
            "mirror",
            f"the daemon has {wedged:.0f} times not answered, and pullers were sent to the registry",
            "see its log for what it was busy with, and whether the node lacks CPU",
        )
    if asked >= _ENOUGH and not served:
        yield Finding(
            "warning",
            "mirror",
            f"none of {asked:.0f} requests of runtimes was served: images come from the registries",
            "see the daemon's log for the reasons; cached_mirror_requests_total by code",
        )
    elif not found:
        yield Finding("ok", "mirror", f"{url} answers")
    elif not asked:
        yield Finding("ok", "mirror", f"{url} answers; no pull has come by since the daemon started")
    else:
        yield Finding("ok", "mirror", f"{url} answers; {served:.0f} of {asked:.0f} requests were served here")


def of_upstream(host: str, reply: Reply, *, known: bool) -> Finding:
    """known: the repository is one of the catalog, so that a refusal means something."""
    if reply.status == 0:
        return Finding(
            "problem", host, f"the mirror gives no answer for {host}: {reply.message}", "see the daemon's log"
        )
    if reply.code == "UNAVAILABLE":
        return Finding(
            "problem",
            host,
            f"the mirror cannot ask {host}: {reply.message}",
            f"check the network, and images.upstreams of {host}; pulls go on at the registry itself",
        )
    if reply.code == "DENIED" and known:
        return Finding(
            "warning",
            host,
            f"{host} lets this node not have an image of the catalog: {reply.message}",
            "check images.credentials; pods with a pull secret are not concerned",
        )
    if reply.code == "UNKNOWN":
        return Finding(
            "problem",
            host,
            f"the mirror fails for {host}: {reply.message}",
            "look for it in the daemon's log",
        )
    return Finding("ok", host, f"{host} answers by way of the mirror")
