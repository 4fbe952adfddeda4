"""One deterministic run of a scenario: `trio.run` with every choice made beforehand."""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import attrs
import trio

from ..errors import InsideTrio, LeavesTheKit, NestedRun
from . import probe
from .choosing import ByDeviations
from .control import Chooser, Control, Watcher, seize
from .ending import Ending
from .guards import forbid_sleeping

MAX_STEPS = 100_000
"""A run of more steps than this is taken for one that never ends."""

_running = threading.local()
_one_at_a_time = threading.Lock()

T = TypeVar("T")

Scenario = Callable[..., Awaitable[Any]]


@attrs.define
class Ran:
    """What became of one run.

    Attributes:
        value: what the scenario returned.
        error: what it raised, or what is wrong with the run.
        options: for each choice point, how many options it had.
        steps: how many steps there were.
    """

    value: Any
    error: BaseException | None
    options: list[int]
    steps: int


def run_once(
    async_fn: Callable[..., Awaitable[T]],
    *args: object,
    deviations: Sequence[tuple[int, int]] = (),
    instruments: Sequence[trio.abc.Instrument] = (),
    max_steps: int = MAX_STEPS,
) -> T:
    """Run a scenario once, on a clock that jumps when every task waits; returns what it returns.

    Args:
        async_fn: the scenario.
        args: its arguments.
        deviations: where the run is to preempt; see `Schedule`.
        instruments: Trio instruments to run it with.
        max_steps: so many steps it may take.

    Raises:
        Deadlock: every task waited for ever.
        NeverEnds: it took more than `max_steps` steps.
        UsesThreads: one of its tasks waited for a thread.
        UsesRealIO: one of its tasks waited for the operating system.
        UsesRealTime: it called `time.sleep`.
        InsideTrio: called from inside a Trio run.
        NestedRun: called from inside another scenario.
        UnsupportedTrio: this Trio cannot be driven.
        BaseException: whatever the scenario raised.
    """
    with session():
        ran = attempt(
            async_fn,
            args,
            ByDeviations(deviations, wrap=True),
            max_steps=max_steps,
            instruments=instruments,
        )
    if ran.error is not None:
        raise ran.error
    return cast(T, ran.value)


@contextmanager
def session() -> Iterator[None]:
    """Around one or many attempts: checks that they can be made, and leaves no trace of them.

    Python's random numbers begin anew with each attempt, and go on afterwards as if there had been
    none; `time.sleep` is refused meanwhile.
    """
    if getattr(_running, "yes", False):
        raise NestedRun(
            "a scenario called the kit again; explore and replay make runs of their own, so call "
            "them from a plain function, and await the inner scenario directly"
        )
    if trio.lowlevel.in_trio_run():
        raise InsideTrio(
            "the kit makes Trio runs of its own and was called inside one; call it from a plain "
            "function (a sync test), or from a thread of its own"
        )
    with _one_at_a_time:  # what is put in the place of Trio's chance is the whole process's
        numbers = random.getstate()
        allow_sleeping = forbid_sleeping(_tell)
        _running.yes = True
        try:
            probe.check(attempt)
            yield
        finally:
            _running.yes = False
            allow_sleeping()
            random.setstate(numbers)


def _tell(error: LeavesTheKit) -> None:
    """The run that goes on in this thread does what no schedule decides."""
    ending: Ending | None = getattr(_running, "ending", None)
    if ending is not None:
        ending.leaves(error)


def attempt(
    async_fn: Scenario,
    args: Sequence[object],
    chooser: Chooser,
    *,
    max_steps: int = MAX_STEPS,
    instruments: Sequence[trio.abc.Instrument] = (),
    watcher: Watcher | None = None,
) -> Ran:
    """One run, within a `session`. Never raises what the scenario raised, but for interruptions."""
    random.seed(0)
    scope = trio.CancelScope()
    ending = Ending(scope, max_steps)
    control = Control(chooser, max_steps=max_steps, ending=ending, watcher=watcher)

    async def main() -> Any:
        with scope:
            return await async_fn(*args)

    value: Any = None
    error: BaseException | None = None
    release = seize(control)
    _running.ending = ending
    try:
        value = trio.run(main, clock=control.clock, instruments=instruments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # noqa: ASYNC103  # trio.run is over: nothing is left to cancel
        error = exc
    finally:
        _running.ending = None
        release()
        control.forget()
    ending.collect()
    return Ran(value, ending.verdict or error, control.options, control.steps)
