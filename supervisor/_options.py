"""Checks of what callers pass: each says what was wrong, where, and what would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from ._errors import InvalidArguments
from ._policy import JOB_ID

__all__ = [
    "check_choice",
    "check_count",
    "check_flag",
    "check_job_id",
    "check_labels",
    "check_number",
    "check_seconds",
    "check_text",
]

E = TypeVar("E", bound=StrEnum)

TEXT_LIMIT = 4096
LABELS_LIMIT = 64


def check_seconds(name: str, value: Any) -> float:
    """A duration: a finite number of seconds, not negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArguments(
            f"{name} must be a number of seconds, not {type(value).__name__}", path=f"$.{name}"
        )
    if not (_is_finite(value) and value >= 0):
        raise InvalidArguments(
            f"{name} must be a finite number of seconds, 0 or more, not {_clip(value)}",
            path=f"$.{name}",
        )
    return float(value)


def check_number(name: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise InvalidArguments(
            f"{name} must be a finite number, not {_clip(value)}", path=f"$.{name}"
        )
    return value


def check_count(name: str, value: Any, least: int = 1, most: int = 2**63) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArguments(
            f"{name} must be a whole number from {least} to {most}, not {value!r}",
            path=f"$.{name}",
        )
    return value


def check_flag(name: str, value: Any) -> bool:
    """True or False; nothing that is merely like it."""
    if not isinstance(value, bool):
        raise InvalidArguments(f"{name} must be True or False, not {value!r}", path=f"$.{name}")
    return value


def check_job_id(value: Any) -> str:
    """An id as the protocol allows it."""
    if not isinstance(value, str) or not JOB_ID.fullmatch(value):
        raise InvalidArguments(
            f"{_clip(value)} cannot be a job id: 1 to 128 letters, digits and . _ : - "
            "that begin with a letter or digit",
            path="$.job_id",
        )
    return value


def check_choice(name: str, choices: type[E], value: Any) -> E:
    """One of a closed set of words."""
    try:
        return choices(value)
    except ValueError:
        listed = ", ".join(repr(choice.value) for choice in choices)
        raise InvalidArguments(
            f"{name} must be one of {listed}, not {_clip(value)}", path=f"$.{name}"
        ) from None


def check_labels(value: Any) -> Mapping[str, str]:
    """Names and values, all text."""
    if not isinstance(value, Mapping):
        raise InvalidArguments(
            f"labels must map names to values, not be {type(value).__name__}", path="$.labels"
        )
    if len(value) > LABELS_LIMIT:
        raise InvalidArguments(f"at most {LABELS_LIMIT} labels, not {len(value)}", path="$.labels")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str) or not key:
            raise InvalidArguments(
                f"label {_clip(key)}: names and values are text", path="$.labels"
            )
    return dict(value)


def check_text(name: str, value: Any) -> str:
    """Text of a reasonable length."""
    if not isinstance(value, str):
        raise InvalidArguments(f"{name} must be text, not {type(value).__name__}", path=f"$.{name}")
    if not value or len(value) > TEXT_LIMIT:
        raise InvalidArguments(
            f"{name} must have 1 to {TEXT_LIMIT} characters, not {len(value)}", path=f"$.{name}"
        )
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _clip(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # an int of thousands of digits, or a __repr__ that fails
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else f"{text[:77]}..."
