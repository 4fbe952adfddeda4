"""The search for one order of the operations that explains every answer.

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", Journal of
Parallel and Distributed Computing 17, 1993), which puts first whatever may come first and goes
back where nothing fits. Lowe ("Testing for linearizability", Concurrency and Computation: Practice
and Experience 29(4), 2017) never looks twice at the same set of operations done with the same state
after them. Both keep calls and answers in one linked list, in the order of their steps: whatever is
called before the first answer in it may come next. The program Porcupine (Athalye, 2017) does the
same.

A model may lead from one state to several, so the state here is the set of those that are possible.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Sequence, Set
from typing import Any, Protocol

import attrs

from ..errors import KitError
from .operation import Model, Operation

__all__ = ["Budget", "Result", "SearchTooLong", "States", "Steps", "search"]

States = frozenset[Hashable]


class SearchTooLong(KitError):
    """A history has so many possible orders that they could not all be tried."""


class Budget:
    """How many more times a step may be tried."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.left = tries

    def take(self) -> None:
        if not self.left:
            raise SearchTooLong(f"{self.tries:,} tries were not enough")
        self.left -= 1


class Steps:
    """The model's answers to what one list of operations asks of it, each asked for once."""

    def __init__(self, model: Model, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self._model = model
        self._known: dict[tuple[Hashable, int], States] = {}
        self.initial = _initial(model)
        self.changing: set[int] = set()
        """Those that were seen to change a state."""

    def after(self, states: States, number: int) -> States:
        """The states that are possible once operation `number` has been done in `states`."""
        if len(states) == 1:
            (state,) = states
            return self.of_one(state, number)
        return frozenset().union(*(self.of_one(state, number) for state in states))

    def of_one(self, state: Hashable, number: int) -> States:
        """The states that operation `number` may lead to from `state`."""
        known = self._known.get((state, number))
        if known is None:
            known = self._known[state, number] = self._ask(state, self.operations[number])
            if known - {state}:
                self.changing.add(number)
        return known

    def _ask(self, state: Hashable, operation: Operation) -> States:
        try:
            given = self._model.step(state, operation.what, operation.answer)
            return given if type(given) is frozenset else _states(given)
        except Exception as exc:
            exc.add_note(f"in model.step({state!r}, {operation.what!r}, {operation.answer!r})")
            raise


def _states(given: Iterable[Any]) -> States:
    if inspect.iscoroutine(given):
        given.close()  # nobody will await it
        raise TypeError("a model's `step` is a plain function, and this one gave a coroutine")
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(
            f"a model's `step` gives the possible next states (a list or tuple of them, empty if "
            f"the answer is impossible), and this one gave {given!r}"
        )
    states = tuple(given)
    try:
        return frozenset(states)
    except TypeError:
        raise _unhashable(next(state for state in states if not _is_hashable(state))) from None


def _initial(model: Model) -> States:
    if not _is_hashable(model.initial):
        raise _unhashable(model.initial)
    return frozenset((model.initial,))


def _unhashable(state: object) -> TypeError:
    return TypeError(
        f"the state {state!r} is not hashable; make states of numbers, strings, tuples, "
        "frozensets or frozen classes"
    )


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@attrs.frozen
class Result:
    """What a search came to; operations are named by their place in the list.

    Args:
        found: whether there is an order.
        order: that order, or else the longest that works.
        states: those that are possible after it.
        stuck: what could come next after the longest order, and does not fit.
    """

    found: bool
    order: tuple[int, ...]
    states: States
    stuck: tuple[int, ...] = ()


_HEAD = 0


class Stepping(Protocol):
    """What leads from states to states; `Steps` does."""

    @property
    def operations(self) -> Sequence[Operation]: ...

    @property
    def initial(self) -> States: ...

    def after(self, states: States, number: int) -> States: ...


class _Timeline:
    """Calls and answers in a doubly linked list, of which operations are lifted out and put back.

    Node 0 is the head; `None` as a node's operation marks an answer.
    """

    def __init__(
        self, operations: Sequence[Operation], chosen: Iterable[int], open_: Set[int]
    ) -> None:
        events = []
        for number in chosen:
            operation = operations[number]
            events.append((operation.call, 0, number))
            if number not in open_:
                assert operation.back is not None
                # After the calls of its own step: these two are concurrent.
                events.append((operation.back, 1, number))
        events.sort()
        self.called: list[int | None] = [None]
        self.answer_of: dict[int, int] = {}
        for node, (_, is_answer, number) in enumerate(events, 1):
            self.called.append(None if is_answer else number)
            if is_answer:
                self.answer_of[number] = node
        self._end = len(self.called)
        self.called.append(None)  # the end: nothing comes after it, as after an answer
        self.next = list(range(1, self._end + 2))
        self._previous = list(range(-1, self._end))

    def lift(self, node: int, number: int) -> None:
        self._take_out(node)
        if number in self.answer_of:
            self._take_out(self.answer_of[number])

    def put_back(self, node: int, number: int) -> None:
        if number in self.answer_of:
            self._put_in(self.answer_of[number])
        self._put_in(node)

    def _take_out(self, node: int) -> None:
        before, after = self._previous[node], self.next[node]
        self.next[before], self._previous[after] = after, before

    def _put_in(self, node: int) -> None:
        self.next[self._previous[node]] = self._previous[self.next[node]] = node

    def may_be_next(self) -> tuple[int, ...]:
        """The operations that were called before the first answer."""
        found = []
        node = self.next[_HEAD]
        while (number := self.called[node]) is not None:
            found.append(number)
            node = self.next[node]
        return tuple(found)


def search(
    steps: Stepping, budget: Budget, chosen: Sequence[int], open_: Set[int] = frozenset()
) -> Result:
    """Look for an order of the `chosen` operations.

    Args:
        steps: the operations and their model.
        budget: how long to look.
        chosen: which operations, by their place in the list.
        open_: those of them that may also be left out, and have no end.

    Raises:
        SearchTooLong: the budget was used up.
    """
    line = _Timeline(steps.operations, chosen, open_)
    states, done, left = steps.initial, 0, len(line.answer_of)
    seen: set[tuple[int, States]] = set()
    trail: list[tuple[int, int, States]] = []  # node, operation, the states before it
    longest = Result(False, (), states, line.may_be_next())
    fewest_left = left
    node = line.next[_HEAD]
    while left:
        number = line.called[node]
        if number is None:  # whatever comes later comes after this answer
            if not trail:
                return longest
            node, number, states = trail.pop()
            line.put_back(node, number)
            done ^= 1 << number
            left += number not in open_
            node = line.next[node]
            continue
        budget.take()
        after = steps.after(states, number)
        key = (done | 1 << number, after)
        # One that may be left out and changes nothing is left out.
        if not after or key in seen or (after == states and number in open_):
            node = line.next[node]
            continue
        seen.add(key)
        trail.append((node, number, states))
        line.lift(node, number)
        states, done, left = after, key[0], left - (number not in open_)
        if left < fewest_left:
            fewest_left = left
            order = tuple(number for _, number, _ in trail)
            longest = Result(False, order, states, line.may_be_next())
        node = line.next[_HEAD]
    return Result(True, tuple(number for _, number, _ in trail), states)
