"""Where a task stands, and where an error came from: the line of the user's own code."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType

import attrs
import outcome
import trio

from .tasks import Task

_HIDDEN = (
    str(Path(__file__).resolve().parent.parent) + os.sep,  # the kit
    str(Path(trio.__file__).parent) + os.sep,
    str(Path(outcome.__file__).parent) + os.sep,
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


def where(task: Task) -> Place | None:
    """The innermost line of the user's code at which a task stands; None before its first step."""
    return _innermost((frame.f_code, line) for frame, line in _frames(task))


def has_begun(task: Task) -> bool:
    """Whether a task has made its first step, and not yet its last."""
    if getattr(task.coro, "cr_frame", None) is None:
        return False
    return inspect.getcoroutinestate(task.coro) != inspect.CORO_CREATED


def origin(error: BaseException) -> Place | None:
    """The innermost line of the user's code that an error passed through."""
    if isinstance(error, BaseExceptionGroup):
        return next((place for each in error.exceptions if (place := origin(each))), None)
    return _innermost(_lines(error.__traceback__))


def _frames(task: Task) -> Iterator[tuple[FrameType, int]]:
    if has_begun(task):
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
