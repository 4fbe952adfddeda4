"""How far the jobs are that are being cancelled, on one line of the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from .._errors import SupervisorError
from .._model import JobEvent, JobFilter
from ..abc import JobControl, JobWatch
from .output import is_terminal

__all__ = ["progress_of", "showing"]


@asynccontextmanager
async def showing(control: JobControl, job_ids: Sequence[str]) -> AsyncIterator[None]:
    """Show for the block how far these jobs are, if somebody looks at stderr."""
    if not job_ids or not is_terminal(sys.stderr):
        yield
        return
    filter = JobFilter(job_ids=tuple(job_ids))
    async with control.watch(filter=filter) as events, trio.open_nursery() as nursery:
        nursery.start_soon(_show, events, job_ids)
        yield
        nursery.cancel_scope.cancel("it is answered")


async def _show(events: JobWatch, job_ids: Sequence[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    stages = dict.fromkeys(job_ids, "asked")
    with Console(stderr=True).status(Text(progress_of(stages))) as status:
        try:
            async for event in events:
                if isinstance(event, JobEvent):
                    stages[event.job_id] = str(event.data.get("rung") or event.state)
                    status.update(Text(progress_of(stages)))
        except SupervisorError:
            pass  # whoever waits for the answers is told


def progress_of(stages: dict[str, str]) -> str:
    """How many jobs are at which stage, in a line."""
    if len(stages) == 1:
        ((job_id, stage),) = stages.items()
        return f"job {job_id}: {stage}"
    counts = Counter(stages.values())
    return f"{len(stages)} jobs: " + ", ".join(f"{n} {stage}" for stage, n in counts.items())
