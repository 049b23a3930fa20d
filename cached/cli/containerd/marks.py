"""Our passage in a file of the operator's: between two marks, so that it is known and can go again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cached.core.errors import InvalidRequest

_END = "# cached end\n"
_BEGIN = re.compile(r"# cached begin: this (file|entry)(?: and (\d+) director(?:y|ies))? came with [^\n]*\n")
_INSTEAD = "# instead of: "
_ANY = re.compile(r"^# cached (?:begin:|end$)", re.MULTILINE)


def has_marks(text: str) -> bool:
    """Whether there is anything of ours, be it damaged."""
    return bool(_ANY.search(text))


@dataclass(frozen=True, slots=True)
class Passage:
    """What stands between the marks. whole: the file came with it, and so did `directories` above it.

    instead: the line that it stands for, if any.
    """

    text: str
    whole: bool
    directories: int = 0
    instead: str = ""

    def __str__(self) -> str:
        what = "file" if self.whole else "entry"
        if self.directories:
            what += f" and {self.directories} director{'ies' if self.directories > 1 else 'y'}"
        how = "came with `cachectl containerd configure`, and goes with its --undo"
        instead = f"{_INSTEAD}{self.instead}" if self.instead else ""
        return f"# cached begin: this {what} {how}\n{instead}{self.text}{_END}"


@dataclass(frozen=True, slots=True)
class Marked:
    """A file's text, taken apart: what is the operator's before and after our passage."""

    before: str
    passage: Passage | None
    after: str

    @classmethod
    def of(cls, text: str, where: str) -> Marked:
        """Raises InvalidRequest when the marks do not make one passage."""
        text += "\n" * text.endswith(_END.rstrip())  # some editors take the last one away
        marks = [found.start() for found in _ANY.finditer(text)]
        if not marks:
            return cls(text, None, "")
        begin = _BEGIN.match(text, marks[0])
        end = text.find(_END, marks[0])
        if begin is None or len(marks) != 2 or end != marks[1]:
            raise InvalidRequest(
                f"the marks of cached in {where} are damaged",
                hint="take out all lines from `# cached begin` to `# cached end` by hand",
            )
        said, instead = text[begin.end() : end], ""
        if said.startswith(_INSTEAD):
            instead, _, said = said.removeprefix(_INSTEAD).partition("\n")
            instead += "\n"
        passage = Passage(said, begin[1] == "file", int(begin[2] or 0), instead)
        return cls(text[: marks[0]], passage, text[end + len(_END) :])

    @property
    def own(self) -> str:
        """The file without our passage."""
        return self.before + (self.passage.instead if self.passage else "") + self.after

    def came_from(self, original: str) -> bool:
        """Whether `original` with our passage is this file, so that nobody has changed it since.

        A passage at the end may have given the line before it its newline.
        """
        return self.own == original or (not self.after and self.own == f"{original}\n")
