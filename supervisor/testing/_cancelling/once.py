"""One run of a scenario, cancelled at one checkpoint, and everything that is to be seen of it."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import inf
from reprlib import Repr
from typing import Any

import attrs
import trio

from .._schedules.choosing import Deviations
from .._schedules.run import MAX_STEPS, Scenario, run_once
from .._schedules.telling import no_failure
from .._schedules.where import Place
from ..errors import KitError, Unfinished
from .cleanup import Cleanups, Cut
from .inside import Generators, all_tasks, tasks_left
from .leaks import Leak, left_since, snapshot
from .options import takes_one
from .steps import Steps

__all__ = ["Once", "Ran", "collecting", "sees_cleanup"]

FROZEN_FROM_THE_START = 1000
"""Python 3.12 begins with a few hundred frozen objects; with more, somebody else has frozen them,
and they could not be told from ours when it comes to thawing."""

FAR = 1e9
"""Seconds after which a scenario that waits for ever is cancelled, on the clock that jumps."""

_short = Repr()
_short.maxstring = _short.maxother = 60


@attrs.frozen
class Ran:
    """What is to be seen of one run.

    Attributes:
        place: of the checkpoint that was cancelled; None if it was not reached.
        places: of all checkpoints, in a run that was not cancelled.
        forever: whether it waited for ever, so that only a cancellation could end it.
        ended: "cancelled", "returned" or "raised".
        detail: what it returned or raised, as text.
        error: what it raised, or how it had to be ended.
        check_error: what the check raised.
        left_inside: tasks and async generators.
        left_outside: what else was left, in the process.
        cut: cleanups that were cut short.
        unseen: what could not be looked at.
    """

    place: Place | None
    places: list[Place]
    forever: bool
    ended: str
    detail: str
    error: BaseException | None
    check_error: BaseException | None
    left_inside: tuple[Leak, ...]
    left_outside: tuple[Leak, ...]
    cut: tuple[Cut, ...]
    unseen: tuple[str, ...]

    @property
    def left(self) -> tuple[Leak, ...]:
        return self.left_inside + self.left_outside


@attrs.frozen
class Once:
    """What is run each time."""

    async_fn: Scenario
    args: Sequence[object]
    check: Callable[..., Any] | None = None
    make: Callable[[], Any] | None = None
    cleanup: bool = True
    deviations: Deviations = ()

    def undisturbed(self, most: int) -> Ran:
        """Run it without cancelling it, unless it has more checkpoints, or waits for ever.

        Under a given schedule that waits for ever is a deadlock: each deadline is a choice point.
        """
        return self._run(most + 1, "scope", inf if self.deviations else FAR, keeps_all=True)

    def cancelled(self, number: int, way: str, max_steps: int) -> Ran:
        """Run it and cancel it at the checkpoint of this number, if it gets there.

        A task that is to be cancelled when it has come back may never come back.
        """
        return self._run(number, way, FAR if way == "late" else inf, max_steps)

    def _run(
        self,
        number: int,
        way: str,
        seconds: float,
        max_steps: int = MAX_STEPS,
        *,
        keeps_all: bool = False,
    ) -> Ran:
        cleanups = Cleanups()
        steps = Steps(
            number,
            _CANCEL[way],
            late=way == "late",
            keeps_all=keeps_all,
            cleanups=cleanups if self.cleanup else None,
        )
        inside = _Inside(self, steps, seconds)
        before = snapshot()
        with _unclosed() as unclosed:
            error = _driven(inside, max_steps)
            gc.collect()
        if steps.error is not None:
            raise steps.error
        return Ran(
            place=steps.place,
            places=steps.places,
            forever=inside.forever,
            ended=inside.ended,
            detail=inside.detail,
            error=error or inside.error,
            check_error=inside.check_error,
            left_inside=tuple(inside.left),
            left_outside=() if error else (*left_since(before), *unclosed),
            cut=tuple(cleanups.cut),
            unseen=before.unseen,
        )


def _driven(inside: _Inside, max_steps: int) -> Unfinished | None:
    """Run it; returns how it had to be ended, if it had to be."""
    try:
        run_once(
            inside.scenario,
            deviations=inside.once.deviations,
            instruments=[inside.steps],
            max_steps=max_steps,
        )
    except Unfinished as exc:
        return exc
    return None


def _by_scope(scope: trio.CancelScope, number: int) -> None:
    scope.cancel(f"cancel_everywhere, checkpoint {number}")


def _by_deadline(scope: trio.CancelScope, number: int) -> None:
    # Trio looks at deadlines before it lets any task go on.
    scope.deadline = trio.current_time()


_CANCEL = {"scope": _by_scope, "deadline": _by_deadline, "late": _by_scope}


@attrs.define
class _Inside:
    """The part of a run that happens inside Trio."""

    once: Once
    steps: Steps
    seconds: float
    forever: bool = False
    ended: str = "cancelled"
    detail: str = ""
    error: BaseException | None = None
    check_error: BaseException | None = None
    left: list[Leak] = attrs.Factory(list)

    async def scenario(self) -> None:
        made = () if self.once.make is None else (await _awaited(self.once.make()),)
        before = all_tasks()
        generators = Generators()
        with generators.watched():
            await self._cancellable(made)
            self.left += await tasks_left(before)
        self.left += generators.left()
        if self.once.check is not None:
            await self._checked(self.once.check, made)

    async def _cancellable(self, made: tuple[object, ...]) -> None:
        scope = trio.CancelScope(relative_deadline=self.seconds)
        try:
            with self.steps.counted(scope):
                value = await self.once.async_fn(*made, *self.once.args)
                self.ended = "returned"
                self.detail = "" if value is None else _short.repr(value)
        except BaseException as exc:  # noqa: ASYNC103  # raised, unless it is a failure
            _raise_unless_it_failed(exc)
            self.ended = "raised"
            self.detail = _short.repr(exc)
            self.error = exc
        self.forever = scope.cancel_called and self.steps.place is None

    async def _checked(self, check: Callable[..., Any], made: tuple[object, ...]) -> None:
        try:
            verdict = await _awaited(check(*made) if takes_one(check) else check())
            if verdict is False:
                raise AssertionError("it returned False")
        except BaseException as exc:  # noqa: ASYNC103  # raised, unless it is a failure
            _raise_unless_it_failed(exc)
            self.check_error = exc


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _raise_unless_it_failed(error: BaseException) -> None:
    """Raise what is not the scenario's failure: what is wrong with the run, an interruption."""
    if isinstance(error, KitError):
        raise error
    stranger = no_failure(error)
    if stranger is not None:
        raise stranger
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if isinstance(each, KitError | BaseExceptionGroup):
                _raise_unless_it_failed(each)


# --- garbage --------------------------------------------------------------------------------------


@contextmanager
def collecting() -> Iterator[None]:
    """Around many runs: what was there before is not looked through for garbage after each."""
    freezes = gc.get_freeze_count() < FROZEN_FROM_THE_START
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        if freezes:
            gc.unfreeze()


@contextmanager
def _unclosed() -> Iterator[list[Leak]]:
    """Meanwhile, what Python itself warns of as never closed is put into this list."""
    left: list[Leak] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield left
    for each in caught:
        if not issubclass(each.category, ResourceWarning):
            warnings.warn_explicit(
                each.message, each.category, each.filename, each.lineno, source=each.source
            )
        elif not str(each.message).startswith(("subprocess ", "Async generator ")):
            left.append(Leak("object", f"that only the garbage collector closed: {each.message}"))


# --- whether this Trio shows what is cut short ----------------------------------------------------


@cache
def sees_cleanup() -> bool:
    """Try it, once in a process: private names that are still there may mean something else."""
    return _finds_cut(shield=False) and not _finds_cut(shield=True)


def _finds_cut(*, shield: bool) -> bool:
    cleanups = Cleanups(hidden=())
    steps = Steps(1, _by_scope, cleanups=cleanups)

    async def scenario() -> None:
        with steps.counted(trio.CancelScope()):
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                with trio.CancelScope(shield=shield):
                    await trio.sleep(1)  # noqa: ASYNC102  # what is tried
                raise

    run_once(scenario, instruments=[steps])
    return bool(cleanups.cut) and steps.error is None
