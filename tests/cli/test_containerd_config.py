"""What containerd's own configuration says, as the real programs of three releases read it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cached.cli.containerd import dropin
from cached.cli.containerd.about_config import of_config, of_release
from cached.cli.containerd.config import Registries, Release, merged
from cached.cli.containerd.files import apply, undone
from cached.cli.containerd.installed import Installed, look
from cached.cli.finding import Finding
from cached.core.errors import InvalidRequest
from tests.servers.containerd import lacking, programs

CONFIGS = Path(__file__).parent / "containerd_configs"
CERTS_D = Path("/etc/containerd/certs.d")
OF_1 = '[plugins."io.containerd.grpc.v1.cri".registry]\n'
OF_2 = '[plugins."io.containerd.cri.v1.images".registry]\n'
PATH = 'config_path = "/etc/containerd/certs.d"\n'
PAIR = 'config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n'

Write = Callable[..., Path]


@pytest.fixture(params=["", "1.6", "1.7", "2"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Release | None:
    """The containerd in PATH: none, or one of these."""
    return use(request.param, monkeypatch)


def use(version: str, monkeypatch: pytest.MonkeyPatch) -> Release | None:
    if not version:
        monkeypatch.setenv("PATH", "/nonexistent")
        return None
    found = programs(version)
    if found is None:
        pytest.skip(lacking(version))
    monkeypatch.setenv("PATH", str(found))
    told = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    return Release.of(told)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The main file, and drop-ins beside it by their names; IMPORTS stands for the import of them all."""

    def write(main: str, **dropins: str) -> Path:
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, text in dropins.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(text)
        (tmp_path / "config.toml").write_text(
            main.replace("IMPORTS", f'imports = ["{tmp_path}/conf.d/*.toml"]')
        )
        return tmp_path / "config.toml"

    return write


def assumed(main: Path, release: Release | None) -> Installed:
    """As if a containerd of that release were here, by what the files say."""
    files = look(main).files
    return Installed(main, files, release, accepted=True, effective=merged(files, release))


def about(installed: Installed, certs_d: Path = CERTS_D) -> list[Finding]:
    return list(of_config(installed, certs_d))


@pytest.mark.parametrize("release", ["1.6", "1.7", "2.1", "2.3"])
def test_default_configurations_set_no_path(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `containerd config default` of each prints them."""
    use("", monkeypatch)
    node = look(CONFIGS / f"{release}.toml")
    assert node.registries == Registries(
        {"1.6": 2, "1.7": 2, "2.1": 3, "2.3": 4}[release], "", (), (), False, False, False
    )
    (finding,) = about(node)
    assert (finding.level, finding.message) == ("problem", "config_path is not set: no hosts.toml is read")
    section = "grpc.v1.cri" if release.startswith("1") else "cri.v1.images"
    assert (
        f'below [plugins."io.containerd.{section}".registry], set config_path = "{CERTS_D}"' in finding.hint
    )
    assert str(CONFIGS / f"{release}.toml") in finding.hint


# containerd 2.x looks at it in a file of version 2 only where there are runtimes.
DISCARD = (
    '[plugins."io.containerd.grpc.v1.cri".containerd]\ndiscard_unpacked_layers = true\n'
    '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
)
CASES = {
    "path": "version = 2\n" + OF_1 + PATH,
    "all that counts": (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nmax_concurrent_downloads = 5\n'
        + DISCARD + OF_1 + PAIR
        + '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://x"]\n'
        '[plugins."io.containerd.grpc.v1.cri".registry.configs."x".auth]\nusername = "u"\n'
    ),
    "disabled": 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n',
    "in the section of 2.x": "version = 2\n" + OF_2 + PATH,
    "nothing": "version = 2\n",
}  # fmt: skip
DROPINS = {
    "a section of its own": (
        "version = 2\nIMPORTS\n" + OF_1 + PATH,
        'version = 2\n[plugins."io.containerd.gc.v1.scheduler"]\npause_threshold = 0.1\n',
    ),
    "the same section": (
        "version = 2\nIMPORTS\n" + DISCARD,
        "version = 2\n" + OF_1 + PATH,
    ),
    "without a version": ("version = 2\nIMPORTS\n", OF_1 + PATH),
    "the other way round": (
        "version = 2\nIMPORTS\n" + OF_1 + PATH,
        "version = 2\n" + DISCARD,
    ),
}


def assert_read_alike(main: Path, release: Release | None) -> None:
    """What the program makes of the files, and what we make of them without it."""
    node = look(main)
    assert (node.accepted, node.release) == (True, release)
    own = Registries.of(merged(node.files, release))
    told = node.registries
    # The program may tell it all in a newer version; and what it takes for unset, it leaves out.
    assert (own.config_path, own.mirrors, own.discards_layers, own.local_pull, own.disabled) == (
        told.config_path, told.mirrors, told.discards_layers, told.local_pull, told.disabled,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_files_are_read_as_containerd_does(program: Release | None, write: Write, case: str) -> None:
    if case == "in the section of 2.x" and program and program.major > 1:
        return  # It looks there, too, in a file of version 2; and we do not, since 1.x does not.
    assert_read_alike(write(CASES[case]), program)


@pytest.mark.parametrize("case", DROPINS)
def test_drop_ins_are_merged_as_containerd_does(program: Release | None, write: Write, case: str) -> None:
    main, dropin = DROPINS[case]
    assert_read_alike(write(main, some=dropin), program)


def test_files_of_version_3_are_read_as_containerd_does(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    release = use("2", monkeypatch)
    main = write(
        'version = 3\nIMPORTS\n[plugins."io.containerd.cri.v1.images"]\ndiscard_unpacked_layers = true\n',
        a="version = 3\n" + OF_2 + PAIR,
        b="version = 3\n" + OF_2 + PATH,
    )
    assert_read_alike(main, release)
    assert look(main).registries.config_path == str(CERTS_D)


def test_all_is_well(program: Release | None, write: Write) -> None:
    main = write(
        "version = 3\n" + OF_2 + PATH if program and program.major > 1 else "version = 2\n" + OF_1 + PATH
    )
    (finding,) = about(look(main))
    assert (finding.level, finding.subject) == ("ok", "containerd")
    assert f"reads hosts.toml files below {CERTS_D}" in finding.message


def test_a_path_in_the_section_of_another_version_is_pointed_out(
    program: Release | None, write: Write
) -> None:
    wrong, right = ("version = 2\n" + OF_2, "grpc.v1.cri")
    if program and program.major > 1:
        wrong, right = ("version = 3\n" + OF_1, "cri.v1.images")
    (finding,) = about(look(write(wrong + PATH)))
    assert finding.level == "problem"
    assert "sets config_path for" in finding.message
    assert f"io.containerd.{right}" in finding.hint


def test_a_file_for_2_is_not_read_by_1(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    release = use("1.6", monkeypatch)
    (finding,) = about(look(write("version = 3\n" + OF_2 + PATH)))
    assert (finding.level, f"containerd {release} does not look" in finding.message) == ("problem", True)
    assert "io.containerd.grpc.v1.cri" in finding.hint


def test_a_file_without_a_version_is_of_version_1(program: Release | None, write: Write) -> None:
    (finding,) = about(look(write(OF_1 + PATH)))
    assert finding.level == "problem"
    assert "in files of version 1" in finding.message
    (well,) = about(look(write("[plugins.cri.registry]\n" + PATH)))
    assert well.level == ("problem" if program and program.major > 1 else "ok")


@pytest.mark.parametrize(
    ("release", "more", "level", "said"),
    [
        (Release(1, 7, 24), "", "warning", "containerd 2.1.0 and later take a pair"),
        (Release(2, 0, 5), "", "warning", "containerd 2.1.0 and later take a pair"),
        (Release(2, 1, 4), "", "problem", "containerd 2.1.4 takes a pair for one directory"),
        (None, "", "problem", "containerd takes a pair for one directory"),
        (Release(2, 1, 4), "use_local_image_pull = true\n", "warning", "works by chance"),
        (Release(2, 3, 0), "max_concurrent_downloads = 10\n", "warning", "works by chance"),
        (Release(2, 3, 0), "disable_snapshot_annotations = false\n", "warning", "works by chance"),
    ],
)
def test_a_pair_of_directories(
    write: Write, release: Release | None, more: str, level: str, said: str
) -> None:
    old = release is not None and release.major < 2
    text = "version = 2\n" + OF_1 if old else OF_2
    main = write(
        f'version = 3\n[plugins."io.containerd.cri.v1.images"]\n{more}{text}{PAIR}'
        if not old
        else text + PAIR
    )
    (finding,) = about(assumed(main, release))
    assert finding.level == level
    assert said in finding.message
    assert str(CERTS_D) in finding.hint


def test_containerd_takes_a_pair_by_default_from_2_2_on(write: Write) -> None:
    main = write("version = 3\n")
    (finding,) = about(assumed(main, Release(2, 2, 1)))
    assert finding.level == "problem"
    assert "certs.d, by default: containerd 2.2.1 takes a pair for one directory" in finding.message
    (finding,) = about(assumed(main, Release(2, 1, 9)))
    assert finding.message == "config_path is not set: no hosts.toml is read"


def test_discarded_layers_are_told_with_who_does_so(write: Write) -> None:
    eks = (
        'version = 3\n[plugins."io.containerd.cri.v1.images"]\ndiscard_unpacked_layers = true\n' + OF_2 + PAIR
    )
    path, discards = about(assumed(write(eks), Release(2, 1, 4)))
    assert path.level == discards.level == "warning"
    assert "EKS, kind and Talos" in discards.message
    assert (
        'below [plugins."io.containerd.cri.v1.images"], together with a config_path of one' in discards.hint
    )
    old = (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndiscard_unpacked_layers = true\n'
        + OF_1
        + PATH
    )
    _, discards = about(assumed(write(old), Release(1, 7, 2)))
    assert 'below [plugins."io.containerd.grpc.v1.cri".containerd];' in discards.hint


def test_legacy_mirrors_exclude_a_path(write: Write) -> None:
    mirrors = '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://x"]\n'
    tls = '[plugins."io.containerd.grpc.v1.cri".registry.configs."quay.io".tls]\nca_file = "/x"\n'
    (finding,) = about(assumed(write("version = 2\n" + mirrors), Release(1, 6, 20)))
    assert (finding.level, "does not start" in finding.message) == ("problem", False)
    (finding,) = about(assumed(write("version = 2\n" + OF_1 + PATH + tls), Release(1, 6, 20)))
    assert (
        "configs.*.tls of quay.io exclude config_path: with both, its CRI plugin does not start"
        in finding.message
    )
    assert "hosts.toml files below" in finding.hint


def test_a_disabled_cri_plugin_is_told(write: Write) -> None:
    disabled, _ = about(assumed(write('version = 2\ndisabled_plugins = ["cri"]\n' + OF_1 + PATH), None))
    assert (disabled.level, "CRI plugin is disabled" in disabled.message) == ("problem", True)


def test_files_that_containerd_does_not_accept(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    use("1.7", monkeypatch)
    main = write("version = 3\n" + OF_2 + PATH)
    refused, path = about(look(main))
    assert (refused.level, path.level) == ("problem", "ok")
    assert f"does not accept {main}" in refused.message


def test_another_directory_than_containerds_is_told(write: Write) -> None:
    node = assumed(write("version = 2\n" + OF_1 + PATH), None)
    (finding,) = about(node, Path("/elsewhere/certs.d"))
    assert (finding.level, finding.hint) == ("warning", "leave out --certs-d")
    (finding,) = about(node, Path("/host/etc/containerd/certs.d"))
    assert finding.level == "ok"


def test_old_releases_know_no_dial_timeout() -> None:
    def told(release: Release | None, *, loopback: bool) -> list[str]:
        node = Installed(Path(), (), release, accepted=True, effective={})
        return [finding.level for finding in of_release(node, loopback=loopback)]

    assert told(Release(2, 0, 6), loopback=False) == ["warning"]
    assert told(Release(1, 7, 29), loopback=True) == ["ok"]
    assert told(Release(2, 0, 7), loopback=False) == told(None, loopback=False) == []


@pytest.mark.parametrize(
    "text",
    [
        "plugins = 3\n",
        'imports = 5\ndisabled_plugins = "cri"\nversion = "2"\n',
        'version = 2\n[plugins]\n"io.containerd.grpc.v1.cri" = [1]\n',
        "version = 2\n" + OF_1 + "config_path = 7\nmirrors = true\nconfigs = [{}]\n",
        "version = -1\n",
        'version = 3\n[plugins]\n"io.containerd.cri.v1.images" = [1]\n',
        "version = true\n",
    ],
)
def test_odd_files_say_nothing(write: Write, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    use("", monkeypatch)
    (finding,) = about(look(write(text)))
    assert (finding.level, finding.message) == ("problem", "config_path is not set: no hosts.toml is read")


def test_files_that_cannot_be_read_are_told(write: Write, tmp_path: Path) -> None:
    for text in ("version = 2\nIMPORTS\n[", "version = 2\nIMPORTS\n"):
        with pytest.raises(InvalidRequest, match=r"\.toml is not valid TOML"):
            look(write(text, some="x = "))
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="no text file"):
        look(tmp_path / "config.toml")
    with pytest.raises(InvalidRequest, match="Is a directory"):
        look(tmp_path)


def test_imports_that_go_in_circles_end(write: Write) -> None:
    main = write(
        "version = 2\nIMPORTS\n", a='version = 2\nimports = ["../config.toml", "a.toml"]\n' + OF_1 + PATH
    )
    assert [file.path.name for file in look(main).files] == ["config.toml", "a.toml"]


SAFE = {
    "without imports": 'version = {}\n# comment\n[grpc]\naddress = "/run/x"\n',
    "with none": 'version = {}\nimports = [ ]  # none\n[grpc]\naddress = "/run/x"\n',
    "with all": "version = {}\nIMPORTS\n",
}


@pytest.mark.parametrize("case", SAFE)
def test_config_path_is_set_by_a_file_beside_it_and_can_go_again(
    program: Release | None, write: Write, tmp_path: Path, case: str
) -> None:
    version = 3 if program and program.major > 1 else 2
    main = write(SAFE[case].format(version))
    shutil.rmtree(tmp_path / "conf.d")
    before, text = look(main), main.read_text()
    apply(dropin.changes(before, CERTS_D))
    after = look(main)
    assert dropin.spoilt(before, after, CERTS_D) == ""
    assert [finding.level for finding in about(after)] == ["ok"]
    assert f"version = {version}" in (tmp_path / "conf.d/cached.toml").read_text()
    undo(after)
    assert main.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def undo(node: Installed) -> None:
    apply([change for file in dropin.undoable(node) if (change := undone(file))])


def test_a_drop_in_that_would_hide_other_settings_is_refused(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    runc = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = true\n'
    main = write("version = 2\n" + runc)
    for version in ("1.6", "1.7", ""):
        use(version, monkeypatch)
        with pytest.raises(InvalidRequest, match=r"does not merge such sections") as caught:
            dropin.changes(look(main), CERTS_D)
        assert f'in {main}, below [plugins."io.containerd.grpc.v1.cri".registry], set' in caught.value.hint
    use("2", monkeypatch)
    before = look(main)
    apply(dropin.changes(before, CERTS_D))
    assert dropin.spoilt(before, look(main), CERTS_D) == ""


def test_it_really_would_hide_them(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """So that the refusal above has a reason."""
    use("1.7", monkeypatch)
    runc = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]\nSystemdCgroup = true\n'
    before = look(write("version = 2\nIMPORTS\n" + runc))
    after = look(write("version = 2\nIMPORTS\n" + runc, cached="version = 2\n" + OF_1 + PATH))
    assert dropin.spoilt(before, after, CERTS_D) == "other settings would change"


def test_odd_sections_are_no_settings_that_could_change(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    use("", monkeypatch)
    before = look(write('version = 3\n[plugins]\n"io.containerd.cri.v1.images" = [1]\n'))
    apply(dropin.changes(before, CERTS_D))
    assert dropin.spoilt(before, look(before.main), CERTS_D) == ""


def test_a_pair_is_replaced_where_files_are_merged(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    use("2", monkeypatch)
    main = write("version = 2\n" + OF_1 + PAIR)
    apply(dropin.changes(look(main), CERTS_D))
    assert look(main).registries.config_path == str(CERTS_D)


@pytest.mark.parametrize(
    ("main", "dropins", "why"),
    [
        ("version = 3\nimports = ['/etc/other.toml']\n", {}, "not simply added to"),
        ("version = 3\nimports = [\n]\n", {}, "not simply added to"),
        ("version = 3\nimports = []", {}, "not simply added to"),
        ("[plugins.cri]\n", {}, "is of version 1"),
        ("version = 3\nIMPORTS\n", {"cached": "version = 3\n"}, "is there, and not ours"),
        (
            "version = 3\n" + OF_2 + '[plugins."io.containerd.cri.v1.images".registry.mirrors.x]\n',
            {},
            "refuses",
        ),
    ],
)
def test_where_it_is_not_simple_nothing_is_written(
    write: Write, monkeypatch: pytest.MonkeyPatch, main: str, dropins: dict[str, str], why: str
) -> None:
    use("", monkeypatch)
    with pytest.raises(InvalidRequest, match=why) as caught:
        dropin.changes(look(write(main, **dropins)), CERTS_D)
    assert caught.value.hint


def test_without_a_file_it_says_what_to_make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version, said in (("1.7", "version = 2"), ("2", "version = 3"), ("", "version = 2")):
        use(version, monkeypatch)
        with pytest.raises(InvalidRequest, match="there is no") as caught:
            dropin.changes(look(tmp_path / "config.toml"), CERTS_D)
        assert said in caught.value.hint
