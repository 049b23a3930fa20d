"""How gRPC is set up between nodes. Both ends must agree on much of it, so it stands in one place."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 4 * 2**20

# On streams that are open. A ping after so long without a word, and so long for its answer: together, how
# late this node finds out that the other lost its power.
_PING_SECONDS, _PONG_SECONDS = 4, 3
# How long a connection without streams is kept.
_IDLE_SECONDS = 60
# From the first packet of a connection to the last of its handshake.
_CONNECT_SECONDS = 3

_BOTH = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 1000 * _PING_SECONDS),
    ("grpc.keepalive_timeout_ms", 1000 * _PONG_SECONDS),
    # What a ping really waits for its answer; a minute unless set, whatever the line above says.
    ("grpc.http2.ping_timeout_ms", 1000 * _PONG_SECONDS),
    ("grpc.http2.max_pings_without_data", 0),
)

CLIENT: Final = (
    *_BOTH,
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Channels share connections to the same address otherwise, and with them the wait after a failure.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 1000 * _CONNECT_SECONDS),
    ("grpc.client_idle_timeout_ms", 1000 * _IDLE_SECONDS),
    ("grpc.enable_retries", 0),
)

SERVER: Final = (
    *_BOTH,
    ("grpc.so_reuseport", 0),  # two daemons at one port would each get some of the calls
    # More often than the other end pings is abuse; less often, and a quiet stream ends with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 1000 * 2 * _IDLE_SECONDS),
)
