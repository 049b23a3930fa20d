"""Whether this node's clock is that of the servers it speaks to."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cached.cli.doctor.apiserver import get
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import CachedError
from cached.core.kubernetes import Unanswered
from cached.kit.proxies import Proxies, UnusableProxy
from cached.kit.units import show_seconds

if TYPE_CHECKING:
    from cached.config.settings import Settings

_PATIENCE: Final = 3.0
_AWS: Final = "https://s3.{}.amazonaws.com"
_API: Final = "the API server"
_MOST_ASKED: Final = 8
_SKEWED: Final = 30.0
_REFUSED: Final = 900.0  # by S3
_HINT: Final = "set the clock, and keep it: chronyc makestep, or timedatectl set-ntp true"


def look(scene: Scene) -> Iterator[Finding]:
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    servers = endpoints(scene.settings, _has_s3(scene))[:_MOST_ASKED]
    with ThreadPoolExecutor(_MOST_ASKED + 1) as pool:
        asked = {server: pool.submit(_ahead_of, server) for server in servers}
        asked[_API] = pool.submit(_ahead_of_api_server)
        ahead = {server: skew for server, future in asked.items() if (skew := future.result()) is not None}
    yield judge(ahead)


def judge(ahead: Mapping[str, float]) -> Finding:
    """ahead: by how many seconds this node's clock is ahead of each server's."""
    if not ahead:
        return Finding(
            "skipped", "clock", "no server was found that tells the time: S3, registries, API server"
        )
    server, least = min(ahead.items(), key=lambda item: abs(item[1]))
    if abs(least) > _SKEWED:
        how = f"{show_seconds(abs(least))} {'ahead of' if least > 0 else 'behind'}"
        refused = abs(least) >= _REFUSED
        effect = "S3 refuses this node" if refused else "S3 refuses this node from 15 minutes on"
        message = f"this node's clock is {how} that of {server}: {effect}"
        return Finding("problem" if refused else "warning", "clock", message, _HINT)
    wrong = [name for name, skew in ahead.items() if abs(skew) > _SKEWED]
    if wrong:
        message = (
            f"the clock of {', '.join(wrong)} differs by more than {_SKEWED:g} s; that of {server} does not"
        )
        return Finding("warning", "clock", message, "set the clock there")
    return Finding("ok", "clock", f"within {_SKEWED:g} s of {', '.join(ahead)}")


def endpoints(settings: Settings, has_s3: bool) -> list[str]:
    """URLs of servers that are asked for models and images anyway. has_s3: models come from there. Pure."""
    s3 = settings.sources.s3
    buckets = (s3, *s3.buckets.values()) if has_s3 else ()
    found = [each.endpoint or _AWS.format(each.region or "us-east-1") for each in buckets]
    for host, upstream in settings.images.upstreams.items():
        name = "registry-1.docker.io" if host == "docker.io" else host
        found.append((upstream.endpoint or f"https://{name}").rstrip("/") + "/v2/")
    return list(dict.fromkeys(found))


def _has_s3(scene: Scene) -> bool:
    """Whether any model of the catalog is on S3, as far as it can be read; without one, any may be."""
    from cached.config import catalog

    if scene.settings is None or scene.settings.catalog is None:
        return True
    try:
        models = catalog.load(scene.seen(scene.settings.catalog)).models.values()
    except CachedError:
        return True
    return any(model.source.startswith("s3://") for model in models)


def _ahead_of(url: str) -> float | None:
    """None when it does not say. It is believed without a certificate: with a wrong clock none would do."""
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.netloc)
    except UnusableProxy:
        return None
    try:
        connection.request("HEAD", parts.path or "/")
        return skew_of(connection.getresponse().headers.get("Date", ""), time.time())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    proxy = Proxies.from_environment().of(scheme, netloc)
    if scheme == "http":  # of one by a proxy it would be the proxy's clock
        return http.client.HTTPConnection(netloc, timeout=_PATIENCE)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if proxy is None:
        return http.client.HTTPSConnection(netloc, timeout=_PATIENCE, context=context)
    connection = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=_PATIENCE, context=context)
    connection.set_tunnel(
        netloc, headers={"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    )
    return connection


def _ahead_of_api_server() -> float | None:
    try:
        return skew_of(get("/version").date, time.time())
    except Unanswered:
        return None


def skew_of(date: str, now: float) -> float | None:
    """By how many seconds `now` is ahead of an HTTP date; None for what is none. Pure."""
    try:
        return now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None
