"""The shortest part of a history that cannot be explained.

Leaving an operation out may make a history impossible that was not: without the write, its value
cannot be read. So one is left out only if the rest stays impossible even where that operation may
be put anywhere after its call, and if everything but the last answer stays possible without it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from typing import Any

from .operation import Operation
from .search import Budget, SearchTooLong, States, Steps, search

__all__ = ["Core", "shortest"]

TRIES = 300_000
"""For all of the shortening together, about a second; what is found by then is told."""
TRIES_AT_ONCE = 20_000
"""For one question of it. Short histories get fewer: most of what takes long takes for ever."""


class Core:
    """Operations that cannot be explained together.

    Args:
        last: those that were answered last; without these answers the rest can be explained.
        rest: the others that were answered.
        open_: those that had not been answered by then.
    """

    def __init__(self, last: Set[int], rest: Set[int], open_: Set[int]) -> None:
        self.last = frozenset(last)
        self.rest = frozenset(rest)
        self.open = frozenset(open_)

    @property
    def all(self) -> list[int]:
        return sorted(self.last | self.rest | self.open)

    def without(self, some: Set[int]) -> Core:
        return Core(self.last - some, self.rest - some, self.open - some)


class _Loose:
    """Steps between which each of `some` operations may happen, however often.

    It allows more than the operations themselves, left open, would; and where they are many it
    takes far less time, as it does not matter when each of them came.
    """

    def __init__(self, steps: Steps, some: Set[int], budget: Budget) -> None:
        self.operations: Sequence[Operation] = steps.operations
        self._steps = steps
        self._some = sorted(some)
        self._budget = budget
        self._closed: dict[States, States] = {}
        self.initial = self._close(steps.initial)

    def after(self, states: States, number: int) -> States:
        return self._close(self._steps.after(states, number))

    def _close(self, states: States) -> States:
        known = self._closed.get(states)
        if known is None:
            known = self._closed[states] = self._closure(states)
        return known

    def _closure(self, states: States) -> States:
        found: set[Hashable] = set(states)
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            for number in self._some:
                self._budget.take()
                new = self._steps.of_one(state, number) - found
                found |= new
                waiting += new
            if len(found) > len(states) + 2 * len(self._some) + 10:
                raise SearchTooLong("there is no end of what they may lead to")
        return frozenset(found)


class _Judge:
    def __init__(self, steps: Steps, size: int) -> None:
        self._steps = steps
        self._left = min(TRIES, 30_000 + 50 * size**2)

    @property
    def is_tired(self) -> bool:
        return self._left <= 0

    def explained(
        self, chosen: Iterable[int], open_: Set[int], any_time: Set[int] = frozenset()
    ) -> bool | None:
        """Whether there is an order; None if that takes too long to find out."""
        chosen = sorted(chosen)
        budget = Budget(max(0, min(TRIES_AT_ONCE, 500 + 4 * len(chosen) ** 2, self._left)))
        try:
            steps = _Loose(self._steps, any_time, budget) if any_time else self._steps
            return search(steps, budget, chosen, open_).found
        except SearchTooLong:
            return None
        finally:
            self._left -= budget.tries - budget.left + 1

    def may_go(self, core: Core, some: Set[int]) -> bool:
        """Whether the core shows as much without `some` of its operations."""
        less = core.without(some)
        return (
            bool(less.last)
            and self.explained(less.all, less.open | less.last) is True
            and self._stays_impossible(core, less, some)
        )

    def _stays_impossible(self, core: Core, less: Core, some: Set[int]) -> bool:
        """With `some` at any time after their calls, or not at all, as the open ones are."""
        return (
            some <= core.open
            or self.explained(less.all, less.open, any_time=some) is False
            or (len(some) == 1 and self.explained(core.all, core.open | some) is False)
        )


def shortest(steps: Steps, chosen: Iterable[int]) -> Core:
    """Shorten a history of which it is known that no order explains it."""
    chosen = list(chosen)
    judge = _Judge(steps, len(chosen))
    core = _shortest_prefix(steps, chosen)
    core = _without_some_of(judge, core, core.open)
    # What changes nothing goes first: it is never what explains another one.
    return _without_some_of(
        judge, core, core.all, lambda number: (number in steps.changing, -number)
    )


def _without_some_of(
    judge: _Judge,
    core: Core,
    candidates: Iterable[int],
    key: Callable[[int], Any] | None = None,
) -> Core:
    """Try to leave them out: all of them, halves of them, ..., one by one."""
    order = sorted(candidates, key=key)
    size = len(order)
    while order and not judge.is_tired:
        before = len(core.all)
        for begin in range(0, len(order), size):
            some = frozenset(order[begin : begin + size]) & frozenset(core.all)
            if some and judge.may_go(core, some):
                core = core.without(some)
        if size == 1 and len(core.all) == before:
            break
        size = max(1, size // 2)
    return core


def _shortest_prefix(steps: Steps, chosen: list[int]) -> Core:
    """Up to the first answer that cannot be explained.

    If a history can be explained then so can its every prefix, with what was not answered by then
    left open; so the first such answer can be looked for by halves.
    """
    ends = sorted({end for number in chosen if (end := steps.operations[number].back) is not None})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        core = _until(steps, chosen, ends[middle])
        if not _is_possible(steps, core):
            high = middle
        else:
            low = middle + 1
    return _until(steps, chosen, ends[high])


def _is_possible(steps: Steps, core: Core) -> bool:
    try:
        return search(steps, Budget(TRIES), core.all, core.open).found
    except SearchTooLong:
        return True  # as far as is known; then a longer prefix is told


def _until(steps: Steps, chosen: list[int], step: int) -> Core:
    last, rest, open_ = set[int](), set[int](), set[int]()
    for number in chosen:
        operation = steps.operations[number]
        if operation.call > step:
            continue
        if operation.back is None or operation.back > step:
            open_.add(number)
        else:
            (last if operation.back == step else rest).add(number)
    return Core(last, rest, open_)
