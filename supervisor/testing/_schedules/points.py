"""Orders of named points: what works on any Trio, since it needs only public names.

The scenario, or code under test that takes a hook, says `await point("saved")` at the moments that
matter. When every task waits, one of the points that were reached is let go on; which one is the
choice, and all orders are tried. It sees far fewer interleavings than `explore`, which needs no
marks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import trio
import trio.testing

from ..errors import BadOption, BadScenario, Deadlock, InsideTrio
from .run import Scenario
from .scenario import check_scenario, name_of

MAX_ORDERS = 10_000

HANG_SECONDS = 1e9
"""Of the virtual clock; who still waits then waits for ever."""

_conductor: trio.lowlevel.RunVar[_Conductor] = trio.lowlevel.RunVar("conductor")


class BadOrder(AssertionError):
    """An order of points under which the scenario fails; what it raised is the `__cause__`.

    Attributes:
        order: the names of the points, in the order in which they were let go on.
    """

    __module__ = "supervisor.testing"

    def __init__(self, message: str, order: tuple[str, ...]) -> None:
        super().__init__(message)
        self.order = order

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.order)


@attrs.frozen
class Orders:
    """What was covered: how many orders were tried, and whether those were all."""

    runs: int
    exhausted: bool


async def point(name: str) -> None:
    """Let another task get ahead here, in a run of `explore_points`; elsewhere a checkpoint."""
    if not isinstance(name, str):
        raise BadOption(f"a point's name is a str, not {name!r}")
    conductor = _conductor.get(None)  # type: ignore[arg-type]
    if conductor is None:
        await trio.lowlevel.checkpoint()
    else:
        await conductor.reach(name)


def explore_points(async_fn: Scenario, *, max_runs: int = MAX_ORDERS) -> Orders:
    """Run a scenario under every order of its named points.

    Args:
        async_fn: an async function without arguments that comes to some `await point(name)`.
        max_runs: the most orders to try.

    Raises:
        BadOrder: the scenario fails, or deadlocks, under some order.
        BadScenario: this is no async function without arguments, or it comes to no point.
        BadOption: max_runs is no whole number from 1 on.
        InsideTrio: called from inside a Trio run.
    """
    check_scenario(async_fn, who="explore_points")
    if type(max_runs) is not int or max_runs < 1:
        raise BadOption(f"max_runs must be a whole number from 1 on, not {max_runs!r}")
    if trio.lowlevel.in_trio_run():
        raise InsideTrio("explore_points makes Trio runs of its own; call it from a sync function")
    numbers = random.getstate()
    try:
        return _search(async_fn, max_runs)
    finally:
        random.setstate(numbers)


def _search(async_fn: Scenario, max_runs: int) -> Orders:
    choices: list[int] | None = []
    runs = 0
    while choices is not None:
        if runs == max_runs:
            return Orders(runs, False)
        conductor = _Conductor(choices)
        runs += 1
        _run(async_fn, conductor)
        if not conductor.order:
            raise BadScenario(
                f"{name_of(async_fn)} came to no point: write `await point(name)` where another "
                "task may get ahead"
            )
        choices = _following(conductor.choices, conductor.options)
    return Orders(runs, True)


def _run(async_fn: Scenario, conductor: _Conductor) -> None:
    random.seed(0)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        trio.run(conductor.conduct, async_fn, clock=clock)
        return
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # noqa: ASYNC103  # trio.run is over: nothing is left to cancel
        failure = exc
    order = tuple(conductor.order)
    raise BadOrder(
        f"{name_of(async_fn)} fails: {type(failure).__name__}: {failure}\n"
        f"under the order {' · '.join(order)}",
        order,
    ) from failure


def _following(choices: Sequence[int], options: Sequence[int]) -> list[int] | None:
    """The next order, counting up from the last choice; None if there is none."""
    for number in reversed(range(len(choices))):
        if choices[number] + 1 < options[number]:
            return [*choices[:number], choices[number] + 1]
    return None


class _Conductor:
    """Lets points go on, one at a time.

    Attributes:
        order: the names, in the order in which they went on.
        choices: which of the waiting points was taken each time.
        options: how many there were.
    """

    def __init__(self, choices: Sequence[int]) -> None:
        self.order: list[str] = []
        self.choices: list[int] = []
        self.options: list[int] = []
        self._given: Iterator[int] = iter(choices)
        self._waiting: list[tuple[str, trio.Event]] = []
        self._reached = trio.Event()

    async def conduct(self, async_fn: Scenario) -> Any:
        _conductor.set(self)
        with trio.move_on_after(HANG_SECONDS) as patience:
            # A system task, which ends with the run: a nursery would wrap what the scenario raises.
            trio.lowlevel.spawn_system_task(self._let_go_on)
            await async_fn()
        if patience.cancelled_caught:
            raise Deadlock("every task waits for ever")

    async def reach(self, name: str) -> None:
        gate = trio.Event()
        self._waiting.append((name, gate))
        self._reached.set()
        await gate.wait()

    async def _let_go_on(self) -> None:
        while True:
            await self._reached.wait()
            await trio.testing.wait_all_tasks_blocked()
            self._waiting.sort(key=lambda point: point[0])  # however Trio ordered their tasks
            choice = next(self._given, 0)
            self.choices.append(choice)
            self.options.append(len(self._waiting))
            name, gate = self._waiting.pop(choice)
            self.order.append(name)
            gate.set()
            if not self._waiting:
                self._reached = trio.Event()
