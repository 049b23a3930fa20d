"""The image: what its file says, as far as that shows without building it."""

from __future__ import annotations

import re
import tomllib

from tests.daemonset.built import HERE, daemon, install, only

_TEXT = (HERE / "Containerfile").read_text()
_PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]


def _instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", "\n".join(x for x in _TEXT.splitlines() if not x.startswith("#")))
    lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, re.sub(r"\s+", " ", rest)) for name, rest in lines]


def _all(name: str) -> list[str]:
    return [rest for each, rest in _instructions() if each == name]


def test_two_stages_of_one_base_that_an_argument_pins() -> None:
    assert _instructions()[0][0] == "ARG"
    assert _instructions()[0][1].startswith("BASE=")
    assert _all("FROM") == ["${BASE} AS build", "${BASE}"]


def test_it_runs_as_the_user_that_the_manifests_say() -> None:
    context = only(install("base"), "DaemonSet")["spec"]["template"]["spec"]["securityContext"]
    assert _all("USER") == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert [name for name, _ in _instructions()].index("USER") > [n for n, _ in _instructions()].index("COPY")


def test_what_it_starts_is_what_the_project_installs() -> None:
    assert _all("ENTRYPOINT") == ['["cached"]']
    assert _all("HEALTHCHECK") == ["NONE"]
    assert {"cached", "cachectl"} <= _PROJECT["scripts"].keys()
    assert "command" not in daemon(install("base"))
    [env] = _all("ENV")
    assert "PATH=/opt/cached/bin:" in env


def test_it_installs_every_part_that_the_manifests_use() -> None:
    [run] = _all("RUN")
    [extras] = re.findall(r"'\.\[([a-z,]+)\]'", run)
    assert set(extras.split(",")) == _PROJECT["optional-dependencies"].keys() - {"dev", "daemon"}


def test_it_copies_what_there_is() -> None:
    [*sources] = [rest for rest in _all("COPY") if not rest.startswith("--from")]
    for rest in sources:
        for name in rest.split()[:-1]:
            assert (HERE.parent / name).exists(), name


def test_labels_are_of_this_version() -> None:
    [labels] = _all("LABEL")
    for key in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{key}=" in labels
    assert f'licenses="{_PROJECT["license"]}"' in labels
    [container] = [daemon(install("base"))]
    assert f"VERSION={container['image'].rpartition(':')[2]}" in _all("ARG")


def test_where_packages_come_from_is_left_to_whoever_builds_it() -> None:
    """A mirror of theirs, told by pip's own configuration: no option and no address here overrides it."""
    for run in _all("RUN"):
        assert "://" not in run
        assert not re.search(r"--(extra-)?index-url|--find-links|\s-[if]\s", run)
