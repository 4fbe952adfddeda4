"""Runs a failing schedule once more, slowly, and tells what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import trio

from ..errors import KitError, NeverEnds, Unfinished
from . import story
from .choosing import ByDeviations, Deviations
from .recording import Recording
from .run import Scenario, attempt
from .scenario import name_of
from .where import origin


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """What was raised, without the groups around it; Trio's own wrapper of a system task, too."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves_of(each)
    elif isinstance(error, trio.TrioInternalError) and error.__cause__ is not None:
        yield from leaves_of(error.__cause__)
    else:
        yield error


def no_failure(error: BaseException) -> BaseException | None:
    """What of an error says nothing about the scenario: a skip, an interruption, a misuse.

    `pytest.fail` raises a BaseException, as `pytest.skip` does; they are told apart by name, since
    pytest need not be there.
    """
    return next((leaf for leaf in leaves_of(error) if not _is_failure(leaf)), None)


def _is_failure(leaf: BaseException) -> bool:
    if isinstance(leaf, KitError):
        return isinstance(leaf, Unfinished)
    return isinstance(leaf, Exception) or type(leaf).__name__ == "Failed"


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
        lines.append(f"failed at {place}: {said(ran.error)}")
    if ran.error is None:
        lines.append("run once more to be told of, it did not fail: it is not deterministic")
    lines += ["", story.timeline(moves, names), ""]
    steps = f", max_steps={max_steps}" if isinstance(ran.error, NeverEnds) else ""
    lines.append(f'run it again: replay("{replay_text}", {_call(async_fn, args)}{steps})')
    return "\n".join(lines)


def said(error: BaseException) -> str:
    """What was raised first, in a line: pytest adds many to what an assertion says."""
    first, *others = leaves_of(error)
    line = str(first).partition("\n")[0]
    more = f" (and {len(others)} more)" if others else ""
    return type(first).__name__ + (f": {line}" if line else "") + more


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
