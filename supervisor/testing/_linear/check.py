"""Judges a history, and tells what is wrong with one that nothing explains."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import BadOption
from .operation import Model, Operation
from .search import Budget, Result, SearchTooLong, Steps, search
from .shortest import Core, shortest
from .timeline import draw, words

__all__ = ["NotLinearizable", "check_linearizable"]

TRIES = 2_000_000
SHOWN = 40
"""Operations that a message tells of; the others are on the error."""


class NotLinearizable(AssertionError):
    """No order of the operations explains every answer.

    Attributes:
        shortest: the shortest part of the history that was found to be impossible, in the order of
            the calls. Up to one of its answers it is possible, with that one it is not; what was
            answered later counts as not answered.
        longest: the longest order of these operations that can be explained.
        stuck: those that had to come next in it, and cannot have been answered so.
    """

    def __init__(
        self,
        message: str,
        shortest: tuple[Operation, ...] = (),
        longest: tuple[Operation, ...] = (),
        stuck: tuple[Operation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.shortest = shortest
        self.longest = longest
        self.stuck = stuck

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.shortest, self.longest, self.stuck)


def check_linearizable(
    model: Model, operations: Iterable[Operation], *, max_tries: int = TRIES
) -> tuple[tuple[Operation, ...], ...]:
    """Check that a history could have come from a sequential object.

    A history is linearizable if each operation can be said to have happened at one moment between
    its call and its answer, such that the model, doing them in that order, gives every answer that
    was given (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects",
    ACM TOPLAS 12(3), 1990).

    Use it on what several tasks, or several clients, did with one thing at once: each on its own
    sees nothing odd where together they do. It says nothing of what was not in the history. The
    time it takes grows fast with the number of operations that overlap, not with those that follow
    each other.

    Args:
        model: what the object is to do if it is asked one thing at a time; see `Model`.
        operations: the history, in any order.
        max_tries: how often a step may be tried.

    Returns:
        For each part of the history (one, if the model has no `partition`) an order that explains
        it. An operation that was never answered is missing if it need not have happened.

    Raises:
        NotLinearizable: there is no such order.
        SearchTooLong: `max_tries` was not enough to say.
        TypeError, ValueError: the model or the history cannot be used; the message says why.
    """
    _check_model(model)
    _check_tries(max_tries)
    history = _history(operations)
    steps = Steps(model, history)
    budget = Budget(max_tries)
    orders = []
    for part in _parts(model, history):
        result = _search(steps, budget, part)
        if not result.found:
            raise _not_linearizable(steps, shortest(steps, part))
        orders.append(tuple(history[number] for number in result.order))
    return tuple(orders)


def _search(steps: Steps, budget: Budget, part: Sequence[int]) -> Result:
    unanswered = frozenset(number for number in part if steps.operations[number].back is None)
    try:
        return search(steps, budget, part, unanswered)
    except SearchTooLong as exc:
        raise SearchTooLong(
            f"{exc} to judge {len(part)} operations, {len(unanswered)} of them never answered; "
            "let fewer of them overlap, give the model a `partition` into parts that do not "
            "concern each other, or raise max_tries"
        ) from None


def _not_linearizable(steps: Steps, core: Core) -> NotLinearizable:
    history = steps.operations
    numbers = sorted(core.all, key=lambda number: history[number].call)
    found = tuple(history[number] for number in numbers)
    try:
        result = search(steps, Budget(TRIES), core.all, core.open)
    except SearchTooLong:
        result = Result(False, (), steps.initial)
    longest = tuple(history[number] for number in result.order)
    stuck = tuple(history[number] for number in result.stuck if number not in core.open)
    end = max(step for number in core.last if (step := history[number].back) is not None)
    many = f"these {len(found)} operations" if len(found) > 1 else "this operation"
    of_all = f" (of {len(history)} in the history)" if len(found) < len(history) else ""
    lines = [f"no order of {many}{of_all} explains every answer:", ""]
    lines += [f"  {line}" for line in draw(found[-SHOWN:], end).splitlines()]
    if len(found) > SHOWN:
        lines.append(f"  ({len(found) - SHOWN} before)")
    if stuck:
        lines += ["", *_story(longest, stuck, result)]
    return NotLinearizable("\n".join(lines), found, longest, stuck)


def _story(
    longest: Sequence[Operation], stuck: Sequence[Operation], result: Result
) -> Iterator[str]:
    yield "the longest order that can be explained:"
    if len(longest) > SHOWN:
        yield f"  ({len(longest) - SHOWN} before)"
    for operation in longest[-SHOWN:]:
        yield f"  {_who(operation)}"
    if not longest:
        yield "  (none of them)"
    yield ""
    yield f"then the state is {_told(result)}, which does not allow"
    for operation in stuck:
        yield f"  {_who(operation)}"


def _who(operation: Operation) -> str:
    return f"{operation.process}: {words(operation)}"


def _told(result: Result) -> str:
    states = sorted(repr(state) for state in result.states)
    if len(states) == 1:
        return states[0]
    return "one of " + ", ".join(states[:SHOWN]) + (", ..." if len(states) > SHOWN else "")


# --- what was passed ------------------------------------------------------------------------------


def _check_model(model: object) -> None:
    if inspect.isclass(model):
        raise TypeError(f"the model is a class; pass an object of it: {model.__name__}()")
    if not callable(getattr(model, "step", None)):
        raise TypeError(
            f"{model!r} is no model: it has no method `step(state, what, answer)` that gives the "
            "possible next states"
        )
    if not hasattr(model, "initial"):
        raise TypeError(f"{model!r} is no model: it has no `initial`, the state before all calls")


def _check_tries(max_tries: object) -> None:
    if isinstance(max_tries, bool) or not isinstance(max_tries, int) or max_tries < 1:
        raise BadOption(f"max_tries is a whole number, 1 or more, not {max_tries!r}")


def _history(operations: object) -> list[Operation]:
    if not isinstance(operations, Iterable):
        raise TypeError(f"operations is a list of Operation, not {operations!r}")
    history = list(operations)
    for place, operation in enumerate(history):
        if not isinstance(operation, Operation):
            raise TypeError(
                f"operations[{place}] is {operation!r}, not an Operation; "
                "make one: Operation(process, call, back, what, answer)"
            )
    return history


def _parts(model: object, history: list[Operation]) -> list[list[int]]:
    """The places of the operations of each part."""
    partition = getattr(model, "partition", None)
    if partition is None:
        return [list(range(len(history)))]
    places: dict[int, list[int]] = {}
    for place, operation in enumerate(history):
        places.setdefault(id(operation), []).append(place)
    parts = []
    for part in partition(tuple(history)):
        parts.append(sorted(_place_of(operation, places) for operation in part))
    left = [place for of_one in places.values() for place in of_one]
    if left:
        raise ValueError(
            f"model.partition left out {len(left)} operations, "
            f"such as {history[min(left)]!r}; every one belongs to one part"
        )
    return parts


def _place_of(operation: object, places: dict[int, list[int]]) -> int:
    known = places.get(id(operation))
    if not known:
        raise ValueError(
            f"model.partition gave {operation!r}, which is not an operation that it was given, or "
            "is in another part already; every one belongs to one part"
        )
    return known.pop()
