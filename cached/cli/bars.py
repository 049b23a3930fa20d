"""Progress bars. Imported only once there is one to draw: rich takes its time."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from cached.cli.figures import origins, percent, speed
from cached.cli.text import plain
from cached.core.progress import Progress as Fetched
from cached.kit.units import show_bytes


class Bars:
    """One bar for each fetch, on standard error. NO_COLOR is respected."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        # Where room is short the name gives way, then the note; the amount stays readable.
        name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width // 4))
        amount = Column(no_wrap=True, justify="right", min_width=len("100% 1023 MiB/1023 MiB"))
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=None, table_column=Column(min_width=8, ratio=1)),
            TextColumn("{task.fields[amount]}", markup=False, table_column=amount),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            expand=True,
        )
        self._progress.start()
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def update(self, ref: str, progress: Fetched) -> None:
        self._totals[ref] = progress.total
        self._progress.update(
            self._task(ref),
            total=max(progress.total, 1),
            completed=progress.done,
            amount=f"{percent(progress)}% {show_bytes(progress.done)}/{show_bytes(progress.total)}",
            note=" ".join(word for word in (speed(progress), origins(progress)) if word),
        )

    def tell(self, ref: str, note: str) -> None:
        self._progress.update(self._task(ref), note=note)

    def finish(self, ref: str, note: str, *, well: bool) -> None:
        if ref in self._tasks:
            task = self._tasks.pop(ref)
            total = self._totals.pop(ref, None)
            if well:
                amount = "" if total is None else f"100% {show_bytes(total)}/{show_bytes(total)}"
                self._progress.update(
                    task, total=max(total or 0, 1), completed=max(total or 0, 1), amount=amount
                )
            self._progress.update(task, note=note)

    def _task(self, ref: str) -> TaskID:
        if ref not in self._tasks:
            self._tasks[ref] = self._progress.add_task(plain(ref), amount="", note="", total=None)
        return self._tasks[ref]

    def close(self) -> None:
        """Draw the last state and give the cursor back."""
        self._progress.stop()
