"""A picture on the terminal that is drawn again in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import say
from .text import clean

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Notice", "Screen", "open_screen"]


class Notice:
    """What is to be told of the connection: on stderr, or, while there is a picture, in it."""

    def __init__(self) -> None:
        self._screen: Screen | None = None

    def tell(self, text: str) -> None:
        """Tell it."""
        if self._screen is None:
            say(text)
        else:
            self._screen.note(text)

    @contextmanager
    def on(self, screen: Screen) -> Iterator[None]:
        """Tell it there for the block."""
        self._screen = screen
        try:
            yield
        finally:
            self._screen = None


class Screen:
    """Where the picture is drawn."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._text = ""
        self._note = ""

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._live.console.height

    @property
    def width(self) -> int:
        """Columns of it."""
        return self._live.console.width

    def draw(self, text: str) -> None:
        """Draw this in the place of what was there; lines below the end of the screen are cut.

        Args:
            text: as `draw_table` makes it: with escape sequences of ours, and no others.
        """
        self._text = text
        self._refresh()

    def note(self, text: str) -> None:
        """Say this in the last line from now on."""
        self._note = clean(text)
        self._refresh()

    def _refresh(self) -> None:
        from rich.text import Text

        note = [self._note] if self._note else []
        lines = [*self._text.split("\n")[: self.height - 1 - len(note)], *note]
        self._live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="crop"))
        self._live.refresh()


@contextmanager
def open_screen(notice: Notice, *, whole: bool) -> Iterator[Screen]:
    """Draw on the terminal for the block.

    Args:
        notice: what is told of the connection meanwhile.
        whole: take the alternate screen, and give back what was there; else the last picture
            stays, below what was written before.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    live = Live(
        console=console, screen=whole, auto_refresh=False, redirect_stdout=False,
        redirect_stderr=False, vertical_overflow="crop",
    )  # fmt: skip
    screen = Screen(live)
    with live, notice.on(screen):
        yield screen
