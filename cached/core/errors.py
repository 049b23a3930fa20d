"""Every way in which cached says no.

One small hierarchy, free of any wire type. Each error carries a message that says what happened and
to which artifact, a hint that says what to do next, and whether trying again may help. Each inbound
face holds one table from these classes to its own codes.
"""

from __future__ import annotations

from typing import ClassVar


class CachedError(Exception):
    """Base of all errors that cached raises on purpose.

    `message` is for whoever asked, `hint` says what to do next. Neither ever holds a credential.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidRequest(CachedError):
    """The request itself is wrong: a malformed name, a hostile path, a negative time."""


class NotFound(CachedError):
    """No such model, lease, object or bucket."""


class Incompatible(CachedError):
    """The target already holds another tree."""


class InUse(CachedError):
    """A lease or a pin holds the artifact."""


class TooLarge(CachedError):
    """The artifact is larger than the whole cache may ever be."""


class NotConfigured(CachedError):
    """The daemon was not set up for what was asked."""


class Busy(CachedError):
    """Something else is at work on the same thing; the same call may succeed later."""

    retryable = True


class NoSpace(CachedError):
    """Not enough room, even after evicting all that may go. Sizes are in bytes."""

    retryable = True

    def __init__(self, message: str, *, needed: int, free: int, held: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free
        self.held = held


class Unauthenticated(CachedError):
    """Credentials are missing or were not accepted.

    challenge: how the source wants to be convinced, as its WWW-Authenticate header says, if it does.
    """

    def __init__(self, message: str, *, hint: str = "", challenge: str = "") -> None:
        super().__init__(message, hint=hint)
        self.challenge = challenge


class Denied(CachedError):
    """The source or the policy does not let the caller have it."""


class SourceUnavailable(CachedError):
    """The source does not answer, or not well enough, within the time given."""

    retryable = True


class RuntimeUnavailable(CachedError):
    """The node's container runtime does not answer; it is restarted now and then."""

    retryable = True


class Draining(CachedError):
    """The daemon is stopping and takes no new work."""

    retryable = True


class Corrupt(CachedError):
    """The source itself holds wrong bytes: they do not match the digest that it promised."""


class DiskFault(CachedError):
    """The node's own disk failed or became read-only."""


class SourceChanged(CachedError):
    """A file changed at the source while it was fetched. The engine resolves again; callers never see it."""

    retryable = True
