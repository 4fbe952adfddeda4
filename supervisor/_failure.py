"""What is kept of an exception once the job is over: text, never the frames.

Its `__str__`, notes and groups are the user's code, and may raise anything, SystemExit included.
Nothing of that may reach the supervisor: what cannot be shown is said to be so.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from ._model import JobErrorInfo

__all__ = ["error_info", "holds_interrupt"]

TRACEBACK_LIMIT = 64 * 1024
"""Characters kept of a traceback; its end says where it was raised, so the middle gives way."""

MESSAGE_LIMIT = 16 * 1024


def error_info(error: BaseException) -> JobErrorInfo:
    """The record of an exception: type, message, notes, traceback."""
    return JobErrorInfo(
        type=_type_name(error),
        message=_clip(_shown(lambda: str(error), "message"), MESSAGE_LIMIT),
        notes=_notes_of(error),
        traceback=_clip(_shown(lambda: _traceback_of(error), "traceback"), TRACEBACK_LIMIT),
    )


def holds_interrupt(error: BaseException) -> bool:
    """Whether it is a KeyboardInterrupt, or a group with one anywhere in it."""
    todo = [error]
    while todo:
        error = todo.pop()
        if isinstance(error, KeyboardInterrupt):
            return True
        if isinstance(error, BaseExceptionGroup):
            todo.extend(BaseExceptionGroup.exceptions.__get__(error))
    return False


def _type_name(error: BaseException) -> str:
    cls = type(error)
    name = cls.__qualname__
    return name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}"


def _shown(show: Callable[[], str], what: str) -> str:
    try:
        return show()
    except BaseException as broken:  # noqa: ASYNC103 - nothing is awaited; see above
        return f"<its {what} cannot be shown: {type(broken).__name__}>"  # noqa: ASYNC104


def _traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _notes_of(error: BaseException) -> tuple[str, ...]:
    try:
        return tuple(_clip(str(note), MESSAGE_LIMIT) for note in getattr(error, "__notes__", ()))
    except BaseException as broken:  # noqa: ASYNC103
        return (f"<its notes cannot be shown: {type(broken).__name__}>",)  # noqa: ASYNC104


def _clip(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
