"""A bar on stderr where somebody looks, a line at the end of it where not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .output import is_terminal, say

__all__ = ["Progress", "open_progress"]


class Progress:
    """How many are done. This one tells only at the end."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self.total = total
        self.done = 0

    def advance(self) -> None:
        """One more."""
        self.done += 1

    def complete(self) -> None:
        """No more will come."""
        say(f"{self._title}: {self.total} have answered")


class Bar(Progress):
    """A bar that moves."""

    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        super().__init__(title, total)
        self.rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
        )
        self._task = self.rich.add_task(title, total=total)

    def advance(self) -> None:
        super().advance()
        self.rich.update(self._task, completed=min(self.done, self.total))

    def complete(self) -> None:
        self.rich.update(self._task, completed=self.total)


@contextmanager
def open_progress(title: str, total: int) -> Iterator[Progress]:
    """Progress for the block."""
    if not is_terminal(sys.stderr):
        yield Progress(title, total)
        return
    bar = Bar(title, total)
    with bar.rich:
        yield bar
