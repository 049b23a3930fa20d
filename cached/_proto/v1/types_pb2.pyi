import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArtifactState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_STATE_UNSPECIFIED: _ClassVar[ArtifactState]
    ARTIFACT_STATE_COLD: _ClassVar[ArtifactState]
    ARTIFACT_STATE_FETCHING: _ClassVar[ArtifactState]
    ARTIFACT_STATE_WARM: _ClassVar[ArtifactState]
    ARTIFACT_STATE_FAILED: _ClassVar[ArtifactState]
ARTIFACT_STATE_UNSPECIFIED: ArtifactState
ARTIFACT_STATE_COLD: ArtifactState
ARTIFACT_STATE_FETCHING: ArtifactState
ARTIFACT_STATE_WARM: ArtifactState
ARTIFACT_STATE_FAILED: ArtifactState

class Resolved(_message.Message):
    __slots__ = ("ref", "tree", "size_bytes", "file_count", "present_bytes", "stale")
    REF_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRESENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    ref: str
    tree: str
    size_bytes: int
    file_count: int
    present_bytes: int
    stale: bool
    def __init__(self, ref: _Optional[str] = ..., tree: _Optional[str] = ..., size_bytes: _Optional[int] = ..., file_count: _Optional[int] = ..., present_bytes: _Optional[int] = ..., stale: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("total_bytes", "done_bytes", "found_bytes", "source_bytes", "peer_bytes", "bytes_per_second", "eta")
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FOUND_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEER_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    total_bytes: int
    done_bytes: int
    found_bytes: int
    source_bytes: int
    peer_bytes: int
    bytes_per_second: float
    eta: _duration_pb2.Duration
    def __init__(self, total_bytes: _Optional[int] = ..., done_bytes: _Optional[int] = ..., found_bytes: _Optional[int] = ..., source_bytes: _Optional[int] = ..., peer_bytes: _Optional[int] = ..., bytes_per_second: _Optional[float] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("ref", "source", "state", "tree", "path", "size_bytes", "file_count", "progress", "pinned", "lease_count", "last_use_time", "last_error", "in_catalog")
    REF_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    LEASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    IN_CATALOG_FIELD_NUMBER: _ClassVar[int]
    ref: str
    source: str
    state: ArtifactState
    tree: str
    path: str
    size_bytes: int
    file_count: int
    progress: Progress
    pinned: bool
    lease_count: int
    last_use_time: _timestamp_pb2.Timestamp
    last_error: str
    in_catalog: bool
    def __init__(self, ref: _Optional[str] = ..., source: _Optional[str] = ..., state: _Optional[_Union[ArtifactState, str]] = ..., tree: _Optional[str] = ..., path: _Optional[str] = ..., size_bytes: _Optional[int] = ..., file_count: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., pinned: _Optional[bool] = ..., lease_count: _Optional[int] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., in_catalog: _Optional[bool] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("reason", "message", "hint", "retryable", "needed_bytes", "free_bytes", "held_bytes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    NEEDED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    hint: str
    retryable: bool
    needed_bytes: int
    free_bytes: int
    held_bytes: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., retryable: _Optional[bool] = ..., needed_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., held_bytes: _Optional[int] = ...) -> None: ...
