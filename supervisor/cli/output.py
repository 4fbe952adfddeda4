"""Data goes to stdout, talk to stderr; tables only where somebody looks at them.

`--json` prints one document, or JSON Lines where there is a stream, with the names of the wire.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
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


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; without a terminal, plain columns separated by tabs.

    Cells are text and nothing else: never read as markup, control characters are dropped.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        lines = ["\t".join(row) for row in (list(columns), *cells)]
        print_text("\n".join(lines))
        return
    print_text(_drawn(columns, cells))


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
