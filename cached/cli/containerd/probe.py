"""Whether the mirror answers."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

_PATIENCE = 2.0


def fault_of(url: str) -> str:
    """Why no registry answers at `url`, within seconds; empty when one does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/v2/")
        status = connection.getresponse().status
    except TimeoutError:
        return f"nothing within {_PATIENCE:g} seconds"
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    finally:
        connection.close()
    # A registry that wants to know who asks is one, too.
    return "" if status in (200, 401) else f"GET /v2/ gives {status}, so that something else listens there"
