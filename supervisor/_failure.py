"""What is kept of an exception once the job is over: text, never the frames."""

from __future__ import annotations

import traceback

from ._model import JobErrorInfo

__all__ = ["error_info"]

TRACEBACK_LIMIT = 64 * 1024
"""Characters kept of a traceback; its end says where it was raised, so the middle gives way."""

MESSAGE_LIMIT = 16 * 1024


def error_info(error: BaseException) -> JobErrorInfo:
    """The record of an exception: type, message, notes, traceback."""
    return JobErrorInfo(
        type=_type_name(error),
        message=_clip(_text_of(error), MESSAGE_LIMIT),
        notes=tuple(str(note) for note in getattr(error, "__notes__", ())),
        traceback=_clip(_traceback_of(error), TRACEBACK_LIMIT),
    )


def _type_name(error: BaseException) -> str:
    cls = type(error)
    name = cls.__qualname__
    return name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a __str__ of the user's that fails must not fail the record
        return f"<its message cannot be shown: {type(broken).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:
        return f"<its traceback cannot be shown: {type(broken).__name__}>"


def _clip(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
