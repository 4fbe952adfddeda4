"""How far things are that take long, on one line of the terminal, gone when they are done."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from .._errors import SupervisorError
from .._model import JobEvent, JobFilter
from ..abc import JobControl, JobWatch
from .output import is_terminal
from .text import count_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["open_line", "progress_of", "showing", "still"]

NAMED = 3
"""How many of the jobs that are left are named."""

SPINNER = 3
"""Columns of the terminal before the text."""


class _Line:
    """A line that is made when it is drawn, not whenever something happens."""

    def __init__(self, console: Console, tell: Callable[[], str]) -> None:
        self._console = console
        self._tell = tell

    def __rich__(self) -> Text:
        from rich.text import Text

        # Never broken: what takes two lines could not be taken back as one.
        line = Text(self._tell(), no_wrap=True)
        line.truncate(max(1, self._console.width - SPINNER), overflow="ellipsis")
        return line


@contextmanager
def open_line(tell: Callable[[], str]) -> Iterator[None]:
    """Show on stderr for the block what `tell` says at each moment; nothing where nobody looks."""
    if not is_terminal(sys.stderr):
        yield
        return
    from rich.console import Console

    console = Console(file=sys.stderr)
    with console.status(_Line(console, tell)):
        yield


@asynccontextmanager
async def showing(
    control: JobControl, job_ids: Sequence[str], filter: JobFilter | None = None
) -> AsyncIterator[None]:
    """Show for the block how far these jobs are with their end, if somebody looks at stderr.

    Args:
        control: where they run.
        job_ids: the jobs.
        filter: one that means all of them, where it would take too much to name them.
    """
    if not job_ids or not is_terminal(sys.stderr):
        yield
        return
    filter = filter or JobFilter(job_ids=tuple(job_ids))
    stages = dict.fromkeys(job_ids, ASKED)
    async with control.watch(filter=filter) as events, trio.open_nursery() as nursery:
        nursery.start_soon(_take, events, stages)
        with open_line(lambda: progress_of(stages)):
            yield
        nursery.cancel_scope.cancel("it is answered")


ASKED, GONE = "asked", "gone"


async def _take(events: JobWatch, stages: dict[str, str]) -> None:
    try:
        async for event in events:
            if isinstance(event, JobEvent) and event.job_id in stages:
                stages[event.job_id] = _stage(event)
    except SupervisorError:
        pass  # whoever waits for the answers is told


def _stage(event: JobEvent) -> str:
    return GONE if event.state.is_final else str(event.data.get("rung") or event.state)


def progress_of(stages: dict[str, str]) -> str:
    """How many jobs are gone, and at which stage the others are, in a line."""
    if len(stages) == 1:
        ((job_id, stage),) = stages.items()
        return f"job {job_id}: {stage}"
    counts = Counter(stages.values())
    told = f"{counts.pop(GONE, 0)} of {count_of(len(stages), 'job')} gone"
    if not counts:
        return told
    at = ", ".join(f"{number} {stage}" for stage, number in counts.items())
    left = [job_id for job_id, stage in stages.items() if stage != GONE]
    return f"{told}; {at}; still: {still(left)}"


def still(job_ids: Iterable[str]) -> str:
    """Some of these jobs, and how many more there are."""
    ids = [*job_ids]
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"{', '.join(ids[:NAMED])}{more}"
