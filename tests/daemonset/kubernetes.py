"""Builds Kubernetes' API server from its Go modules, which no registry has as a binary: minutes, once.

python -m tests.daemonset.kubernetes DIRECTORY
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

VERSION: Final = "1.34.4"
_MODULE: Final = "k8s.io/kubernetes"
_PROGRAM: Final = f"{_MODULE}/cmd/kube-apiserver"


def go_mod(theirs: str) -> str:
    """A module that builds programs of Kubernetes, out of its own go.mod.

    There, the parts that live in its repository stand at version 0.0.0, beside them; here, at the versions
    under which they are published.
    """
    lines = theirs.splitlines()
    language = next(line for line in lines if line.startswith("go "))
    needed = [line for line in lines if re.match(r"\t\S+ v\S+", line) and "=>" not in line]
    staged = [match[1] for line in needed if (match := re.match(r"\t(\S+) v0\.0\.0$", line))]
    published = f"v0.{VERSION.removeprefix('1.')}"
    return "\n".join(
        [
            "module cluster",
            language,
            f"require {_MODULE} v{VERSION}",
            "require (",
            *needed,
            ")",
            "replace (",
            *(f"\t{name} => {name} {published}" for name in staged),
            ")",
            "",
        ]
    )


def build(directory: Path) -> Path:
    """The API server in `directory`, built unless it is there. Raises CalledProcessError."""
    program = directory / f"kube-apiserver-{VERSION}"
    if program.exists():
        return program
    directory.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(
        ["go", "mod", "download", "-json", f"{_MODULE}@v{VERSION}"],
        cwd=directory,
        capture_output=True,
        check=True,
    )
    theirs = Path(json.loads(got.stdout)["Dir"])
    (directory / "go.mod").write_text(go_mod((theirs / "go.mod").read_text()))
    shutil.copyfile(theirs / "go.sum", directory / "go.sum")
    names = ("Version", f"v{VERSION}"), ("Major", "1"), ("Minor", VERSION.split(".")[1])
    stamps = " ".join(f"-X k8s.io/component-base/version.git{name}={value}" for name, value in names)
    unfinished = program.with_suffix(".part")
    subprocess.run(
        ["go", "build", "-mod=mod", "-ldflags", f"-s -w {stamps}", "-o", unfinished, _PROGRAM],
        cwd=directory,
        check=True,
    )
    unfinished.rename(program)
    return program


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()))
