"""Runs a failing schedule once more, slowly, and tells what happened."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import KitError, Unfinished
from . import story
from .choosing import ByDeviations, Deviations
from .recording import Recording
from .run import Scenario, attempt
from .scenario import name_of
from .where import origin


def is_failure(error: BaseException) -> bool:
    """Whether an error says that the scenario is wrong; a skip or an interruption does not.

    `pytest.fail` raises a BaseException, as `pytest.skip` does; they are told apart by name, since
    pytest need not be there.
    """
    if isinstance(error, KitError):
        return isinstance(error, Unfinished)
    return isinstance(error, Exception | BaseExceptionGroup) or type(error).__name__ == "Failed"


def told(
    async_fn: Scenario,
    args: Sequence[object],
    deviations: Deviations,
    replay_text: str,
    max_steps: int,
) -> str:
    """The story of a schedule, in plain text; within a `session`."""
    recording = Recording()
    ran = attempt(
        async_fn, args, ByDeviations(deviations), max_steps=max_steps, watcher=recording
    )
    recording.finish()
    moves, names = recording.moves, recording.names
    lines = [f"schedule: {_shortened(story.plot(moves))}"]
    lines += [f"  {line}" for line in story.preemptions(moves)]
    if ran.error is not None and (place := origin(ran.error)) is not None:
        lines.append(f"failed at {place}: {type(ran.error).__name__}{said(ran.error)}")
    lines += ["", story.timeline(moves, names), ""]
    lines.append(f'run it again: replay("{replay_text}", {_call(async_fn, args)})')
    return "\n".join(lines)


def said(error: BaseException) -> str:
    """The first line of what an error says; pytest adds many to an assertion's."""
    line = str(error).partition("\n")[0]
    return f": {line}" if line else ""


def _call(async_fn: object, args: Sequence[object]) -> str:
    """How the scenario is passed to `replay`, with its arguments."""
    name = name_of(async_fn).rpartition(".")[2]
    given = [repr(arg) for arg in args]
    if isinstance(async_fn, partial):
        bound = [repr(arg) for arg in async_fn.args]
        bound += [f"{key}={value!r}" for key, value in async_fn.keywords.items()]
        name = f"functools.partial({', '.join([name, *bound])})"
    return ", ".join([name, *given])


def _shortened(plot: str, most: int = 2000) -> str:
    return plot if len(plot) <= most else "... " + plot[-most:].partition(" · ")[2]
