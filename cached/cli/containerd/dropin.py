"""How containerd is told of the directory of hosts.toml files: a file beside its own configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from cached.cli.containerd.config import MERGES, ConfigFile, plugin_of, section_of
from cached.cli.containerd.files import Change, is_there, read
from cached.cli.containerd.installed import Installed
from cached.cli.containerd.marks import Marked, Passage
from cached.cli.containerd.toml import inserted, parse, quoted, table
from cached.core.errors import InvalidRequest

NAME: Final = "cached.toml"
RESTART: Final = "restart containerd for it to read that"
_NO_IMPORTS = re.compile(r"\s*imports\s*=\s*\[\s*\]\s*(#.*)?\n")


def advice(installed: Installed, certs_d: Path) -> str:
    """What to set, in which file and section, by hand."""
    key = f'config_path = "{certs_d}"'
    version = _version(installed)
    if not installed.files:
        return f"make {installed.main}: version = {version}, and below {section_of(version)} {key}; {RESTART}"
    plugin = plugin_of(version)
    setting = [file for file in installed.files if plugin in file.config_paths()] or [installed.files[0]]
    return f"in {setting[-1].path}, below {section_of(version)}, set {key}; {RESTART}"


def changes(installed: Installed, certs_d: Path) -> list[Change]:
    """A file of ours that sets config_path, and where need be the import of it.

    Raises InvalidRequest, with what to do by hand, where that would put other settings out of effect.
    """
    by_hand = advice(installed, certs_d)
    if not installed.files:
        raise InvalidRequest(f"there is no {installed.main}", hint=by_hand)
    main, others = installed.files[0], installed.files[1:]
    if installed.registries.mirrors or installed.registries.tls:
        raise InvalidRequest(
            "containerd's settings have registry.mirrors or configs.*.tls, with which it refuses config_path",
            hint=f"write them as hosts.toml files and take them out; then {by_hand}",
        )
    if main.version < 2:
        raise InvalidRequest(
            f"{main.path} is of version 1", hint="containerd config migrate, and configure again"
        )
    directory = _directory(main)
    file = (directory or main.path.parent / "conf.d") / NAME
    plugin = plugin_of(main.version)
    sections = [
        each.path for each in (main, *others) if table(each.data, "plugins", plugin) and each.path != file
    ]
    if not _merges(installed, main) and sections:
        raise InvalidRequest(
            f'a file of ours would put all of [plugins."{plugin}"] in {sections[-1]} out of effect:'
            " containerd 1.x does not merge such sections",
            hint=by_hand,
        )
    found = [_file(file, main.version, certs_d)]
    if directory is None:
        found.append(_imported(main, file, by_hand))
    return found


def spoilt(before: Installed, after: Installed, certs_d: Path) -> str:
    """What is wrong with the settings in effect now; empty when they are as before but for config_path."""
    if not after.accepted:
        return "containerd does not accept its files any more"
    if after.registries.config_path != str(certs_d):
        return f"config_path is {after.registries.config_path or 'unset'} all the same, by some other file"
    if _others(before) != _others(after):
        return "other settings would change"
    return ""


def undoable(installed: Installed) -> list[Path]:
    """Files that may have something of ours, in the order of taking it out: first the import."""
    usual = installed.main.parent / "conf.d" / NAME
    return list(dict.fromkeys([*(file.path for file in installed.files), usual]))


def _others(installed: Installed) -> dict[str, Any]:
    name = installed.registries.plugin
    plugins = table(installed.effective, "plugins")
    plugin = table(plugins, name)
    registry = {key: value for key, value in table(plugin, "registry").items() if key != "config_path"}
    own = {"plugins": {**plugins, name: {**plugin, "registry": registry}}, "imports": []}
    return {**installed.effective, **own}


def _version(installed: Installed) -> int:
    """Of the file that is to be written or changed."""
    if installed.release and installed.release < MERGES:
        return 2
    return max(2, installed.files[0].version if installed.files else installed.registries.version)


def _merges(installed: Installed, main: ConfigFile) -> bool:
    return installed.release >= MERGES if installed.release else main.version >= 3


def _directory(main: ConfigFile) -> Path | None:
    """One all of whose files are imported already."""
    for pattern in main.imports:
        directory, _, name = pattern.rpartition("/")
        if name in ("*.toml", f"{Path(NAME).stem}*.toml") and "*" not in directory:
            return main.path.parent / directory
    return None


def _file(file: Path, version: int, certs_d: Path) -> Change:
    before = read(file)
    old = Marked.of(before or "", str(file)).passage
    if before is not None and old is None:
        raise InvalidRequest(f"{file} is there, and not ours", hint="take it away, or set config_path there")
    missing = sum(not is_there(directory) for directory in file.parents)
    text = f"version = {version}\n\n{section_of(version)}\n  config_path = {quoted(str(certs_d))}\n"
    passage = Passage(text, whole=True, directories=old.directories if old else missing)
    return Change(file, before, str(passage), passage.directories)


def _imported(main: ConfigFile, file: Path, by_hand: str) -> Change:
    """By a pattern: a file that is gone would otherwise keep containerd from starting."""
    text = read(main.path) or ""
    imports = [str(file.with_name(f"{file.stem}*.toml"))]
    said = f"imports = {quoted(imports)}\n"
    expected = {**main.data, "imports": imports}
    if not main.imports:
        for line in text.splitlines(keepends=True):
            if _NO_IMPORTS.fullmatch(line):
                passage = Passage(said, whole=False, instead=line)
                after = text.replace(line, str(passage), 1)
                if parse(after, str(main.path)) == expected:
                    return Change(main.path, text, after)
        for after in inserted(text, str(Passage(said, whole=False)), expected):
            return Change(main.path, text, after)
    raise InvalidRequest(f"the imports of {main.path} are not simply added to", hint=by_hand)
