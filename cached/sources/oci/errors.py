"""What a registry's refusals mean. Pure."""

from __future__ import annotations

from cached.core.errors import CachedError, Denied, NotFound, SourceUnavailable, Unauthenticated
from cached.core.registry import Reader
from cached.sources.oci.challenge import Challenge
from cached.sources.oci.request import Answer
from cached.sources.oci.upstream import Upstream


class Refused(Exception):
    """Whoever asks is not let in. challenge: what would do, if that is said. known: he showed something."""

    def __init__(self, challenge: Challenge | None, *, known: bool) -> None:
        super().__init__()
        self.challenge = challenge
        self.known = known


def refusal(answer: Answer, upstream: Upstream) -> CachedError:
    """The error for an answer that is no success, nor a 401 of the registry itself."""
    what, said = answer.request.what, f"it answered {answer.status}"
    if answer.request.foreign:
        said = f"the server that it redirects to answered {answer.status}"
    if answer.status in (404, 410):
        return NotFound(f"{upstream.host} has no {what}", hint="check its name, tag or digest")
    if answer.status in (403, 451):
        return Denied(
            f"{upstream.host} does not let this reader have {what} ({said})",
            hint="see whether the reader may pull it, and whether it is there",
        )
    return SourceUnavailable(
        f"{upstream.host} cannot serve {what} now ({said})",
        hint="try again later; see whether the registry is well",
    )


def unauthenticated(what: str, upstream: Upstream, reader: Reader, refused: Refused) -> Unauthenticated:
    """The error for a reader that is not let in. A challenge is passed on only if its realm is believed."""
    host, challenge = upstream.host, refused.challenge
    if challenge and challenge.scheme == "bearer" and not upstream.believes(challenge.realm):
        challenge = None
    if reader.authorization is not None:
        message, hint = f"{host} does not accept the puller's credentials for {what}", "see the pull secret"
    elif reader.anonymous:
        message, hint = f"{host} lets nobody have {what} without credentials", "pull with a pull secret"
    elif refused.known:
        message = f"{host} does not accept the node's credentials for {what}"
        hint = f"check what images.credentials has for {host}, and whether that may pull"
    else:
        message = f"{host} wants credentials for {what}, and the node has none"
        hint = f"add some for {host} to images.credentials"
    return Unauthenticated(message, hint=hint, challenge=str(challenge or ""))


def unbelieved(what: str, upstream: Upstream) -> tuple[str, str]:
    """Message and hint for a token service that may not see credentials."""
    message = f"{what}: {upstream.host} names a token service that is not on its own domain, or not in TLS"
    return message, f"if it is the right one, add its host to token_hosts of {upstream.host} in images"
