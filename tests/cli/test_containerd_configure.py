"""Files of a node: written whole, and put back as they were, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.conftest import CACHECTL
from tests.cli.containerd_node import HOSTS_TOML, MIRROR, NodeFiles
from tests.cli.test_containerd_config import OF_1, OF_2, PATH
from tests.cli.test_containerd_hosts import ENTRY, OPERATORS

# What is told of containerd's own configuration is tested elsewhere.
pytestmark = pytest.mark.usefixtures("no_containerd")


@pytest.fixture
def no_containerd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CACHED_CONFIG", raising=False)


@pytest.fixture
def node(tmp_path: Path) -> NodeFiles:
    hosts = {"quay.io": HOSTS_TOML, "other.example": 'server = "https://o"\n'}
    return NodeFiles.make(tmp_path / "etc", "docker.io", "quay.io", "registry.example:5000", hosts=hosts)


def parsed(file: Path) -> dict[str, object]:
    return tomllib.loads(file.read_text())


def test_each_upstream_gets_the_mirror_first_and_its_registry_last(node: NodeFiles) -> None:
    result = node.configure()
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        [str(node.hosts("docker.io")), "created"],
        [str(node.hosts("quay.io")), "changed"],
        [str(node.hosts("registry.example:5000")), "created"],
    ]
    assert parsed(node.hosts("docker.io")) == {
        "server": "https://registry-1.docker.io",
        "host": {MIRROR: ENTRY},
    }
    before = tomllib.loads(HOSTS_TOML)
    assert parsed(node.hosts("quay.io")) == {**before, "host": {MIRROR: ENTRY, **before["host"]}}
    assert parsed(node.hosts("registry.example:5000"))["server"] == "https://registry.example:5000"
    kept = node.hosts("quay.io").with_name("hosts.toml.before-cached")
    assert kept.read_text() == HOSTS_TOML
    assert node.hosts("other.example").read_text() == 'server = "https://o"\n'


def test_it_says_what_containerd_lacks(node: NodeFiles) -> None:
    result = node.configure()
    assert result.stderr.startswith("warning: config_path is not set: no hosts.toml is read\nhint: in ")
    assert f'set config_path = "{node.certs_d}"; restart containerd' in result.stderr
    node.config.write_text("version = 2\n" + OF_1 + f'config_path = "{node.certs_d}"\n')
    assert node.configure().stderr == ""


def test_a_second_run_changes_nothing(node: NodeFiles) -> None:
    node.configure()
    before = node.all()
    assert node.configure().stdout == "nothing to change\n"
    assert node.all() == before


def test_undo_leaves_no_trace_not_even_in_times(node: NodeFiles) -> None:
    node.hosts("quay.io").chmod(0o640)
    os.utime(node.hosts("quay.io"), (1_700_000_000, 1_700_000_000.5))
    before = node.all()
    node.configure()
    assert node.hosts("quay.io").stat().st_mode & 0o777 == 0o640
    result = node.configure("--undo")
    assert {line.split()[1] for line in result.stdout.splitlines()[1:]} == {"removed", "restored"}
    assert node.all() == before
    assert node.configure("--undo").stdout == "nothing to change\n"


def test_undo_needs_no_settings(node: NodeFiles) -> None:
    node.configure()
    node.settings.unlink()
    node.configure("--undo")
    assert sorted(path.name for path in node.certs_d.iterdir()) == ["other.example", "quay.io"]


def test_files_of_others_do_not_keep_undo_from_its_work(node: NodeFiles) -> None:
    node.hosts("other.example").write_bytes(b"\xff")
    before = node.all()
    node.configure()
    node.configure("--undo")
    assert node.all() == before


def test_directories_that_were_made_go_again(tmp_path: Path) -> None:
    node = NodeFiles.make(tmp_path / "etc", "docker.io", "quay.io")
    shutil.rmtree(node.certs_d.parent)
    node.configure()
    assert node.certs_d.stat().st_mode & 0o777 == node.hosts("quay.io").parent.stat().st_mode & 0o777 == 0o755
    assert node.hosts("quay.io").stat().st_mode & 0o777 == 0o644
    node.configure("--undo")
    assert [path.name for path in node.root.iterdir()] == ["cached.yaml"]


def test_what_others_put_into_a_directory_of_ours_stays(node: NodeFiles) -> None:
    node.configure()
    (node.hosts("docker.io").parent / "ca.crt").write_text("theirs")
    node.configure("--undo")
    assert [path.name for path in node.hosts("docker.io").parent.iterdir()] == ["ca.crt"]


def test_what_was_changed_since_stays(node: NodeFiles) -> None:
    node.configure()
    file = node.hosts("quay.io")
    file.write_text(file.read_text().replace("https://corp.example", "https://new.example"))
    with node.hosts("docker.io").open("a") as added:
        added.write('[host."https://b"]\n')
    node.configure("--undo")
    assert file.read_text() == HOSTS_TOML.replace("https://corp.example", "https://new.example")
    assert node.hosts("docker.io").read_text() == '[host."https://b"]\n'
    assert not list(node.root.rglob("*before-cached"))


def test_a_registry_that_is_no_upstream_any_more_is_left_to_itself(node: NodeFiles) -> None:
    node.configure()
    node.settings.write_text(
        yaml.safe_dump({"images": {"mirror": "127.0.0.1:1", "upstreams": {"docker.io": {}}}})
    )
    result = node.configure()
    assert {line.split()[1] for line in result.stdout.splitlines()[1:]} == {"changed", "restored", "removed"}
    assert node.hosts("quay.io").read_text() == HOSTS_TOML
    assert not node.hosts("registry.example:5000").parent.exists()
    assert "http://127.0.0.1:1" in node.hosts("docker.io").read_text()


def test_the_directory_that_containerd_finds_first_is_used(tmp_path: Path) -> None:
    names = {
        "a.example_5000_": None,
        "a.example:5000": 'server = "https://shadowed"\n',
        "b.example:5000": None,
    }
    node = NodeFiles.make(tmp_path / "etc", "a.example:5000", "b.example:5000", "c.example:5000", hosts=names)
    node.configure()
    assert MIRROR in node.hosts("a.example_5000_").read_text()
    assert node.hosts("a.example:5000").read_text() == 'server = "https://shadowed"\n'
    assert MIRROR in node.hosts("b.example:5000").read_text()
    assert MIRROR in node.hosts("c.example:5000").read_text()


def test_settings_of_upstreams_reach_the_fall_back(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("PEM")
    upstreams = {
        "docker.io": {"endpoint": "https://hub.example/docker"},
        "a.example": {"ca_file": str(ca)},
        "localhost:5000": {},
        "127.0.0.1:5000": {"endpoint": "http://127.0.0.1:5000"},
    }
    node = NodeFiles.make(tmp_path / "etc", settings={"upstreams": upstreams})
    node.configure()
    assert parsed(node.hosts("docker.io"))["server"] == "https://hub.example/docker"
    assert parsed(node.hosts("a.example"))["ca"] == [str(ca)]
    assert "server" not in parsed(node.hosts("localhost:5000"))
    assert parsed(node.hosts("127.0.0.1:5000"))["server"] == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost:80", "http://localhost:80"),
        ("[::1]:7402", "http://[::1]:7402"),
        ("0.0.0.0:7402", MIRROR),
        ("[::]:7402", "http://[::1]:7402"),
        ("10.0.0.5:7402", "http://10.0.0.5:7402"),
    ],
)
def test_the_mirrors_address_as_this_node_reaches_it(tmp_path: Path, address: str, url: str) -> None:
    node = NodeFiles.make(
        tmp_path / "etc", "docker.io", settings={"mirror": address, "mirror_for_others": True}
    )
    node.configure()
    assert list(parsed(node.hosts("docker.io"))["host"]) == [url]  # type: ignore[call-overload]


def test_a_dry_run_shows_a_diff_and_writes_nothing(node: NodeFiles) -> None:
    before = node.all()
    told = node.configure("--dry-run", "--write-config").stdout
    assert node.all() == before
    assert f"--- /dev/null\n+++ {node.hosts('docker.io')}\n@@ -0,0 +1,7 @@\n" in told
    assert f"+++ {node.certs_d.parent}/conf.d/cached.toml\n" in told
    assert "c2VjcmV0" not in told
    applied = node.root.parent / "applied"
    shutil.copytree(node.root, applied)
    patch = shutil.which("patch", path=os.defpath)
    if patch:
        subprocess.run([patch, "-d/", "-p0"], input=told, text=True, check=True)
        node_patched = {name: content for name, (_, content, _) in node.all().items() if content is not None}
        shutil.rmtree(node.root)
        shutil.copytree(applied, node.root)
        node.configure("--write-config")
        written = {name: content for name, (_, content, _) in node.all().items() if content is not None}
        assert {name: text for name, text in written.items() if "before-cached" not in name} == node_patched
    assert json.loads(node.configure("--undo", "--dry-run", "-o", "json").stdout)["dry_run"]


def test_as_json_and_yaml(node: NodeFiles) -> None:
    answer = json.loads(node.configure("-o", "json", "--dry-run").stdout)
    assert yaml.safe_load(node.configure("-o", "yaml", "--dry-run").stdout) == answer
    assert (answer["certs_d"], answer["dry_run"]) == (str(node.certs_d), True)
    assert [change["action"] for change in answer["changes"]] == ["created", "changed", "created"]
    assert answer["changes"][0]["diff"].startswith("--- /dev/null\n")


def test_config_path_is_set_too_on_demand(node: NodeFiles) -> None:
    before = node.all()
    result = node.configure("--write-config")
    assert result.stderr == "warning: restart containerd for it to read that\n"
    assert parsed(node.certs_d.parent / "conf.d/cached.toml")["version"] == 2
    assert node.configure("--write-config").stdout == "nothing to change\n"
    assert node.configure("--undo").stderr == "warning: restart containerd for it to read that\n"
    assert node.all() == before


def test_settings_that_another_file_overrides_are_not_left_behind(tmp_path: Path) -> None:
    node = NodeFiles.make(tmp_path / "etc", "docker.io", config="")
    node.config.write_text(f'version = 3\nimports = ["{node.certs_d.parent}/conf.d/*.toml"]\n')
    (node.certs_d.parent / "conf.d").mkdir()
    (node.certs_d.parent / "conf.d/zzz.toml").write_text("version = 3\n" + OF_2 + PATH)
    result = node.run("configure", "--write-config")
    assert result.exit_code == 2
    assert "config_path is /etc/containerd/certs.d all the same, by some other file" in result.stderr
    assert f"in {node.certs_d.parent}/conf.d/zzz.toml, below" in result.stderr
    assert [path.name for path in (node.certs_d.parent / "conf.d").iterdir()] == ["zzz.toml"]


def refused(node: NodeFiles, *more: str) -> str:
    """It is told why, and nothing has changed."""
    before = node.all()
    result = node.run("configure", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert node.all() == before
    return result.stderr


def test_one_refusal_and_nothing_is_written(node: NodeFiles) -> None:
    node.hosts("quay.io").write_text('host = {"https://b" = {}}\n')
    assert "no entry can be put first" in refused(node)
    node.hosts("quay.io").write_text("[")
    assert f"{node.hosts('quay.io')} is not valid TOML" in refused(node)
    node.hosts("quay.io").write_bytes(b"\xff")
    assert "is no text file" in refused(node)
    node.hosts("quay.io").write_bytes(b"#" * (5 << 20))
    assert "is no text file of at most" in refused(node)


def test_default_is_not_shadowed_unasked(node: NodeFiles) -> None:
    (node.certs_d / "_default").mkdir()
    (node.certs_d / "_default/hosts.toml").write_text('[host."https://corp"]\n')
    assert "cp -a" in refused(node)
    for name in ("docker.io", "registry.example:5000"):
        shutil.copytree(node.certs_d / "_default", node.certs_d / name)
    node.configure()
    assert list(parsed(node.hosts("docker.io"))["host"]) == [MIRROR, "https://corp"]  # type: ignore[call-overload]


def test_a_ca_that_is_not_there_would_stop_every_pull(tmp_path: Path) -> None:
    node = NodeFiles.make(
        tmp_path / "etc", settings={"upstreams": {"a.example": {"ca_file": "/nonexistent/ca.pem"}}}
    )
    assert "containerd would refuse each pull from a.example" in refused(node)


def test_links_are_somebody_elses(node: NodeFiles) -> None:
    real = node.root / "hosts.toml"
    node.hosts("quay.io").rename(real)
    node.hosts("quay.io").symlink_to(real)
    result = node.run("configure")
    assert (result.exit_code, f"have that change {real}" in result.stderr) == (2, True)
    assert real.read_text() == HOSTS_TOML


def test_where_a_directory_should_be_a_file_is_told(node: NodeFiles) -> None:
    (node.certs_d / "docker.io").write_text("?")
    assert "cannot use" in refused(node)


@pytest.mark.parametrize(
    ("settings", "lacks"), [({"mirror": None}, "images.mirror"), ({"upstreams": {}}, "images.upstreams")]
)
def test_without_a_mirror_there_is_nothing_to_configure(
    tmp_path: Path, settings: dict[str, object], lacks: str
) -> None:
    node = NodeFiles.make(tmp_path / "etc", "docker.io", settings=settings)
    result = node.run("configure")
    assert result.exit_code == 13
    assert f"{node.settings} sets no {lacks}" in result.stderr


def test_wrong_settings_are_named_by_key(node: NodeFiles) -> None:
    node.settings.write_text("images: {miror: 1}")
    assert "unknown key images.miror" in refused(node)
    node.settings.unlink()
    assert "cached.yaml" in refused(node)


def test_undo_is_given_alone(node: NodeFiles) -> None:
    assert "give it alone" in refused(node, "--undo", "--write-config")


def test_without_the_daemons_part_it_says_what_to_install(node: NodeFiles, tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ModuleNotFoundError('none', name='pydantic')")
    ended = subprocess.run(
        [CACHECTL, *node.arguments("configure")],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, "pydantic is missing" in ended.stderr) == (13, True)


def test_a_read_only_directory_is_told_and_nothing_is_half_done(node: NodeFiles) -> None:
    if os.geteuid():
        pytest.skip("mounting needs root")
    before = node.all()
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(node.certs_d), CACHECTL, *node.arguments("configure")],
        env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert node.all() == before


REGISTRIES = ("docker.io", "quay.io", "a.example:5000")
_TEXT = st.sampled_from([*OPERATORS.values(), "", "\n", f'[host."{MIRROR}"]\n'])
_DIRECTORY = st.fixed_dictionaries(
    {},
    optional={
        "hosts.toml": _TEXT,
        "ca.crt": st.just("PEM"),
        "me.cert": st.just("PEM"),
        "me.key": st.just("PEM"),
        "README": st.just("?"),
    },
)
_LAYOUT = st.dictionaries(st.sampled_from([*REGISTRIES, "a.example_5000_", "z.example"]), _DIRECTORY)
_CONFIG = st.sampled_from(
    [
        "version = 2\n",
        "version = 3\nimports = []\n\n# all\n[grpc]\n",
        '# none\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "x"\n',
        'version = 3\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "x"',
    ]
)


@settings(max_examples=60, deadline=None)
@given(_LAYOUT, st.sampled_from([0o644, 0o600, 0o666]), _CONFIG, st.booleans())
def test_configure_and_undo_are_the_identity(
    layout: dict[str, dict[str, str]], mode: int, config: str, write_config: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        node = NodeFiles.make(
            Path(directory) / "etc", *REGISTRIES, hosts=dict.fromkeys(layout), config=config
        )
        for name, entries in layout.items():
            for entry, text in entries.items():
                (node.certs_d / name / entry).write_text(text, newline="")
                (node.certs_d / name / entry).chmod(mode)
        before = node.all()
        result = node.run("configure", *["--write-config"] * write_config)
        if result.exit_code:
            assert result.exit_code == 2
            assert node.all() == before
            return
        once = node.all()
        node.configure(*["--write-config"] * write_config)
        assert node.all() == once
        node.configure("--undo")
        assert node.all() == before


def killed(node: NodeFiles, out: Path, *more: str) -> list[Path]:
    """Copies of the node's files after each possible kill, and at last after a whole run."""
    subprocess.run(
        [sys.executable, "-m", "tests.cli.killed", node.root, out, *node.arguments("configure"), *more],
        cwd=Path(__file__).parents[2],
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=110,
    )
    return [out / str(number) for number in range(1, 1 + len(list(out.iterdir())))]


def put_back(node: NodeFiles, copy: Path) -> None:
    shutil.rmtree(node.root)
    shutil.copytree(copy, node.root)


def contents(node: NodeFiles) -> dict[str, tuple[int, bytes | None]]:
    """Modes and bytes."""
    return {name: (mode, content) for name, (mode, content, _) in node.all().items()}


def read_by_containerd(node: NodeFiles) -> dict[str, tuple[int, bytes | None]]:
    return {
        name: what
        for name, what in contents(node).items()
        if name.endswith((".toml", "quay.io", "docker.io", "registry.example:5000")) and "/." not in name
    }


@pytest.mark.parametrize("undo", [False, True])
def test_a_kill_at_any_moment_leaves_each_file_as_before_or_after(
    node: NodeFiles, tmp_path: Path, undo: bool
) -> None:
    node.hosts("quay.io").chmod(0o640)
    original = contents(node)
    node.configure("--write-config")
    configured = contents(node)
    if not undo:
        node.configure("--undo")
    before = read_by_containerd(node)
    *cut, ended = killed(node, tmp_path / "killed", "--undo" if undo else "--write-config")
    put_back(node, ended)
    after = read_by_containerd(node)
    assert contents(node) == (original if undo else configured)
    assert len(cut) > 10
    for copy in cut:
        put_back(node, copy)
        found = read_by_containerd(node)
        for name in before.keys() | after.keys() | found.keys():
            # A directory counts even without a hosts.toml, and so has to come and go with it.
            assert found.get(name) in (before.get(name), after.get(name)), (copy.name, name)
        for directory in (path for path in node.certs_d.iterdir() if path.name[0] != "."):
            assert (directory / "hosts.toml").exists(), copy.name
        node.configure("--undo")
        assert contents(node) == original, copy.name
        put_back(node, copy)
        node.configure("--write-config")
        assert contents(node) == configured, copy.name
