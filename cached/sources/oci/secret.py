"""What proves who asks."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """Credentials for one registry: user and password, or a token instead. Never logged.

    identity: given to the token service instead of a password. registry: given to the registry itself.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)
    registry: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """User and password as the value of an Authorization header; "" without any."""
        if not self.user or not self.password:
            return ""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode()).decode()}"
