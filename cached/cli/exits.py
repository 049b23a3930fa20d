"""Exit codes of cachectl: stable, one for each thing that a script may want to tell apart."""

from __future__ import annotations

from cached.core.errors import CachedError

OK = 0
UNEXPECTED = 1
USAGE = 2
CORRUPT = 10
NOT_SERVING = 12
UNFIT = 17
NOT_READY = 18
BROKEN_PIPE = 141
INTERRUPTED = 130

MEANING = {
    OK: "done",
    UNEXPECTED: "an error that none of the others describes; please report it",
    USAGE: "wrong command line, malformed name, or a file that `config check` refuses",
    3: "no such model, revision, object or bucket",
    4: "credentials are missing or were refused, or a policy does not permit it",
    5: "not enough room, or larger than the whole cache",
    6: "the source does not answer",
    7: "the daemon cannot be reached",
    8: "--timeout has passed",
    9: "in use: a lease, a pin or other work holds it",
    CORRUPT: "wrong bytes, at the source or (verify) on this node",
    11: "the model is here, but its path cannot be seen from where cachectl runs",
    NOT_SERVING: "the daemon does not serve: it starts or stops",
    13: "the daemon was not set up for what was asked, or a part is not installed",
    14: "the node's disk failed",
    15: "the target already holds another tree",
    16: "the node's container runtime does not answer",
    UNFIT: "`doctor` or `containerd check` found a problem",
    NOT_READY: "`node ready`: not all is warm that is to be",
    126: "exec: the program may not be run",
    127: "exec: there is no such program",
    INTERRUPTED: "interrupted (128 + signal for any other)",
    BROKEN_PIPE: "whoever read the output went away",
}

# By the name of the error's class: the daemon sends the same names, and help needs no import.
OF_ERROR = {
    "InvalidRequest": USAGE,
    "NotFound": 3,
    "Unauthenticated": 4,
    "Denied": 4,
    "NoSpace": 5,
    "TooLarge": 5,
    "SourceUnavailable": 6,
    "SourceChanged": 6,
    "Unreachable": 7,
    "TimedOut": 8,
    "InUse": 9,
    "Busy": 9,
    "Corrupt": CORRUPT,
    "NotVisible": 11,
    "Draining": NOT_SERVING,
    "RuntimeUnavailable": 16,
    "NotConfigured": 13,
    "DiskFault": 14,
    "Incompatible": 15,
    "Cancelled": INTERRUPTED,
    "DaemonFault": UNEXPECTED,
}


def code_of(error: CachedError) -> int:
    """The exit code for an error."""
    return code_of_reason(type(error).__name__)


def code_of_reason(reason: str) -> int:
    """The exit code for an error's class by its name; a newer daemon may know classes that we do not."""
    return OF_ERROR.get(reason, UNEXPECTED)


def table() -> str:
    """All codes and what they mean, for the help text."""
    return "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANING.items())
