"""Tells a run in plain text: who went on, who was preempted where, and a timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from .recording import Move

ROWS = 60
"""So many rows of a timeline are shown; of a longer one the beginning is left out."""

COLUMN = 34


def plot(moves: Sequence[Move]) -> str:
    """The schedule in a line: "run main x2 · run reader · 5 s pass"; preemptions begin with "!"."""
    return " · ".join(_said(move, count) for move, count in _merged(moves))


def preemptions(moves: Iterable[Move]) -> Iterator[str]:
    """A line for each preemption: who was put off, where, and for what."""
    for move in moves:
        if move.instead:
            instead = f"{move.who} went on" if move.who else f"{_seconds(move.seconds)} passed"
            yield f"{move.instead} was put off at {move.stood}; {instead}"


def timeline(moves: Sequence[Move], names: Sequence[str]) -> str:
    """A row for each run of steps of one task, a column for each task: the line it stood at."""
    rows = [*_merged(moves)]
    left_out = max(0, len(rows) - ROWS)
    width = max((len(_short(move.to)) for move, _ in rows), default=0)
    width = max(min(width, COLUMN), *(len(name) for name in names), 5)
    head = f"{'time':>8}  " + "  ".join(f"{name:{width}}" for name in names)
    lines = [head.rstrip()]
    if left_out:
        lines.append(f"{'':>8}  ... {left_out} rows before")
    for move, _ in rows[left_out:]:
        lines.append(_row(move, names, width))
    return "\n".join(lines)


def _row(move: Move, names: Sequence[str], width: int) -> str:
    mark = "  <-- instead of " + move.instead if move.instead else ""
    if not move.who:
        return f"{_seconds(move.at):>8}  ~ {_seconds(move.seconds)} pass{mark}"
    cells = ("" if name != move.who else _short(move.to) or "ends" for name in names)
    row = "  ".join(f"{cell:{width}}" for cell in cells)
    return f"{_seconds(move.at):>8}  {row}".rstrip() + mark


def _short(place: str) -> str:
    return place if len(place) <= COLUMN else place[: COLUMN - 1] + "…"


def _merged(moves: Sequence[Move]) -> Iterator[tuple[Move, int]]:
    """Steps of one task in a row as one, with their number; where it stood after the last."""
    number = 0

    def key(move: Move) -> tuple[str, int]:
        nonlocal number
        if move.instead or not move.who:
            number += 1
        return move.who, number

    for _, group in groupby(moves, key):
        steps = [*group]
        first, last = steps[0], steps[-1]
        yield (
            Move(first.who, first.instead, first.stood, first.seconds, first.at, last.to),
            len(steps),
        )


def _said(move: Move, count: int) -> str:
    mark = "!" if move.instead else ""
    if not move.who:
        return f"{mark}{_seconds(move.seconds)} pass"
    return f"{mark}run {move.who}" + (f" x{count}" if count > 1 else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:.6g} s"
