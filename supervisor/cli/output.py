"""Data goes to stdout, talk to stderr; tables only where somebody looks at them.

`--json` prints one document, or JSON Lines where there is a stream, with the names of the wire.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from .exits import PipeClosed
from .text import CONTROL, clean, one_line

__all__ = [
    "is_terminal",
    "open_safely",
    "print_document",
    "print_table",
    "print_text",
    "say",
    "to_json",
]

STATE_STYLES = {
    "running": "cyan",
    "cancelling": "yellow",
    "stuck": "bold red",
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "cancelled": "magenta",
}


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether somebody looks at this stream (`TERM=dumb` cannot show tables)."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def open_safely() -> None:
    """Make the standard streams take any text: what cannot be encoded is replaced, not raised."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def say(text: str) -> None:
    """Tell the user something, on stderr. That nobody listens is no reason to fail."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(f"trio-supervisor: {clean(text)}", file=sys.stderr, flush=True)


def print_text(text: str) -> None:
    """Print a line of data.

    Raises:
        PipeClosed: nobody reads it any more.
    """
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise PipeClosed from None


def to_json(value: Any) -> str:
    """JSON on one line, with what a terminal could take for a command written as `\\uXXXX`."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_document(value: Any) -> None:
    """Print JSON on one line: by itself a document, one after the other JSON Lines."""
    print_text(to_json(value))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    cut: Sequence[str] = (),
    wrap: Sequence[str] = (),
    shorten: Mapping[str, Callable[[str], str]] | None = None,
) -> None:
    """Print a table; without a terminal, plain columns separated by tabs.

    Cells are text and nothing else: never read as markup, control characters are dropped.

    On a terminal, a column that is named nowhere below is never cut or broken: ids are copied.

    Args:
        columns: their names.
        rows: a cell for each column.
        cut: columns that give way where the table is too wide, the first of them first.
        wrap: columns that go on in the next line instead.
        shorten: what to make of a column's cells first, where the table is too wide.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        lines = ["\t".join(row) for row in (list(columns), *cells)]
        print_text("\n".join(lines))
        return
    print_text(_drawn(columns, cells, cut, wrap, shorten or {}))


def _drawn(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    cut: Sequence[str],
    wrap: Sequence[str],
    shorten: Mapping[str, Callable[[str], str]],
) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    widths = _widths(columns, rows)
    if _total(widths) > console.width and shorten:
        changes = [shorten.get(name, str) for name in columns]
        rows = [[change(cell) for change, cell in zip(changes, row, strict=True)] for row in rows]
        widths = _widths(columns, rows)
    widths = _fitted(columns, widths, console.width, (*cut, *wrap))
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0),
        header_style="bold",
    )  # fmt: skip
    for name, width in zip(columns, widths, strict=True):
        folds = name in wrap
        table.add_column(
            Text(name), width=width, no_wrap=not folds, overflow="fold" if folds else "ellipsis"
        )
    for row in rows:
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    # What cannot be made to fit is for the terminal to break: it copies as one line.
    console.width = max(console.width, _total(widths))
    with console.capture() as capture:
        console.print(table, crop=False)
    lines = capture.get().rstrip("\n").split("\n")
    return "\n".join(line.rstrip(" ") for line in lines)


GAP = 2
"""Columns of the terminal between two columns of a table; the box takes one of them."""
NARROWEST = 8
"""What a column is not cut below."""


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """What each column needs."""
    from rich.cells import cell_len

    return [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _fitted(
    columns: Sequence[str], widths: Sequence[int], room: int, elastic: Sequence[str]
) -> list[int]:
    """The widths, those of the elastic columns reduced, one after the other, as far as needed."""
    fitted = list(widths)
    for name in elastic:
        place = columns.index(name)
        least = min(fitted[place], max(NARROWEST, len(name)))
        fitted[place] = max(least, fitted[place] - max(0, _total(fitted) - room))
    return fitted
