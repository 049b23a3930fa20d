"""A credential helper: a real program that says what a file beside it says, and lists its calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PROGRAM = """#!{python}
import json, os, sys, time
here = {here!r}
with open(here + "/calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + " " + sys.stdin.read() + "\\n")
with open(here + "/script") as script:
    said = json.load(script)
if said["pause"]:
    if os.fork() == 0:
        time.sleep(said["pause"])  # what a helper started outlives it, and holds its output open
        os._exit(0)
    time.sleep(said["pause"])
sys.stdout.write(said["output"])
sys.exit(said["code"])
"""


class Helper:
    """`docker-credential-NAME` in `directory`, which has to be on the PATH."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._here = directory / f"{name}.d"
        self._here.mkdir(parents=True)
        program = directory / f"docker-credential-{name}"
        program.write_text(_PROGRAM.format(python=sys.executable, here=str(self._here)))
        program.chmod(0o755)
        self.fails("nobody said what to say")

    def says(self, user: str, secret: str) -> None:
        self.writes(json.dumps({"ServerURL": "https://some.example", "Username": user, "Secret": secret}))

    def writes(self, output: str, code: int = 0, pause: float = 0.0) -> None:
        """From now on: this, and an exit code, after some seconds."""
        script = {"output": output, "code": code, "pause": pause}
        (self._here / "script").write_text(json.dumps(script))

    def knows_nothing(self) -> None:
        self.writes("credentials not found in native keychain\n", 1)

    def fails(self, output: str) -> None:
        self.writes(output, 2)

    @property
    def calls(self) -> list[str]:
        """Arguments and input of each call so far."""
        calls = self._here / "calls"
        return calls.read_text().splitlines() if calls.exists() else []
