"""What can be run as a scenario: an async function, with all of its arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BadScenario
from .where import Place


def check_scenario(async_fn: object, args: Sequence[object] = (), *, who: str = "explore") -> None:
    """Refuse what is not an async function that can be called with `args`.

    Raises:
        BadScenario: it is something else; the message says what to pass instead.
    """
    name = name_of(async_fn)
    if inspect.iscoroutine(async_fn):
        async_fn.close()  # nobody will await it
        raise BadScenario(
            f"{who} got a coroutine object; pass the async function itself, "
            f"without calling it: {who}({async_fn.__name__})"
        )
    if not callable(async_fn):
        raise BadScenario(f"{who} needs an async function, not {async_fn!r}")
    innermost = _innermost(async_fn)
    if inspect.isasyncgenfunction(innermost):
        raise BadScenario(
            f"{name} is an async generator (it has a `yield`); {who} needs an async function "
            f"that runs to its end: put the `async for` over it into one"
        )
    if inspect.isgeneratorfunction(innermost):
        raise BadScenario(
            f"{name} is a generator (it has a `yield`); {who} needs an async function"
        )
    if getattr(innermost, "__name__", "") == "<lambda>":
        raise BadScenario(
            f"{who} got a lambda, which is not an async function; bind arguments with "
            "functools.partial instead"
        )
    if not inspect.iscoroutinefunction(innermost):
        raise BadScenario(
            f"{name} is not an async function; {who} needs an `async def`, "
            f"since only what awaits can be interrupted"
        )
    _check_arguments(async_fn, args, name, who)


def identity_of(async_fn: object) -> str:
    """What a scenario is called in replay texts: the last name of its module, and its own.

    A script is called by its file, so that a text from there can be replayed by a test.
    """
    inner = _unbound(async_fn)
    module = str(getattr(inner, "__module__", None) or type(inner).__module__)
    if module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or module).stem
    return f"{module.rpartition('.')[2]}.{name_of(inner)}".replace(" ", "_")


def name_of(async_fn: object) -> str:
    """What a scenario is called in messages: its qualified name."""
    async_fn = _unbound(async_fn)
    name = getattr(async_fn, "__qualname__", None) or type(async_fn).__qualname__
    return str(name).replace("<locals>.", "").replace("<lambda>", "lambda")


def beginning_of(async_fn: object) -> Place:
    """The line at which a scenario is defined."""
    inner = inspect.unwrap(_unbound(async_fn))  # type: ignore[arg-type]
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if code is None:
        return Place("?", 0, name_of(async_fn))
    return Place(code.co_filename, code.co_firstlineno, code.co_name)


def _unbound(async_fn: object) -> object:
    while isinstance(async_fn, partial):
        async_fn = async_fn.func
    return async_fn


def _innermost(async_fn: object) -> object:
    async_fn = _unbound(async_fn)
    if not inspect.isroutine(async_fn) and not inspect.isclass(async_fn):
        return getattr(async_fn, "__call__", async_fn)  # noqa: B004
    return async_fn


def _check_arguments(
    async_fn: Callable[..., Any], args: Sequence[object], name: str, who: str
) -> None:
    try:
        signature = inspect.signature(async_fn)
    except (TypeError, ValueError) as exc:
        if isinstance(async_fn, partial):
            raise BadScenario(f"the arguments bound to {name} do not fit: {exc}") from None
        return  # one that does not tell its arguments
    try:
        signature.bind(*args)
    except TypeError as exc:
        given = f"{len(args)} argument{'s' * (len(args) != 1)}" if args else "no arguments"
        raise BadScenario(
            f"{name}{signature} cannot be called with {given}: {exc}; "
            f"pass them along, or bind them: functools.partial({name}, ...)"
        ) from None
