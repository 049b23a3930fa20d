import datetime

from cached._proto.v1 import types_pb2 as _types_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WarmRequest(_message.Message):
    __slots__ = ("refs", "all", "wait")
    REFS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    refs: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    wait: bool
    def __init__(self, refs: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ..., wait: _Optional[bool] = ...) -> None: ...

class WarmResponse(_message.Message):
    __slots__ = ("ref", "accepted", "resolved", "progress", "warmed", "failed")
    class Accepted(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Warmed(_message.Message):
        __slots__ = ("path", "tree", "size_bytes", "fetched_bytes")
        PATH_FIELD_NUMBER: _ClassVar[int]
        TREE_FIELD_NUMBER: _ClassVar[int]
        SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
        FETCHED_BYTES_FIELD_NUMBER: _ClassVar[int]
        path: str
        tree: str
        size_bytes: int
        fetched_bytes: int
        def __init__(self, path: _Optional[str] = ..., tree: _Optional[str] = ..., size_bytes: _Optional[int] = ..., fetched_bytes: _Optional[int] = ...) -> None: ...
    REF_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    WARMED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ref: str
    accepted: WarmResponse.Accepted
    resolved: _types_pb2.Resolved
    progress: _types_pb2.Progress
    warmed: WarmResponse.Warmed
    failed: _types_pb2.ErrorDetail
    def __init__(self, ref: _Optional[str] = ..., accepted: _Optional[_Union[WarmResponse.Accepted, _Mapping]] = ..., resolved: _Optional[_Union[_types_pb2.Resolved, _Mapping]] = ..., progress: _Optional[_Union[_types_pb2.Progress, _Mapping]] = ..., warmed: _Optional[_Union[WarmResponse.Warmed, _Mapping]] = ..., failed: _Optional[_Union[_types_pb2.ErrorDetail, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("artifacts",)
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[_types_pb2.Artifact]
    def __init__(self, artifacts: _Optional[_Iterable[_Union[_types_pb2.Artifact, _Mapping]]] = ...) -> None: ...

class EvictRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class EvictResponse(_message.Message):
    __slots__ = ("freed_bytes",)
    FREED_BYTES_FIELD_NUMBER: _ClassVar[int]
    freed_bytes: int
    def __init__(self, freed_bytes: _Optional[int] = ...) -> None: ...

class PinRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class PinResponse(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: _types_pb2.Artifact
    def __init__(self, artifact: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ...) -> None: ...

class UnpinRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class UnpinResponse(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: _types_pb2.Artifact
    def __init__(self, artifact: _Optional[_Union[_types_pb2.Artifact, _Mapping]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("version", "start_time", "root", "draining", "space", "flight_count", "lease_count", "blob_count", "tree_count", "catalog", "scrub", "warnings")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BLOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    TREE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    SCRUB_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    version: str
    start_time: _timestamp_pb2.Timestamp
    root: str
    draining: bool
    space: Space
    flight_count: int
    lease_count: int
    blob_count: int
    tree_count: int
    catalog: CatalogStatus
    scrub: ScrubStatus
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., root: _Optional[str] = ..., draining: _Optional[bool] = ..., space: _Optional[_Union[Space, _Mapping]] = ..., flight_count: _Optional[int] = ..., lease_count: _Optional[int] = ..., blob_count: _Optional[int] = ..., tree_count: _Optional[int] = ..., catalog: _Optional[_Union[CatalogStatus, _Mapping]] = ..., scrub: _Optional[_Union[ScrubStatus, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Space(_message.Message):
    __slots__ = ("capacity_bytes", "used_bytes", "reserved_bytes", "held_bytes", "filesystem_free_bytes", "min_free_bytes")
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESERVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILESYSTEM_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    capacity_bytes: int
    used_bytes: int
    reserved_bytes: int
    held_bytes: int
    filesystem_free_bytes: int
    min_free_bytes: int
    def __init__(self, capacity_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., reserved_bytes: _Optional[int] = ..., held_bytes: _Optional[int] = ..., filesystem_free_bytes: _Optional[int] = ..., min_free_bytes: _Optional[int] = ...) -> None: ...

class CatalogStatus(_message.Message):
    __slots__ = ("path", "model_count", "load_time", "error")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    path: str
    model_count: int
    load_time: _timestamp_pb2.Timestamp
    error: str
    def __init__(self, path: _Optional[str] = ..., model_count: _Optional[int] = ..., load_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class ScrubStatus(_message.Message):
    __slots__ = ("blob_count", "corrupt_count", "last_round_time")
    BLOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ROUND_TIME_FIELD_NUMBER: _ClassVar[int]
    blob_count: int
    corrupt_count: int
    last_round_time: _timestamp_pb2.Timestamp
    def __init__(self, blob_count: _Optional[int] = ..., corrupt_count: _Optional[int] = ..., last_round_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("done_bytes", "total_bytes", "corrupt", "finished")
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    CORRUPT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    done_bytes: int
    total_bytes: int
    corrupt: _containers.RepeatedCompositeFieldContainer[CorruptBlob]
    finished: bool
    def __init__(self, done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., corrupt: _Optional[_Iterable[_Union[CorruptBlob, _Mapping]]] = ..., finished: _Optional[bool] = ...) -> None: ...

class CorruptBlob(_message.Message):
    __slots__ = ("blob", "refs")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    REFS_FIELD_NUMBER: _ClassVar[int]
    blob: str
    refs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, blob: _Optional[str] = ..., refs: _Optional[_Iterable[str]] = ...) -> None: ...
