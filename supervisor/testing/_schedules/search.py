"""Every schedule up to a number of preemptions, the fewest first: bounded depth-first search.

A run without preemptions shows its choice points. Each option but the first, at each of them, is a
schedule with one preemption; each of their runs shows the choice points after that preemption, and
so on. No schedule comes twice, and the first that fails has as few preemptions as one can have.

That few preemptions suffice for most bugs, and that a bound on them makes the search polynomial in
the length of a run, is from M. Musuvathi and S. Qadeer, "Iterative Context Bounding for Systematic
Testing of Multithreaded Programs" (PLDI 2007); that every deviation from a fixed scheduler counts,
from M. Emmi, S. Qadeer and Z. Rakamaric, "Delay-Bounded Scheduling" (POPL 2011).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from .choosing import Deviations

Family = tuple[Deviations, "array[int]"]
"""A schedule, and how many options there were at each choice point after its last preemption."""

Child = Deviations

Answer = tuple[Child, Sequence[int] | None]
"""A schedule that was run, and the options at all of its choice points; None: it failed."""

RunAll = Callable[[Iterable[Child]], Iterator[Answer]]


@attrs.frozen
class Found:
    """How a search ended.

    Attributes:
        runs: how many schedules were run.
        failing: the first that failed, or None.
        exhausted: whether every schedule within the bound was run.
        longest: the most choice points that a run had.
    """

    runs: int
    failing: Deviations | None
    exhausted: bool
    longest: int


def children_of(family: Family) -> Iterator[Child]:
    """The schedules that have one preemption more, in order of its place."""
    deviations, options = family
    for gap, count in enumerate(options):
        for option in range(1, count):
            yield (*deviations, (gap, option))


def family_of(child: Child, options: Sequence[int]) -> Family:
    """What is left to vary after a schedule has been run."""
    passed = sum(gap + 1 for gap, _ in child)
    return child, array("L", options[passed:])


def search(
    run_all: RunAll,
    *,
    preemptions: int,
    max_runs: int,
    on_run: Callable[[int, int], None] = lambda runs, level: None,
) -> Found:
    """Run every schedule with up to so many preemptions, until one fails or `max_runs` were run.

    Args:
        run_all: runs schedules and answers in their order.
        preemptions: the bound.
        max_runs: the most runs.
        on_run: hears after each run how many there were, and with how many preemptions.
    """
    runs = longest = 0
    level: list[Family] = []
    for depth in range(preemptions + 1):
        wanted = iter([()]) if depth == 0 else (c for family in level for c in children_of(family))
        following: list[Family] = []
        limited = _Limited(wanted, max_runs - runs)
        for child, options in run_all(limited):
            runs += 1
            on_run(runs, depth)
            if options is None:
                return Found(runs, child, False, longest)
            longest = max(longest, len(options))
            if depth < preemptions:
                following.append(family_of(child, options))
        if limited.cut:
            return Found(runs, None, False, longest)
        level = following
    return Found(runs, None, True, longest)


class _Limited:
    """The first of some schedules; tells afterwards whether there were more."""

    def __init__(self, children: Iterator[Child], most: int) -> None:
        self._children = children
        self._left = most
        self.cut = False

    def __iter__(self) -> Iterator[Child]:
        for child in self._children:
            if not self._left:
                self.cut = True
                return
            self._left -= 1
            yield child
