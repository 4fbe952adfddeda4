"""Every call of a suite is noted, so that a broken rule can be told with the way to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn, TypeVar

import msgspec

from ..._model import Tombstone
from ..._records import JobSpec

__all__ = ["Breach", "CannotCheck", "Notes", "noted", "shown"]

E = TypeVar("E", bound=BaseException)

CLIP = 100
TOLD = 8
"""Calls before the one that broke the rule."""
ASYNC = frozenset({"run", "saved"})
"""The methods of the interfaces that are async; all others answer at once."""


class Breach(Exception):
    """A rule is broken."""

    def __init__(self, call: str, expected: str, got: str, before: tuple[str, ...]) -> None:
        super().__init__(call, expected, got)
        self.call = call
        self.expected = expected
        self.got = got
        self.before = before


class CannotCheck(Exception):
    """A rule cannot be checked; the message says why."""


def shown(value: object) -> str:
    """A value in few words."""
    if isinstance(value, JobSpec):
        text = f"job {value.id!r}"
    elif isinstance(value, msgspec.Struct) and hasattr(value, "version"):
        text = f"{type(value).__name__}(attempt={value.attempt}, version={value.version})"  # type: ignore[attr-defined]
    elif isinstance(value, Tombstone):
        until = value.expires_at.isoformat()
        text = f"Tombstone({value.job_id!r}, reason={value.reason!r}, expires_at={until})"
    elif isinstance(value, Enum):
        text = repr(value.value)
    elif isinstance(value, datetime):
        text = value.isoformat()
    elif type(value) in (list, tuple) and value:
        begin, end = "[]" if isinstance(value, list) else "()"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        text = f"{begin}{', '.join(map(shown, value[:20]))}{comma}{end}"  # type: ignore[index]
    else:
        text = repr(value)
    return text if len(text) <= CLIP else text[: CLIP - 3] + "..."


class Notes:
    """The calls that were made under one rule, and what is said of them."""

    def __init__(self) -> None:
        self._calls: list[str] = []

    def add(self, call: str) -> None:
        self._calls.append(call)

    def broken(self, expected: str, got: str) -> NoReturn:
        """The last call shows that the rule does not hold."""
        raise self.breach(expected, got)

    def breach(self, expected: str, got: str) -> Breach:
        *before, call = self._calls or ["open()"]
        return Breach(call, expected, got, tuple(before[-TOLD:]))

    def equal(self, got: object, expected: object, what: str = "") -> None:
        """What the last call gave, or `what` of it, is as expected."""
        if got != expected:
            of = f"{what}: " if what else ""
            self.broken(of + shown(expected), of + shown(got))

    def true(self, holds: bool, expected: str, got: object) -> None:
        """Something that is to hold after the last call."""
        if not holds:
            self.broken(expected, shown(got))

    def instance(self, got: object, kind: type | tuple[type, ...], expected: str) -> None:
        """The last call gave something of this type."""
        self.true(isinstance(got, kind), expected, got)

    def raises(self, kind: type[E], call: Callable[[], object], why: str) -> E:
        """The call raises; returns what it raised."""
        try:
            got = call()
        except kind as exc:
            return exc
        except Exception as exc:
            error: Exception = exc
        else:
            self.broken(f"{kind.__name__} ({why})", shown(got))
        raise self.breach(f"{kind.__name__} ({why})", repr(error)) from error


class _Noted:
    """Passes everything on to `subject`, and notes it."""

    def __init__(self, subject: object, notes: Notes, prefix: str) -> None:
        self._subject = subject
        self._notes = notes
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        if not callable(getattr(type(self._subject), name, None)):
            self._notes.add(self._prefix + name)
            return getattr(self._subject, name)
        method = getattr(self._subject, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = [shown(arg) for arg in args]
            given += [f"{key}={shown(value)}" for key, value in kwargs.items()]
            self._notes.add(f"{self._prefix}{name}({', '.join(given)})")
            return self._judged(name, method(*args, **kwargs))

        return call

    def _judged(self, name: str, answer: Any) -> Any:
        is_coroutine = inspect.iscoroutine(answer)
        if is_coroutine and name not in ASYNC:
            answer.close()  # nobody will await it
            self._notes.broken(f"an answer at once ({name} is no async method)", "a coroutine")
        if name in ASYNC and not isinstance(answer, Coroutine):
            self._notes.broken(f"a coroutine ({name} is an async method)", shown(answer))
        return answer


def noted(subject: Any, notes: Notes, prefix: str = "") -> Any:
    """`subject`, with each call of its methods noted."""
    return _Noted(subject, notes, prefix)
