"""The daemon runs with what its pod has."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.daemonset.built import composed, examples, install
from tests.daemonset.node import run, why_not

_REASON = why_not()
pytestmark = pytest.mark.skipif(_REASON is not None, reason=f"a node in miniature {_REASON}")

_LENGTH = 7 * 100_000


def test_without_any_privilege(tmp_path: Path) -> None:
    """It serves a model to the pod of another user, out of directories that were root's, and drains."""
    then = """
    path=$(pod cachectl get tiny)
    echo path $path
    pod cat $path/model.safetensors | wc -c
    stat -c 'owner %u' $HOST/var/lib/cached $HOST/run/cached
    grep -E 'CapEff|NoNewPrivs|^Uid' /proc/$daemon/status
    pod sh -c "echo x > $path/model.safetensors" 2>/dev/null && exit 1
    touch $ROOT/anything 2>/dev/null && exit 1
    true
    """
    done = run(install("base"), tmp_path, then)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    assert words[1].startswith("/var/lib/cached/trees/")
    assert str(_LENGTH) in words
    assert done.stdout.count("owner 65532") == 2
    assert "NoNewPrivs:\t1" in done.stdout
    assert "CapEff:\t0000000000000000" in done.stdout
    assert "Uid:\t65532" in done.stdout
    assert '"message": "stopped"' in done.stderr


def test_what_a_privileged_daemon_left_behind_is_taken_over(tmp_path: Path) -> None:
    done = run(composed("mounts"), tmp_path, "operator cachectl warm tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    then = """
    find $HOST/var/lib/cached $HOST/run/cached ! -user 65532
    operator cachectl evict tiny
    pod cachectl get tiny
    """
    done = run(install("base"), tmp_path, then)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "evicted" in done.stdout + done.stderr
    assert str(tmp_path) not in done.stdout, "this is still root's"


def test_volumes_and_bind_mounts(tmp_path: Path) -> None:
    """A privileged one mounts so that the node sees it, and presents its driver to kubelet."""
    then = """
    mkdir -p $HOST/var/lib/kubelet
    path=$(pod cachectl get tiny)
    echo path $path
    cat $HOST$path/model.safetensors | wc -c
    echo x > $HOST$path/model.safetensors 2>/dev/null && exit 1
    test -S $HOST/var/lib/kubelet/plugins_registry/csi.cached.dev-reg.sock && echo registers
    test -S $HOST/var/lib/kubelet/plugins/csi.cached.dev/csi.sock && echo listens
    """
    done = run(install(""), tmp_path, then)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    assert words[1].startswith("/run/cached/mounts/")
    assert {str(_LENGTH), "registers", "listens"} <= set(words)


def test_the_init_container_of_the_example_links_and_holds_the_model(tmp_path: Path) -> None:
    [workload] = examples()["sglang-sidecar.yaml"]
    [sidecar] = workload["spec"]["template"]["spec"]["initContainers"]
    said = shlex.join(sidecar["command"] + sidecar["args"])
    said = said.replace("qwen/qwen3-32b", "tiny").replace("/link/", "/tmp/")
    probe = shlex.join(sidecar["startupProbe"]["exec"]["command"])
    probe = probe.replace("/link/", "/tmp/").replace("config.json", "model.safetensors")
    then = f"""
    pod {said} & sidecar=$!
    for try in $(seq 100); do pod {probe} && break; sleep 0.1; done
    pod cat /tmp/model/model.safetensors | wc -c
    operator cachectl evict tiny && exit 1
    kill -TERM $(cat /proc/$sidecar/task/$sidecar/children)
    wait $sidecar || true
    for try in $(seq 20); do operator cachectl evict tiny && exit 0; sleep 0.1; done
    exit 1
    """
    done = run(install(""), tmp_path, then)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{_LENGTH}\n")
    assert "is held by" in done.stderr
