"""Data goes to stdout, talk to stderr; tables only where somebody looks at them.

`--json` prints one document, or JSON Lines where there is a stream, with the names of the wire.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from .exits import PipeClosed
from .text import CONTROL, clean, one_line

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "STATE_STYLES",
    "Fit",
    "draw_table",
    "is_terminal",
    "open_safely",
    "print_document",
    "print_table",
    "print_text",
    "say",
    "to_json",
]

T = TypeVar("T")
Rows = Sequence[Sequence[str]]

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


class Fit(TypedDict, total=False):
    """What gives way, in this order, where a table is too wide for the terminal."""

    shorten: Mapping[str, Callable[[str], str]]
    """What to make of a column's cells first."""
    cut: Sequence[str]
    """Columns that are cut next, the first of them first, though not to nothing."""
    wrap: Sequence[str]
    """Columns that go on in the next line instead."""
    drop: Sequence[str]
    """Columns that are left out at last, the first of them first; after them, all others but the
    first, from the right."""


def print_table(columns: Sequence[str], rows: Rows, **fit: Unpack[Fit]) -> None:
    """Print a table; without a terminal, plain columns separated by tabs.

    Cells are text and nothing else: never read as markup, control characters are dropped.

    On a terminal, a column that is neither in `cut` nor in `wrap` is whole or not there, and the
    first is always there, for it is copied: where it is all that is left, it may be too wide.

    Args:
        columns: their names.
        rows: a cell for each column.
        fit: how it is made to fit.
    """
    if is_terminal(sys.stdout):
        print_text(draw_table(columns, rows, **fit))
    else:
        print_text("\n".join("\t".join(map(one_line, row)) for row in (columns, *rows)))


def draw_table(columns: Sequence[str], rows: Rows, **fit: Unpack[Fit]) -> str:
    """The table of `print_table` as it looks on the terminal at stdout."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    rows = [[one_line(cell) for cell in row] for row in rows]
    columns, rows, widths = _made_to_fit(columns, rows, console.width, fit)
    table = _table(columns, rows, widths, fit.get("wrap", ()))
    # What cannot be made to fit is for the terminal to break: it copies as one line.
    console.width = max(console.width, _total(widths))
    with console.capture() as capture:
        console.print(table, crop=False)
    lines = capture.get().rstrip("\n").split("\n")
    return "\n".join(line.rstrip(" ") for line in lines)


def _table(columns: Sequence[str], rows: Rows, widths: Sequence[int], wrap: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

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
    return table


def _made_to_fit(
    columns: Sequence[str], rows: Rows, room: int, fit: Fit
) -> tuple[Sequence[str], Rows, Sequence[int]]:
    """Columns, rows and widths, with as little taken away as will do."""
    shorten, elastic = fit.get("shorten"), (*fit.get("cut", ()), *fit.get("wrap", ()))
    widths: Sequence[int] = _widths(columns, rows)
    if _total(widths) > room and shorten:
        changes = [shorten.get(name, str) for name in columns]
        rows = [[change(cell) for change, cell in zip(changes, row, strict=True)] for row in rows]
        widths = _widths(columns, rows)
    fitted = _fitted(columns, widths, room, elastic)
    for name in _order_of_leaving(columns, fit.get("drop", ())):
        if _total(fitted) <= room:
            break
        place = columns.index(name)
        columns, widths = _without(columns, place), _without(widths, place)
        rows = [_without(row, place) for row in rows]
        fitted = _fitted(columns, widths, room, [it for it in elastic if it in columns])
    return columns, rows, fitted


def _order_of_leaving(columns: Sequence[str], drop: Sequence[str]) -> list[str]:
    return [*drop, *(name for name in reversed(columns[1:]) if name not in drop)]


def _without(values: Sequence[T], place: int) -> Sequence[T]:
    return [*values[:place], *values[place + 1 :]]


GAP = 2
"""Columns of the terminal between two columns of a table; the box takes one of them."""
NARROWEST = 8
"""What a column is not cut below."""


def _widths(columns: Sequence[str], rows: Rows) -> list[int]:
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
