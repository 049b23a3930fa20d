"""csi-sanity, the specification's own checks, against the driver."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.csi.node import Node

MODULE = Path(__file__).with_name("sanity")
NAME = "csi-sanity"

# There is no controller to make volumes, and the checks that need one are about persistent volumes.
_SKIPPED = r"\[Controller Server\]|should remove target path"


async def check(program: str | Path, node: Node, directory: Path) -> str:
    """Run it; returns what it said. Asserts that no check failed."""
    process = await asyncio.create_subprocess_exec(
        program,
        f"--csi.endpoint={node.kubelet.endpoint}",
        f"--csi.mountdir={directory / 'mount'}",
        f"--csi.stagingdir={directory / 'staging'}",
        f"--ginkgo.skip={_SKIPPED}",
        "--ginkgo.no-color",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


def build(program: Path) -> subprocess.CompletedProcess[str]:
    package = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
    return subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-o", program, package],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def passed(said: str) -> int:
    return int(re.findall(r"(\d+) Passed", said)[-1])


async def test_sanity(node: Node, tmp_path: Path) -> None:
    program = shutil.which(NAME)
    if program is None:
        pytest.skip(f"{NAME} is not on the PATH; make test-slow builds it where Go is")
    assert passed(await check(program, node, tmp_path)) >= 9


@pytest.mark.slow
async def test_sanity_built_by_go(node: Node, tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip(f"building {NAME} needs Go")
    program = tmp_path / NAME
    built = await asyncio.to_thread(build, program)
    if built.returncode and "dial tcp" in built.stderr:
        pytest.skip(f"{NAME} cannot be built without its modules: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
    assert passed(await check(program, node, tmp_path)) >= 9
