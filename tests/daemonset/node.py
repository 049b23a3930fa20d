"""A node in miniature: runs the daemon's pod with what its manifest gives it, and nothing else.

Of a container runtime it has what matters here: a read-only root, the volumes at their paths with their
propagation, the user, the capabilities, no new privileges, the variables. Seccomp and cgroups it has not.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.daemonset.built import Object, daemon, environment, only

MODEL = b"weights" * 100_000
_BIN = Path(sys.executable).parent
_CATALOG = "models: {tiny: {source: file:///models/tiny}}\n"
# The disk of whoever runs the tests has no 100 GiB to spare.
_INSTEAD = {"CACHED__MIN_FREE": "0"}


def why_not() -> str | None:
    """Why there can be no such node here; None when there can."""
    if os.geteuid() != 0:
        return "needs root, to make namespaces and to mount"
    if _BIN.is_relative_to("/tmp"):
        return "has a /tmp of its own, and would not see this checkout in there"
    missing = [tool for tool in ("unshare", "setpriv", "mount", "ip") if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return None if tried.returncode == 0 else "may make no namespaces"


def run(objects: Sequence[Object], directory: Path, then: str) -> subprocess.CompletedProcess[str]:
    """Start the daemon, and once it is ready run `then`, a shell script, beside it; then stop the daemon.

    In `then`, `$ROOT` is the container's root, `$HOST` the node's, `pod COMMAND` runs something as a serving
    pod would, with the same mounts but as a user of its own, and `operator COMMAND` as root. The exit code is
    that of the first that failed: an init container, the daemon, `then`.
    """
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    container = daemon(objects)
    script = "\n".join(
        [
            _PREPARE,
            *_volumes(spec, container, only(objects, "ConfigMap")["data"]),
            "mount -o remount,ro $ROOT",
            *(_line(spec, each, {}) for each in spec.get("initContainers", ())),
            f"{_line(spec, container, environment(container) | _INSTEAD)} & daemon=$!",
            _functions(),
            _WAIT,
            f"set +e; ( set -e; {then} ); failed=$?; set -e",
            "kill -TERM $daemon; wait $daemon",
            "exit $failed",
        ]
    )
    environ = {"PATH": f"{_BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "HERE": str(directory), "HOME": "/tmp"}
    return subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-euc", script],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


_PREPARE = """
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
ROOT=$HERE/root HOST=$HERE/host
mkdir -p $ROOT $HOST $HERE/over
mount -t tmpfs -o mode=0755 over $HERE/over
mkdir $HERE/over/upper $HERE/over/work
mount -t overlay -o lowerdir=/,upperdir=$HERE/over/upper,workdir=$HERE/over/work over $ROOT
mount --rbind /dev $ROOT/dev
mount -t proc proc $ROOT/proc
mkdir -p $ROOT/models/tiny
"""
_WAIT = """
ready='import urllib.request as u; u.urlopen("http://127.0.0.1:9464/readyz", timeout=1)'
for try in $(seq 300); do
  kill -0 $daemon || { wait $daemon; exit; }
  python -c "$ready" 2>/dev/null && break
  sleep 0.1
done
"""


def _volumes(spec: Mapping[str, Any], container: Object, settings: Mapping[str, str]) -> list[str]:
    lines = ['python -c \'print("weights" * 100000, end="")\' > $ROOT/models/tiny/model.safetensors']
    of = {each["name"]: each for each in spec["volumes"]}
    for mount in container["volumeMounts"]:
        name, path = mount["name"], mount["mountPath"]
        volume = of[name]
        if "hostPath" in volume:
            place = f"$HOST{volume['hostPath']['path']}"
            lines += [f"mkdir -p {place}", f"mount --bind {place} {place}", f"mount --make-shared {place}"]
        else:
            place = f"$HERE/volumes/{name}"
            lines.append(f"mkdir -p {place}")
        if "configMap" in volume:
            file, text = ("catalog.yaml", _CATALOG) if name == "catalog" else next(iter(settings.items()))
            lines.append(f"printf %s {shlex.quote(text)} > {place}/{file}")
        if "emptyDir" in volume:
            lines += [f"mount -t tmpfs empty {place}", f"chmod 0777 {place}"]
        lines += [f"mkdir -p $ROOT{path}", f"mount --bind {place} $ROOT{path}"]
        if mount.get("mountPropagation") != "Bidirectional":
            lines.append(f"mount --make-private $ROOT{path}")
        if mount.get("readOnly"):
            lines.append(f"mount -o remount,bind,ro $ROOT{path}")
    return lines


def _line(spec: Mapping[str, Any], container: Object, variables: Mapping[str, str]) -> str:
    """The command by which a container of the pod runs."""
    context = spec["securityContext"] | container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    line = ["chroot", "$ROOT", "env", "-i", f"PATH={_BIN}:/usr/bin:/bin", "HOME=/tmp"]
    line += [shlex.quote(f"{name}={value}") for name, value in variables.items()]
    if not context.get("privileged"):
        kept = [f"+{name.lower()}" for name in context["capabilities"].get("add", ())]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["allowPrivilegeEscalation"] is False
        line += ["setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}"]
        line += [f"--groups={context['fsGroup']}", "--no-new-privs", "--inh-caps=-all"]
        line += [f"--bounding-set={','.join(['-all', *kept])}"]
    line += map(shlex.quote, container.get("command", ["cached"]) + container.get("args", []))
    return " ".join(line)


def _functions() -> str:
    clear = f"chroot $ROOT env -i PATH={_BIN}:/usr/bin:/bin HOME=/tmp CACHED_ADDRESS=/run/cached"
    user = "setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --bounding-set=-all"
    return f"""
    pod() {{ {clear}/pods/cached.sock {user} "$@"; }}
    operator() {{ {clear}/operator/cached.sock "$@"; }}
    """
