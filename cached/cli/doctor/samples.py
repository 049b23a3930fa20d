"""The daemon's metrics, as Prometheus would read them."""

from __future__ import annotations

import http.client
import re
from typing import Final

from cached.cli.containerd.wanted import reachable

_PATIENCE: Final = 2.0
_LINE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def read(address: str | None) -> dict[str, float]:
    """All samples, as `name{labels}`; none where the daemon has no metrics, or does not answer."""
    if address is None:
        return {}
    host, _, port = reachable(address).rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return parse(connection.getresponse().read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def parse(text: str) -> dict[str, float]:
    """The text format, as far as the daemon writes it."""
    return {
        f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in _LINE.findall(text)
    }


def total(samples: dict[str, float], name: str, *labels: str) -> float:
    """The sum of a metric over all its samples that have these labels, such as `code="200"`."""
    return sum(
        value
        for key, value in samples.items()
        if key.partition("{")[0] == name and all(label in key for label in labels)
    )
