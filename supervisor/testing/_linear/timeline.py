"""A history as plain text: a row for each operation, with a bar from its call to its answer."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .operation import UNANSWERED, Operation

__all__ = ["draw", "words"]

WIDTH = 72
"""Characters that the bars may have together; with more, steps are told in numbers."""
CLIP = 70


def words(operation: Operation) -> str:
    """What was asked and answered."""
    what = operation.what
    asked = _clipped(what if isinstance(what, str) and what.isprintable() else repr(what))
    if operation.answer is UNANSWERED:
        return f"{asked}, never answered"
    later = ", later" if operation.back is None else ""
    return f"{asked} -> {_clipped(repr(operation.answer))}{later}"


def _clipped(text: str) -> str:
    return text if len(text) <= CLIP else text[: CLIP - 3] + "..."


def draw(operations: Sequence[Operation], end: int) -> str:
    """The timeline up to step `end`, a line for each operation in the order of their calls."""
    shown = [
        attrs.evolve(each, back=None) if each.back is not None and each.back > end else each
        for each in sorted(operations, key=lambda operation: operation.call)
    ]
    steps = sorted({step for each in shown for step in (each.call, each.back) if step is not None})
    wide = max(len(str(step)) for step in steps) + 1
    if len(steps) * wide <= WIDTH:
        heading = "".join(str(step).ljust(wide) for step in steps)
        bars = [_bar(each, steps, wide) for each in shown]
    else:
        heading = ""
        bars = [_span(each) for each in shown]
    left = max(len("step"), *(len(each.process) for each in shown)) + 2
    right = max(len(heading), *map(len, bars)) + 2
    lines = [f"{'step'.ljust(left)}{heading}"]
    for each, bar in zip(shown, bars, strict=True):
        lines.append(f"{each.process.ljust(left)}{bar.ljust(right)}{words(each)}")
    return "\n".join(line.rstrip() for line in lines)


def _bar(operation: Operation, steps: Sequence[int], wide: int) -> str:
    begin = steps.index(operation.call) * wide
    if operation.back is None:
        return " " * begin + "|".ljust(len(steps) * wide, "-")[: len(steps) * wide - begin] + "..."
    end = steps.index(operation.back) * wide
    return " " * begin + "|" + ("-" * (end - begin - 1) + "|" if end > begin else "")


def _span(operation: Operation) -> str:
    return f"{operation.call} to {'...' if operation.back is None else operation.back}"
