"""Images that tests pull."""

from __future__ import annotations

from typing import Final

from tests.servers.images import Image, runnable
from tests.servers.layers import Noise, layer

MIB: Final = 1 << 20
SAID: Final = ("/bin/busybox", "cat", "/etc/motd")
"""What to run in them."""


def hello(*sizes: int, seed: int = 1, says: str = "hello") -> Image:
    """A runnable image that can say hello, with further layers of these sizes, in bytes."""
    more = [layer({f"data/{n}": Noise(size, seed + n)}, compression="") for n, size in enumerate(sizes)]
    return runnable(layer({"etc/motd": f"{says}\n".encode()}), *more)
