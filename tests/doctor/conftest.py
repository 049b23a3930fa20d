"""Daemons for the doctor."""

from tests.system.conftest import start

__all__ = ["start"]
