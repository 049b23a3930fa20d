"""What is asked and told of a swarm, for operators."""

from __future__ import annotations

from cached._proto.v1.peer_pb2 import SurveyRequest, SurveyResponse
from cached.core.digest import Digest
from cached.peers.wire import values as v
from cached.swarm.messages import Survey


def encode_survey_request(tree: Digest, member: str) -> bytes:
    return SurveyRequest(tree=tree, member=member).SerializeToString()


def decode_survey_request(data: bytes) -> tuple[Digest, str]:
    """The tree, and who asks."""
    said = v.parsed(SurveyRequest, data)
    return v.read_digest(said.tree), v.read_address(said.member)


def encode_survey(survey: Survey) -> bytes:
    return SurveyResponse(
        member_count=survey.members,
        complete_count=survey.complete,
        chunk_count=survey.chunks,
        held_count=survey.held,
        granted_count=survey.granted,
        read_count=survey.reads,
        holders=survey.holders,
    ).SerializeToString()


def decode_survey(data: bytes) -> Survey:
    said = v.parsed(SurveyResponse, data)
    return Survey(
        v.read_count(said.member_count),
        v.read_count(said.complete_count),
        v.read_count(said.chunk_count),
        v.read_count(said.held_count),
        v.read_count(said.granted_count),
        said.read_count,
        tuple(v.read_address(holder) for holder in said.holders[: v.MAX_MEMBERS]),
    )
