"""The function that makes what is to be checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio

from ..errors import InsideTrio

__all__ = ["Maker", "refuse_inside_trio"]

T = TypeVar("T")


def refuse_inside_trio(who: str) -> None:
    """Refuse to block a Trio run.

    Raises:
        InsideTrio: there is one in this thread.
    """
    if trio.lowlevel.in_trio_run():
        raise InsideTrio(
            f"{who} makes Trio runs of its own and cannot be called inside one; "
            "call it from a plain function (a test that is `def`, not `async def`)"
        )


class Maker(Generic[T]):
    """Calls `make`, and sees to it that each call gives a fresh object of the right type.

    Args:
        make: what was passed.
        kind: the type that it has to make.

    Raises:
        TypeError: it cannot be called without arguments, or is async.
    """

    def __init__(self, make: Callable[[], T], kind: type[T]) -> None:
        self._make = make
        self._kind = kind
        self._made: list[T] = []  # kept, so that no identity comes twice
        self._name = kind.__name__
        self._check()

    @property
    def subject(self) -> str:
        """The name of the type that was made."""
        return type(self._made[0]).__qualname__ if self._made else self._name

    def __call__(self) -> T:
        made = self._make()
        if inspect.isawaitable(made):
            getattr(made, "close", lambda: None)()  # nobody will await it
            raise TypeError(f"make() gave an awaitable; {self._advice()}")
        if not isinstance(made, self._kind):
            raise TypeError(
                f"make() gave {made!r}, which is no {self._name}: its type has to derive from "
                f"supervisor.abc.{self._name}"
            )
        if any(made is other for other in self._made):
            raise ValueError(
                f"make() gave the same {type(made).__qualname__} twice; each call has to give a "
                "fresh one, which no other rule has used"
            )
        self._made.append(made)
        return made

    def _advice(self) -> str:
        return (
            f"make is a plain function that gives a fresh {self._name} each time it is called; "
            f"what has to be awaited belongs into {self._name}.open()"
        )

    def _check(self) -> None:
        make: Any = self._make
        if inspect.iscoroutine(make):
            make.close()  # nobody will await it
            raise TypeError(f"make is a coroutine; {self._advice()}")
        if isinstance(make, self._kind):
            raise TypeError(
                f"make is a {self._name}; pass what makes one, such as "
                f"`lambda: {type(make).__qualname__}(...)`"
            )
        if not callable(make):
            raise TypeError(f"make is {make!r}; {self._advice()}")
        if inspect.iscoroutinefunction(make) or inspect.isasyncgenfunction(make):
            raise TypeError(f"make is an async function; {self._advice()}")
        try:
            signature = inspect.signature(make)
        except (TypeError, ValueError):
            return  # one that does not tell its arguments
        try:
            signature.bind()
        except TypeError as exc:
            raise TypeError(
                f"make cannot be called without arguments ({exc}); {self._advice()}; "
                "for arguments use functools.partial"
            ) from None
