"""The whole story of a history in which something does not hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, TypeAlias

from .._linear import NotLinearizable
from .._schedules import story
from .._schedules.choosing import ByDeviations
from .._schedules.recording import Recording
from .._schedules.run import attempt, session
from .._schedules.schedule import Schedule
from ..errors import Unfinished
from .commands import History
from .invariants import INVARIANTS, Broken

__all__ = ["MAX_STEPS", "HistoryBroken", "Over", "told_of"]

Over: TypeAlias = Literal["process", "name", "wire", "faulty"]

MAX_STEPS = 200_000
"""A play of more steps goes round in circles: over the wire a small history has some thousands."""

PLOT = 600
"""Characters of the last moves of a schedule that are told."""


class HistoryBroken(AssertionError):
    """Something that must hold in every history does not hold in this one.

    Attributes:
        invariant: what does not hold, in words.
        number: its number, as in "I3".
        history: what was played.
        schedule: how it was scheduled.
        told: the commands that were played, each with what it was answered.
    """

    def __init__(
        self,
        message: str,
        number: str,
        history: History,
        schedule: Schedule,
        told: tuple[str, ...],
    ) -> None:
        super().__init__(message)
        self.number = number
        self.invariant = INVARIANTS[number]
        self.history = history
        self.schedule = schedule
        self.told = told

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.number, self.history, self.schedule, self.told)


def told_of(
    error: Exception,
    history: History,
    schedule: Schedule,
    over: Over,
    told: tuple[str, ...],
    happened: tuple[str, ...],
    play: Callable[[], Awaitable[None]],
) -> HistoryBroken:
    """What was raised, as the story of what led to it.

    Args:
        error: what the play raised.
        history: what was played.
        schedule: how it was scheduled.
        over: how the supervisor was reached.
        told: the commands that were played, each with what it was answered.
        happened: the faults that have come about.
        play: plays it again, for the story of the schedule.
    """
    number, detail = _verdict(error)
    lines = [f"this does not hold: {INVARIANTS[number]}{f' ({number})' * number.startswith('I')}"]
    lines += [f"  {line}" for line in detail.splitlines()]
    lines += ["", f"what happened, over {over!r}:", *_commands_in_words(history, told)]
    if happened:
        lines += ["", "faults that came about:", *(f"  {each}" for each in happened)]
    lines += ["", f"schedule: {schedule}", *_schedule_in_words(schedule, play)]
    lines += ["", "to play it again:", ""]
    lines += [f"  {line}".rstrip() for line in paste(history, schedule, over)]
    return HistoryBroken("\n".join(lines), number, history, schedule, told)


def _commands_in_words(history: History, told: tuple[str, ...]) -> Iterator[str]:
    for place, line in enumerate(told, 1):
        yield f"  {place}. {line}"
    left = len(history.commands) - len(told)
    yield f"  ({left} more were not played)" if left else "  (and what follows: the shutdown)"


def _schedule_in_words(schedule: Schedule, play: Callable[[], Awaitable[None]]) -> Iterator[str]:
    """Who was preempted, and where; nobody is without deviations."""
    if not schedule.deviations:
        return
    recording = Recording()
    with session():
        chooser = ByDeviations(schedule.deviations, wrap=True)
        attempt(play, (), chooser, max_steps=MAX_STEPS, watcher=recording)
    recording.finish()
    plot = story.plot(recording.moves)
    yield f"  {plot if len(plot) <= PLOT else '... ' + plot[-PLOT:].partition(' · ')[2]}"
    for line in story.preemptions(recording.moves):
        yield f"  {line}"


def paste(history: History, schedule: Schedule, over: Over) -> list[str]:
    """The lines that play it again."""
    arguments = [repr(history)]
    if schedule.deviations:
        arguments.append(f"Schedule({schedule.deviations!r})")
    if over != "process":
        arguments.append(f"over={over!r}")
    return [
        "from supervisor.testing import Schedule, check_history",
        "from supervisor.testing.commands import *",
        "",
        f"check_history({', '.join(arguments)})",
    ]


def _verdict(error: Exception) -> tuple[str, str]:
    """Which invariant is broken, and what was seen."""
    leaves = [*_leaves(error)]
    for leaf in leaves:
        if isinstance(leaf, Broken):
            return leaf.number, leaf.detail
    for leaf in leaves:
        if isinstance(leaf, NotLinearizable):
            return "order", str(leaf)
        if isinstance(leaf, Unfinished):
            return "I15", str(leaf)
    for leaf in leaves:
        if isinstance(leaf, AssertionError):
            return "yours", str(leaf) or "an assertion failed"
    return "alive", f"{type(leaves[0]).__name__}: {leaves[0]}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that a group holds."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
