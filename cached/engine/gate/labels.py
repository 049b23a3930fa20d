"""Labels of a node that say which models are warm on it: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

WARM: Final = "warm"

_LONGEST: Final = 63
_SYNTAX: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_DIGITS: Final = 10


def label_name(model: str) -> str:
    """The name of the model's label, below the prefix. No two models have the same.

    A slash becomes two dashes, as in a cache of the Hugging Face hub. Where that is no label's name, or
    could be another model's, what fits of it is followed by three dashes and the digest of the model's name:
    three in a row are in no name of the first kind.
    """
    plain = model.replace("/", "--")
    if "--" not in model and "-/" not in model and len(plain) <= _LONGEST and _SYNTAX.match(plain):
        return plain
    digest = sha256(model.encode()).hexdigest()[:_DIGITS]
    return f"{plain[: _LONGEST - _DIGITS - 3]}---{digest}"


def changes(found: Mapping[str, str], prefix: str, warm: Sequence[str], most: int) -> dict[str, str | None]:
    """What to change of a node's labels: to set, or to take away where it is None.

    found: all labels of the node; of them, those below `prefix` that say warm are ours. warm: models, those
    that matter most first. At most `most` are told: those that already are stay, as long as there is room
    for them, so that labels do not flap.
    """
    ours = {key for key, value in found.items() if key.startswith(prefix) and value == WARM}
    keys = [prefix + label_name(model) for model in warm]
    wanted = sorted(keys, key=lambda key: key not in ours)[:most]
    taken = dict.fromkeys(sorted(ours.difference(wanted)))
    return taken | {key: WARM for key in wanted if found.get(key) != WARM}
