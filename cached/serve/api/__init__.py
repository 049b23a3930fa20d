"""The node API: gRPC on two unix sockets, one for pods and one for operators."""

from cached.serve.api.port import Engine
from cached.serve.api.server import ApiServer
from cached.serve.rpc.sockets import Listen

__all__ = ["ApiServer", "Engine", "Listen"]
