"""What `cancel_everywhere` may be told, and what it says to the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .._schedules.scenario import check_scenario, name_of
from .._schedules.schedule import Schedule
from ..errors import BadOption, BadScenario

__all__ = [
    "WAYS",
    "checked_exceptions",
    "checked_function",
    "checked_only",
    "checked_scenario",
    "checked_schedule",
    "checked_ways",
    "checked_whole",
    "takes_one",
]

WAYS = ("scope", "deadline", "late")
"""How a scenario can be cancelled: by `CancelScope.cancel`, by a deadline that is reached, or by
`cancel` when the task already comes back from the checkpoint, so that the next one is the first to
know."""


def checked_scenario(async_fn: object, args: Sequence[object], makes: bool) -> None:
    """Refuse what is no scenario; what `make` returns is its first argument.

    Raises:
        BadScenario: it cannot be run with these arguments.
    """
    check_scenario(async_fn, (None, *args) if makes else args, who="cancel_everywhere")


def checked_ways(by: Any) -> tuple[str, ...]:
    """The ways to cancel, each once.

    Raises:
        BadOption: there is none, or another one.
    """
    ways = (by,) if isinstance(by, str) else by
    several = isinstance(ways, tuple | list | set | frozenset)
    if several and ways and all(way in WAYS for way in ways):
        return tuple(way for way in WAYS if way in ways)
    raise BadOption(f'by must be "scope", "deadline", "late" or some of them, not {by!r}')


def checked_whole(name: str, value: object, least: int = 1) -> int:
    """A number from 1 on, or from `least` on.

    Raises:
        BadOption: it is something else.
    """
    if type(value) is not int or value < least:
        raise BadOption(f"{name} must be a whole number from {least} on, not {value!r}")
    return value


def checked_only(only: object, ways: Sequence[str]) -> int | None:
    """The one checkpoint to cancel at; 0, before the first, can only be late.

    Raises:
        BadOption: it is something else.
    """
    if only is None:
        return None
    return checked_whole("only", only, 0 if "late" in ways else 1)


def checked_exceptions(may_raise: object) -> tuple[type[Exception], ...]:
    """The exceptions with which a cancelled scenario may end.

    Raises:
        BadOption: they are something else.
    """
    kinds = may_raise if isinstance(may_raise, tuple) else (may_raise,)
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise BadOption(
                f"may_raise must be an exception class, or a tuple of them, not {may_raise!r}"
            )
    return kinds


def checked_schedule(schedule: object) -> Schedule:
    """A schedule.

    Raises:
        BadOption: it is something else.
    """
    if not isinstance(schedule, Schedule):
        raise BadOption(f"schedule must be a Schedule, not {schedule!r}")
    return schedule


def checked_function(name: str, function: object, *, most: int) -> Callable[..., Any] | None:
    """A sync or async function, or None; it is to be called with 0 to `most` arguments.

    Raises:
        BadScenario: it is something else.
    """
    if function is None:
        return None
    if inspect.iscoroutine(function):
        function.close()  # nobody will await it
        raise BadScenario(f"{name} got a coroutine object; pass the function, without calling it")
    if not callable(function):
        raise BadScenario(f"{name} must be a function, sync or async, not {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadScenario(f"{name}: {name_of(function)} is a generator (it has a `yield`)")
    if _needed(function) > most:
        takes = "no arguments" if most == 0 else "no argument but what make returns"
        raise BadScenario(
            f"{name}: {name_of(function)}{inspect.signature(function)} is called with {takes}; "
            "bind the others first, with functools.partial"
        )
    return function


def takes_one(function: Callable[..., Any]) -> bool:
    """Whether it can be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:
        return True  # one that does not tell
    return True


def _needed(function: Callable[..., Any]) -> int:
    """How many arguments it cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0  # one that does not tell
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(each.default is each.empty and each.kind not in many for each in parameters)
