"""The messages of a swarm as they travel.

Encoding is for what this node's own machines say. Decoding believes nothing: it raises Malformed for what
is malformed or unreasonable, and returns None for what only a later version knows, to be passed over.
"""

from __future__ import annotations

from cached.peers.wire.coordinator import decode_coordinator, encode_coordinator
from cached.peers.wire.exchange import (
    Open,
    decode_exchange_request,
    decode_exchange_response,
    encode_exchange_request,
    encode_exchange_response,
)
from cached.peers.wire.knock import decode_knock, encode_knock, encode_knock_answer
from cached.peers.wire.participant import decode_participant, encode_participant, version_of
from cached.peers.wire.survey import (
    decode_survey,
    decode_survey_request,
    encode_survey,
    encode_survey_request,
)
from cached.peers.wire.values import Malformed

__all__ = [
    "Malformed",
    "Open",
    "decode_coordinator",
    "decode_exchange_request",
    "decode_exchange_response",
    "decode_knock",
    "decode_participant",
    "decode_survey",
    "decode_survey_request",
    "encode_coordinator",
    "encode_exchange_request",
    "encode_exchange_response",
    "encode_knock",
    "encode_knock_answer",
    "encode_participant",
    "encode_survey",
    "encode_survey_request",
    "version_of",
]
