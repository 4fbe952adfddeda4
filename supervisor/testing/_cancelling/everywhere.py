"""`cancel_everywhere`: cancel a scenario at each of its checkpoints in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .._schedules.run import Scenario
from .._schedules.scenario import beginning_of, name_of
from .._schedules.schedule import Schedule
from .._schedules.where import Place, origin
from ..errors import BadOption, KitError, NotDeterministic, Unfinished
from . import options
from .cleanup import Cut
from .leaks import Leak
from .once import Once, Ran, collecting, sees_cleanup
from .progress import shown
from .report import (
    CancellationUnsafe,
    CancelledAt,
    CancelledEverywhere,
    NothingToCancel,
    TooManyCheckpoints,
)

__all__ = ["cancel_everywhere"]

MAX_CHECKPOINTS = 10_000

PLAIN = Schedule()

STEPS = 5_000
"""So many steps a run may take for its cleanup, and ten times those of the undisturbed one."""


def cancel_everywhere(
    async_fn: Scenario,
    *args: object,
    check: Callable[..., Any] | None = None,
    make: Callable[[], Any] | None = None,
    by: str | Sequence[str] = options.WAYS,
    only: int | None = None,
    may_raise: type[Exception] | tuple[type[Exception], ...] = (),
    cleanup: bool = True,
    max_checkpoints: int = MAX_CHECKPOINTS,
    schedule: Schedule = PLAIN,
    progress: bool | None = None,
) -> CancelledEverywhere:
    """Run an async function again and again, cancelled at its 1st checkpoint, its 2nd, and so on.

    A plain function, to be called from a sync test; each run is a `trio.run` of its own, on a clock
    that jumps. A checkpoint is where a task of the scenario hands over to Trio. It is cancelled
    there, and, in other runs, just after it: before the first one, and when a task already comes
    back from one, so that whatever it awaits next is where it learns of it. After each run
    nothing may be left that the scenario began, no cleanup may have been cut short, and `check`
    must pass. That holds for the first run too, which is not cancelled and counts the checkpoints.

    Left can be tasks (system tasks too), async generators that were not closed, threads, child
    processes, files, sockets and pipes. What is left by the first of two equal runs only, like a
    helper thread that a library starts once and keeps, is not counted.

    A cleanup is cut short when a `finally`, an `except` or an `__aexit__` awaits on the way out
    without a shield: it is cancelled again at that line.

    The scenario must make everything anew that it changes, since it is run many times; or `make`
    does, before each run.

    Args:
        async_fn: the scenario, an async function.
        args: its arguments.
        check: a function, sync or async, that is called after each run, still inside Trio, and
            raises or returns False if something is broken; with what `make` returned, if it takes
            an argument.
        make: a function, sync or async, that makes what one run works on; `async_fn` gets it as
            its first argument.
        by: how to cancel: "scope" calls `CancelScope.cancel` at the checkpoint; "deadline" lets a
            deadline be reached there; "late" calls `cancel` just after it. All of them, unless
            told otherwise.
        only: cancel at this checkpoint and no other, to look at one failure again; 0 is before
            the first.
        may_raise: exceptions with which a cancelled scenario may end. Any other one fails.
        cleanup: whether to look for cleanup that was cut short.
        max_checkpoints: the most checkpoints that the scenario may have.
        schedule: the order in which tasks go on, in every run; the plainest one, unless told
            otherwise.
        progress: whether to show on stderr how far it is; None: if that is a terminal.

    Returns:
        What each cancellation came to.

    Raises:
        CancellationUnsafe: something was broken after a run; it names the checkpoint's line.
        NothingToCancel: the scenario has no checkpoint.
        TooManyCheckpoints: it has more than `max_checkpoints`.
        BadScenario: this is no async function for these arguments, or check or make is no function.
        BadOption: an option has a value that it cannot have.
        KitError: the scenario cannot be driven (see `supervisor.testing.errors`).
        Exception: what the scenario raised without being cancelled.
    """
    options.checked_scenario(async_fn, args, make is not None)
    everywhere = _Everywhere(
        once=Once(
            async_fn,
            args,
            options.checked_function("check", check, most=make is not None),
            options.checked_function("make", make, most=0),
            cleanup,
            options.checked_schedule(schedule).deviations,
        ),
        ways=options.checked_ways(by),
        only=options.checked_only(only, options.checked_ways(by)),
        may_raise=options.checked_exceptions(may_raise),
        most=options.checked_whole("max_checkpoints", max_checkpoints),
    )
    with collecting():
        return everywhere.run(progress)


@attrs.frozen
class _Everywhere:
    """The runs of one call."""

    once: Once
    ways: tuple[str, ...]
    only: int | None
    may_raise: tuple[type[Exception], ...]
    most: int

    def run(self, progress: bool | None) -> CancelledEverywhere:
        sees = not self.once.cleanup or sees_cleanup()
        plain = self._undisturbed()
        places = plain.places
        numbers = self._numbers(places)
        todo = [(number, way) for number in numbers if number for way in self.ways if way != "late"]
        # These come last: what is wrong at a checkpoint is told of that one.
        todo += [(number, "late") for number in numbers if "late" in self.ways]
        steps = [
            self._cancelled(number, way, places)
            for number, way in shown(name_of(self.once.async_fn), todo, progress)
        ]
        unseen = () if sees else ("cleanup that was cut short: this Trio does not show it",)
        return CancelledEverywhere(
            len(places), tuple(steps), plain.forever, (*plain.unseen, *unseen)
        )

    # --- without a cancellation -------------------------------------------------------------------

    def _undisturbed(self) -> Ran:
        ran = self._twice_if_left(lambda: self.once.undisturbed(self.most))
        if ran.place is not None:
            raise TooManyCheckpoints(
                f"{self._name()} has more than {self.most} checkpoints (the next one is at "
                f"{ran.place}), and each would be a run for each way to cancel: take a smaller "
                "scenario, or a larger max_checkpoints; what goes on for ever needs an end, "
                "like `with trio.move_on_after(60):`"
            )
        if not ran.forever:
            if ran.error is not None:
                raise ran.error
            self._judge(ran, 0, "", None)
        if not ran.places:
            raise NothingToCancel(
                f"{self._name()} never hands over to Trio: it has no checkpoint, so that nothing "
                "can cancel it, and nothing was tried"
            )
        return ran

    def _numbers(self, places: list[Place]) -> Sequence[int]:
        if self.only is None:
            return range(len(places) + 1)
        if self.only > len(places):
            raise BadOption(
                f"only={self.only}, but {self._name()} has no more than {len(places)} checkpoints"
            )
        return (self.only,)

    # --- with one ---------------------------------------------------------------------------------

    def _cancelled(self, number: int, way: str, places: list[Place]) -> CancelledAt:
        place = places[number - 1] if number else beginning_of(self.once.async_fn)
        max_steps = STEPS + 10 * len(places)
        ran = self._twice_if_left(lambda: self.once.cancelled(number, way, max_steps))
        if number and ran.place != place:
            came = "it was not reached" if ran.place is None else f"it was at {ran.place}"
            raise NotDeterministic(
                f"{self._name()} does not do the same in each run: checkpoint {number} was at "
                f"{place}, and in a later run {came}. What one run changes must not be there in "
                "the next: make it inside the scenario, or with make="
            ) from ran.error
        self._judge(ran, number, way, place)
        return CancelledAt(number, way, place, ran.ended, ran.detail)

    def _twice_if_left(self, run: Callable[[], Ran]) -> Ran:
        """What is left by the first of two runs only was begun once, to be kept."""
        ran = run()
        return run() if ran.left_outside else ran

    # --- what is wrong ----------------------------------------------------------------------------

    def _judge(self, ran: Ran, number: int, way: str, place: Place | None) -> None:
        problems = [*_cut(ran.cut), *_left(ran.left)]
        causes = []
        for error, told in (
            (ran.error, self._told(ran.error)),
            (ran.check_error, _check_told(ran.check_error)),
        ):
            if told:
                problems.append(told)
                causes.append(error)
        if problems:
            raise CancellationUnsafe(
                f"{self._headline(number, way, place)}:\n"
                + "\n".join(f"  - {each}" for each in problems)
                + self._again(number, way),
                number=number,
                way=way,
                place=place,
                problems=tuple(problems),
                left=ran.left,
                cut=ran.cut,
            ) from next(iter(causes), None)

    def _told(self, error: BaseException | None) -> str | None:
        if error is None or self._may_end_with(error):
            return None
        if isinstance(error, Unfinished):
            return f"it did not end after that: {error}"
        name = type(error).__name__
        return (
            f"it raised {name} at {origin(error)} instead of ending as cancelled: {error} "
            f"(if it may do so, say may_raise={name})"
        )

    def _may_end_with(self, error: BaseException) -> bool:
        if isinstance(error, KitError) or not self.may_raise:
            return False
        if isinstance(error, BaseExceptionGroup):
            return error.split(self.may_raise)[1] is None
        return isinstance(error, self.may_raise)

    def _name(self) -> str:
        return name_of(self.once.async_fn)

    def _headline(self, number: int, way: str, place: Place | None) -> str:
        if place is None:
            return f"{self._name()} is not safe even when nothing cancels it"
        if not number:
            return f"{self._name()} is not safe when it is cancelled before it begins, {place}"
        how = "a deadline" if way == "deadline" else "a scope around it"
        after = "just after" if way == "late" else "at"
        return (
            f"{self._name()} is not safe when {how} cancels it {after} checkpoint {number}, {place}"
        )

    def _again(self, number: int, way: str) -> str:
        if not way:
            return ""
        given = ", ..." if self.once.args or self.once.check or self.once.make else ""
        again = f'cancel_everywhere({self._name()}{given}, only={number}, by="{way}")'
        return f"\nonly this one again: {again}"


def _cut(cut: Sequence[Cut]) -> list[str]:
    return [
        f"cleanup was cut short at {each}: it was cancelled again while it handled the "
        "cancellation; shield it, for a limited time: `with trio.move_on_after(5, shield=True):`"
        for each in cut
    ]


def _left(left: Sequence[Leak]) -> list[str]:
    return [f"left behind: {each}" for each in left]


def _check_told(error: BaseException | None) -> str | None:
    if error is None:
        return None
    text = str(error)
    return f"check failed: {type(error).__name__}{': ' if text else ''}{text}"
