"""How the Kubernetes API server is reached, and who we are there.

lightkube finds the server and says who we are: a service account's token, read again once it is no longer
accepted, or a kubeconfig.
"""

from __future__ import annotations

from collections.abc import Callable

from httpx2 import AsyncClient, HTTPError, InvalidURL, Timeout
from lightkube.config.client_adapter import AsyncClient as client_of
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from cached.core.errors import NotConfigured
from cached.core.kubernetes import Unanswered

Config = Callable[[], SingleConfig]

TIMEOUT = 10.0
"""Seconds to connect, or without a byte of an answer."""

FAULTS = (HTTPError, InvalidURL, ConfigError)
"""What a request raises when there is no answer. ConfigError: a token could not be read again."""


def found_config() -> SingleConfig:
    """A pod's service account, or the file that KUBECONFIG names, or ~/.kube/config."""
    config = KubeConfig.from_env().get()
    assert config is not None  # only a default could be
    return config


def usable(config: Config, asker: str) -> SingleConfig:
    """What `config` finds. Raises NotConfigured, in the name of the asker, when it is of no use."""
    try:
        found = config()
    except (ConfigError, OSError, KeyError) as error:
        raise _unusable(asker, str(error)) from None
    except Exception as error:  # whatever YAML of another shape leads to; its text may hold the token
        raise _unusable(asker, type(error).__name__) from None
    return found if found.user is not None else found._replace(user=User())


def client(config: SingleConfig) -> AsyncClient:
    """Reads certificates; connects later. Raises Unanswered when they are unreadable."""
    try:
        return client_of(config, ConnectionParams(timeout=Timeout(TIMEOUT)))
    except (OSError, ConfigError) as error:
        raise Unanswered(text(error)) from None


def text(error: Exception) -> str:
    """Why a request failed."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _unusable(asker: str, why: str) -> NotConfigured:
    return NotConfigured(
        f"{asker}: there is no usable Kubernetes configuration: {why}",
        hint="run in a pod with a service account, or let KUBECONFIG name a file",
    )
