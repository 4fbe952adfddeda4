"""Tries, once in a process, whether this Trio can be driven as `control` drives it.

Private names that are still there may have come to mean something else; so it is behaviour that is
tried: three tasks of three steps under scripted schedules, a jump of the clock, a deadlock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import trio

from ..errors import Deadlock, UnsupportedTrio
from .choosing import ByDeviations

_EXPECTED = {
    (): "a0 a1 a2 b0 b1 b2 c0 c1 c2",
    ((1, 1),): "a0 b0 b1 b2 c0 c1 c2 a1 a2",
    ((1, 2), (0, 1)): "a0 c0 b0 b1 b2 a1 a2 c1 c2",
}


@cache
def check(attempt: Callable[..., Any]) -> None:
    """Refuse a Trio that does not do what the schedules need.

    Raises:
        UnsupportedTrio: naming the version, what differed, and what works all the same.
    """
    try:
        problem = _problem(attempt)
    except Exception as exc:
        problem = f"{type(exc).__name__}: {exc}"
    if problem is not None:
        raise UnsupportedTrio(
            f"Trio {trio.__version__} cannot be driven step by step ({problem}); 0.31 to 0.35 are "
            "known to work. supervisor.testing.explore_points needs only Trio's public names: "
            "mark the moments that matter with `await point(name)`, and it tries their orders"
        )


def _problem(attempt: Callable[..., Any]) -> str | None:
    for deviations, expected in _EXPECTED.items():
        seen: list[str] = []
        ran = attempt(_three_tasks, (seen,), ByDeviations(deviations))
        if ran.error is not None:
            return f"{type(ran.error).__name__}: {ran.error}"
        if " ".join(seen) != expected:
            return f"schedule {deviations} ran {' '.join(seen)}"
    if attempt(_sleep, (), ByDeviations(())).value != 5.0:
        return "the clock does not jump"
    if attempt(_sleep, (), ByDeviations(((0, 1),))).value != 5.0:
        return "time does not pass on command"
    if not isinstance(attempt(trio.sleep_forever, (), ByDeviations(())).error, Deadlock):
        return "a deadlock goes unnoticed"
    return None


async def _three_tasks(seen: list[str]) -> None:
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(_three_steps, name, seen)


async def _three_steps(name: str, seen: list[str]) -> None:
    for step in range(3):
        seen.append(f"{name}{step}")
        await trio.lowlevel.checkpoint()


async def _sleep() -> float:
    began = trio.current_time()
    with trio.move_on_after(5.0):
        await trio.sleep_forever()
    return trio.current_time() - began
