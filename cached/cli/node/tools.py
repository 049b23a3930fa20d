"""Running the system's own programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from cached.core.errors import CachedError, DiskFault, NotConfigured

# Longer than any of them needs, shorter than the start of cached-node-init.service may take.
_SECONDS: Final = 60.0
# Where sbin is not in the path of whoever tries this by hand.
_PATH: Final = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
_PACKAGES: Final = {"wipefs": "util-linux", "mkfs.xfs": "xfsprogs", "mdadm": "mdadm", "systemctl": "systemd"}


def run(command: Sequence[str], fault: type[CachedError] = DiskFault, hint: str = "") -> str:
    """What the program wrote to its standard output; what it warned of goes to ours. It has nothing to read,
    so that it asks nobody.

    Raises NotConfigured where it is not installed, `fault` with what it said when it fails or hangs.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            env=os.environ | {"PATH": _PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        package = _PACKAGES.get(command[0])
        hint = f"install the package {package}" if package else ""
        raise NotConfigured(f"the program {command[0]} is missing", hint=hint) from None
    except subprocess.TimeoutExpired:
        raise fault(f"{' '.join(command)}: nothing came of it in {_SECONDS:.0f} s", hint=hint) from None
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or error.stdout).split()) or f"exit code {error.returncode}"
        raise fault(f"{' '.join(command)}: {said}", hint=hint) from None
    sys.stderr.write(done.stderr)
    return done.stdout
