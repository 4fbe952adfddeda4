"""Where a task stands, and where an error came from: the line of the user's own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType

import attrs
import outcome
import trio

_HIDDEN = (
    str(Path(__file__).resolve().parent.parent),  # the kit
    str(Path(trio.__file__).parent),
    str(Path(outcome.__file__).parent),
    contextlib.__file__,
    "<frozen",
    "<attrs",
)
"""Files that are nobody's idea of "my code"."""


@attrs.frozen
class Place:
    """A line of source.

    Attributes:
        file: the path of the file.
        line: the number of the line, from 1.
        function: the name of the function around it.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line} in {self.function}"


def where(task: trio.lowlevel.Task) -> Place | None:
    """The innermost line of the user's code at which a task stands; None before its first step."""
    return _innermost((frame.f_code, line) for frame, line in _frames(task))


def origin(error: BaseException) -> Place | None:
    """The innermost line of the user's code that an error passed through."""
    if isinstance(error, BaseExceptionGroup):
        return next((place for each in error.exceptions if (place := origin(each))), None)
    return _innermost(_lines(error.__traceback__))


def _frames(task: trio.lowlevel.Task) -> Iterator[tuple[FrameType, int]]:
    frame = getattr(task.coro, "cr_frame", None)
    if frame is not None and frame.f_lasti > 0:
        yield from task.iter_await_frames()


def _lines(traceback: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code, traceback.tb_lineno
        traceback = traceback.tb_next


def _innermost(lines: Iterable[tuple[CodeType, int | None]]) -> Place | None:
    """The last line of the user's code; the first of any, if none is theirs."""
    found = first = None
    for code, line in lines:
        place = Place(code.co_filename, line or code.co_firstlineno, code.co_name)
        first = first or place
        if not code.co_filename.startswith(_HIDDEN):
            found = place
    return found or first
