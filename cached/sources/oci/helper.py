"""Credential helpers: programs of which credentials are asked.

https://github.com/docker/docker-credential-helpers
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Final

from cached.core.errors import NotConfigured
from cached.sources.oci.secret import Secret

_SECONDS: Final = 8.0
_NONE: Final = "credentials not found"
_NO_USER: Final = "<token>"


def ask_helper(name: str, server: str) -> Secret | None:
    """Run `docker-credential-NAME get` for `server`; None when it has nothing for that. Blocks.

    Raises NotConfigured when it is not there, fails, takes too long or makes no sense. What it says is not
    repeated: it may be a secret.
    """
    program = f"docker-credential-{name}"
    try:
        code, said = _run(program, server)
    except subprocess.TimeoutExpired:
        raise _broken(program, server, f"it did not answer within {_SECONDS:g} s") from None
    except OSError as error:
        raise _broken(program, server, error.strerror or type(error).__name__) from None
    if code:
        if _NONE in said.decode(errors="replace").lower():
            return None
        raise _broken(program, server, f"it ended with {code}")
    try:
        answer = json.loads(said)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise _broken(program, server, "its answer makes no sense") from None
    if not all(isinstance(word, str) and word.isprintable() for word in (user, secret)):
        raise _broken(program, server, "its answer makes no sense")
    if not secret:
        return None
    return Secret(identity=secret) if user == _NO_USER else Secret(user, secret)


def _run(program: str, server: str) -> tuple[int, bytes]:
    """Exit code, and what it wrote. One that takes too long is killed, and whatever it started with it."""
    command = [program, "get"]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null, start_new_session=True) as process:
        try:
            said, _ = process.communicate(server.encode(), _SECONDS)
            return process.returncode, said
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def _broken(program: str, server: str, why: str) -> NotConfigured:
    return NotConfigured(
        f"the credential helper {program} cannot be used for {server}: {why}",
        hint=f"try: echo {server} | {program} get",
    )
