"""The client library: a model by name, and a path that is complete, verified and held.

    from cached.client import CacheClient

    with CacheClient() as cache:
        model = cache.acquire("minilm")
        load(model.path)

It imports nothing heavier than grpc. gRPC does not survive a fork: make the client in the process that
uses it, or start workers by spawn.
"""

from cached.client.async_client import AsyncCacheClient
from cached.client.client import CacheClient
from cached.client.errors import Cancelled, DaemonFault, NotVisible, TimedOut, Unreachable
from cached.client.model import AsyncModel, Model
from cached.client.operator import OperatorClient
from cached.core.errors import CachedError
from cached.core.progress import Progress

__all__ = [
    "AsyncCacheClient",
    "AsyncModel",
    "CacheClient",
    "CachedError",
    "Cancelled",
    "DaemonFault",
    "Model",
    "NotVisible",
    "OperatorClient",
    "Progress",
    "TimedOut",
    "Unreachable",
]
