"""The daemon's settings: a YAML file, with environment variables on top.

`CACHED__CAPACITY=2TiB` sets `capacity`, `CACHED__SOURCES__S3__ENDPOINT=…` sets `sources.s3.endpoint`:
two underscores stand for each step. One underscore would clash with the `CACHED_PORT_…` variables that
Kubernetes puts into every pod beside a Service named `cached`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from cached.config.gate import Gate
from cached.config.kinds import Bytes, BytesOrShare, Mode, Seconds, Section
from cached.config.problems import explain, read_mapping
from cached.config.publishing import Csi, Publish
from cached.core.errors import InvalidRequest
from cached.core.image import Repository

PREFIX = "CACHED__"


def default_root() -> Path:
    """The user's own cache directory, for a daemon without configuration."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cached"


class S3Bucket(Section):
    """How to reach S3. Credentials are never written here: boto3 finds them by its own chain."""

    endpoint: str | None = None
    """URL of an S3-compatible server; AWS itself when unset."""
    region: str | None = None
    """Region to sign for; boto3's own choice when unset."""
    profile: str | None = None
    """Profile in the AWS configuration files."""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    """How the bucket stands in URLs; most servers other than AWS want `path`."""
    requester_pays: bool = False
    """Accept the charges for reading buckets of others."""
    anonymous: bool = False
    """Read public buckets without credentials."""

    @field_validator("endpoint")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return _plain_url(value)


class Limits(Section):
    """Bounds for one kind of source, beside the global ones."""

    connections: Annotated[int, Field(ge=0, le=1024)] = 0
    """Ranges read at once; 0 leaves it to the global bound."""
    bandwidth: Bytes = 0
    """Bytes per second; 0 means no bound."""


class S3(S3Bucket):
    """S3: defaults for all buckets, and what differs for some."""

    buckets: dict[str, S3Bucket] = Field(default_factory=dict)
    """By bucket name: replaces the settings above as a whole for that bucket."""
    limits: Limits = Limits()
    """Bounds on reading from S3."""


class File(Section):
    """Directories of this node as sources."""

    roots: tuple[Path, ...] = ()
    """Nothing outside of these is read, and links may lead anywhere within; when empty, links must stay
    within the directory that a source names."""
    limits: Limits = Limits()
    """Bounds on reading files."""


class Sources(Section):
    """Where bytes may come from."""

    s3: S3 = S3()
    """Buckets."""
    file: File = File()
    """Directories of this node."""


class Transfer(Section):
    """How bytes are moved. Buffers take (connections + spare_buffers) times 8 MiB at most."""

    connections: Annotated[int, Field(ge=1, le=256)] = 16
    """Ranges read at once, over all sources."""
    spare_buffers: Annotated[int, Field(ge=0, le=256)] = 8
    """Buffers beside those, so that chunks that overtake others need not be read again to be hashed."""
    bandwidth: Bytes = 0
    """Bytes per second over all sources; 0 means no bound."""
    connect_timeout: Seconds = 5.0
    """To open a connection."""
    stall_timeout: Seconds = 20.0
    """Without any byte, before a range is asked for again."""
    give_up_after: Seconds = 300.0
    """Without any progress of a file, before its fetch fails."""
    ca_file: Path | None = None
    """PEM bundle to trust instead of the system's."""


class Leases(Section):
    """How long a reader holds a model."""

    default_ttl: Seconds = 600.0
    """When the caller names none."""
    max_ttl: Seconds = 86400.0
    """The most that is granted at once."""


class Scrub(Section):
    """Re-reading what lies on disk, in the background."""

    rate: Bytes = 32 << 20
    """Bytes per second; 0 turns the scrub off."""
    interval: Seconds = 7 * 86400.0
    """From the end of a round to the next reading of the same blob."""


class Sockets(Section):
    """The two unix sockets."""

    directory: Path | None = None
    """Holds `pods/cached.sock` and `operator/cached.sock`; `run` below the root when unset."""
    pods_mode: Mode = 0o600
    """Permissions of the pods' socket; "0666" lets any user acquire, also in pods that mount it."""
    operator_mode: Mode = 0o600
    """Permissions of the operators' socket."""


class Tls(Section):
    """Certificates of the nodes, in PEM; reread as they change. `cachectl certs` makes some for a lab."""

    ca: Path | None = None
    """Certificates of the CA that vouches for the nodes, and for nobody else."""
    cert: Path | None = None
    """This node's certificate, and what leads from it to the CA."""
    key: Path | None = None
    """Its private key; not readable by others."""
    name: str | None = None
    """A DNS name that the certificates of all nodes carry. When unset, each carries its node's own host,
    the one in `advertise`."""


class Members(Section):
    """Where the other nodes are known from; at most one of these."""

    static: tuple[str, ...] = ()
    """host:port of each node; this one may be among them."""
    dns: str | None = None
    """Name of a headless Service: its addresses, with the port of `advertise`; or an SRV name that begins
    with an underscore, which tells ports too."""
    endpoint_slices: str | None = None
    """namespace/service, watched at the Kubernetes API server; tells zones too."""
    refresh: Seconds = 5.0
    """Between two looks at the DNS."""


class Peers(Section):
    """Neighbouring nodes. Off unless `advertise` is set."""

    advertise: str | None = None
    """host:port by which other nodes reach this one, such as $(POD_IP):7400."""
    listen: str | None = None
    """host:port to listen on; `advertise` when unset."""
    data_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where ranges are served, on the same host; the port after that of `listen` when 0."""
    zone: str = ""
    """Where this node stands; neighbours of the same zone are asked first."""
    members: Members = Members()
    """Where the other nodes are known from."""
    tls: Tls = Tls()
    """Who is a node."""
    plaintext: bool = False
    """No TLS at all, for a network that encrypts and admits by itself. Whoever reaches the port can read."""
    upload: Bytes = 0
    """Bytes per second to other nodes; 0 means no bound."""
    download: Bytes = 0
    """Bytes per second from other nodes; 0 means no bound."""
    uploads: Annotated[int, Field(ge=1, le=256)] = 4
    """Ranges sent to other nodes at once; half as many more may wait."""
    downloads: Annotated[int, Field(ge=1, le=256)] = 6
    """Chunks of a model asked of other nodes at once."""
    slow: Bytes = 32_000_000
    """Bytes per second that neighbours are to bring together; if they do not, the source is tried as well."""
    source_reads: Annotated[int, Field(ge=1, le=4096)] = 256
    """Chunks of a model that all nodes together may be reading from its source at once."""
    source_bandwidth: Bytes = 0
    """Bytes per second that all nodes together may read of a model from its source; 0 means no bound."""

    @field_validator("advertise", "listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return _host_and_port(value)

    @model_validator(mode="after")
    def _whole(self) -> Peers:
        if sum(bool(x) for x in (self.members.static, self.members.dns, self.members.endpoint_slices)) > 1:
            raise ValueError("members: name one of static, dns and endpoint_slices")
        if self.advertise is None:
            return self
        given = (self.tls.ca, self.tls.cert, self.tls.key)
        if self.plaintext and any(given):
            raise ValueError("plaintext: there are certificates as well; leave one of the two")
        if not self.plaintext and not all(given):
            raise ValueError("tls: ca, cert and key are needed, or plaintext: true")
        return self


class Upstream(Section):
    """One registry that images may come from."""

    endpoint: str | None = None
    """URL of its API; https:// and its host when unset."""
    ca_file: Path | None = None
    """PEM bundle to trust it by, instead of the system's."""
    trusted: tuple[str, ...] = ()
    """Globs of repositories, such as `nim/**`, that any puller on this node may have, with the node's own
    credentials. Of all others a puller has to prove that the registry lets it have them."""
    token_hosts: tuple[str, ...] = ()
    """Hosts of token services that may see credentials for it, beside those of its own domain."""

    @field_validator("endpoint")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return _plain_url(value)


class Runtime(Section):
    """The container runtime of this node, containerd."""

    socket: Path | None = None
    """Its CRI socket, such as /run/containerd/containerd.sock; warmed images are pulled through it."""
    root: Path | None = None
    """Its data directory, such as /var/lib/containerd; blobs that lie there are given to others, never
    written."""
    pull_timeout: Seconds = 3600.0
    """For one pull, restarts of the runtime included."""


class Images(Section):
    """Container images. Off unless there are upstreams."""

    upstreams: dict[str, Upstream] = Field(default_factory=dict)
    """By host as image names have it, such as `docker.io` or `registry.example:5000`; no other is asked."""
    mirror: str | None = None
    """host:port where the node's runtime finds them, such as 127.0.0.1:7402; off when unset."""
    mirror_for_others: bool = False
    """Let `mirror` be an address that more than this node reaches."""
    credentials: tuple[Path, ...] = ()
    """Docker's config.json files, and directories of mounted pull secrets; the first that knows a registry
    counts. Read again as they change."""
    max_stale: Seconds = 86400.0
    """For how long a tag is believed while its registry does not answer."""
    proof_ttl: Seconds = 60.0
    """For how long a puller that proved its right to a repository need not prove it again."""
    grace: Seconds = 600.0
    """For how long neighbours find what the runtime has unpacked before it goes first."""
    share: bool = True
    """Neighbouring nodes may fetch layers from this one, and this one from them."""
    limits: Limits = Limits()
    """Bounds on reading from registries."""
    runtime: Runtime = Runtime()
    """The container runtime."""

    @field_validator("upstreams", mode="before")
    @classmethod
    def _hosts(cls, value: Any) -> Any:
        for host in value if isinstance(value, dict) else ():
            try:
                Repository.of(host, "any")
            except InvalidRequest as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("mirror")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return _host_and_port(value)

    @model_validator(mode="after")
    def _near(self) -> Images:
        if self.mirror and not self.mirror_for_others and not _is_loopback(self.mirror.rpartition(":")[0]):
            raise ValueError(
                "mirror: pullers show passwords there: name a loopback address, or set mirror_for_others"
            )
        return self


class Log(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "human", "json"] = "auto"
    """`auto`: for people on a terminal, JSON lines elsewhere."""


class Settings(Section):
    """All settings of the daemon. Every one has a default; no file is needed."""

    root: Path = Field(default_factory=default_root)
    """The data directory, best on local NVMe; pods see published models below it at the same path."""
    capacity: Bytes | None = None
    """What the cache may use; 90 % of the filesystem when unset."""
    min_free: BytesOrShare | None = None
    """What stays free on the filesystem, whoever fills it, as a size or as a share of it such as 20%; 5 % of
    it, at most 50 GiB, when unset."""
    catalog: Path | None = None
    """YAML file of models; followed as it changes."""
    allow_sources: tuple[str, ...] | None = None
    """Prefixes of source URIs that may be asked for beside the catalog. When unset: none with a catalog,
    and all of `s3://` and `file:///` without one."""
    resolve_ttl: Seconds = 0.0
    """For how long a model without a revision may be answered without asking its source again."""
    warm_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    """Models warmed at once; readers that wait are not counted."""
    drain_timeout: Seconds = 30.0
    """From SIGTERM until work still under way is cut off."""
    metrics: str | None = None
    """host:port for /metrics and /healthz over HTTP, such as 127.0.0.1:9464; off when unset."""
    sockets: Sockets = Sockets()
    """The two unix sockets."""
    transfer: Transfer = Transfer()
    """How bytes are moved."""
    leases: Leases = Leases()
    """How long a reader holds a model."""
    scrub: Scrub = Scrub()
    """Re-reading what lies on disk."""
    sources: Sources = Sources()
    """Where bytes may come from."""
    peers: Peers = Peers()
    """Neighbouring nodes."""
    images: Images = Images()
    """Container images."""
    publish: Publish = Publish()
    """How what is acquired becomes visible at a path."""
    csi: Csi = Csi()
    """The CSI node plugin."""
    gate: Gate = Gate()
    """What this node's object says at the Kubernetes API server."""
    log: Log = Log()
    """The log on standard error."""

    @field_validator("root", "catalog")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else Path(os.path.abspath(value.expanduser()))

    @field_validator("allow_sources")
    @classmethod
    def _prefixes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for prefix in value or ():
            if not prefix.startswith(("s3://", "file:///")):
                raise ValueError(f"{prefix!r} is no prefix of a source; it begins with s3:// or file:///")
        return value

    @field_validator("metrics")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return _host_and_port(value)

    @property
    def socket_directory(self) -> Path:
        return self.sockets.directory or self.root / "run"

    @property
    def allowed_prefixes(self) -> tuple[str, ...]:
        """Prefixes in force; see allow_sources."""
        if self.allow_sources is None:
            return () if self.catalog else ("s3://", "file:///")
        return self.allow_sources


def _plain_url(value: str | None) -> str | None:
    if value is not None and (not value.startswith(("http://", "https://")) or "@" in value):
        raise ValueError("write http://host:port or https://host:port, without user or password")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_and_port(value: str | None) -> str | None:
    if value is not None:
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) < 65536):
            raise ValueError("write host:port, such as 127.0.0.1:9464")
    return value


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The nested mapping that CACHED__… variables describe; values are read as YAML scalars or lists."""
    found: dict[str, Any] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        *above, last = variable.removeprefix(PREFIX).lower().split("__")
        place = found
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InvalidRequest(f"environment variable {variable} clashes with a shorter one")
        text = environ[variable]
        try:
            place[last] = (
                yaml.safe_load(text) if text[:1] in "[{" or text in ("true", "false", "null") else text
            )
        except yaml.YAMLError:
            raise InvalidRequest(f"environment variable {variable} is not valid YAML") from None
    return found


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _overlay(under, value) if isinstance(value, dict) and isinstance(under, dict) else value
    return merged


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings: defaults, then the file, then the environment.

    Raises InvalidRequest that lists every fault by its key; values are not repeated.
    """
    merged = _overlay(read_mapping(path) if path else {}, _from_environment(environ))
    where = " and ".join(
        [str(path)] * (path is not None)
        + ["the environment"] * any(name.startswith(PREFIX) for name in environ)
    )
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise explain(error, where or "settings") from None
