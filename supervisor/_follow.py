"""A job's lines in their order, none of them twice, up to its end.

Works on any `JobControl`: what the watch brings is passed on, and what it did not bring (lines from
before, lines that it dropped, lines lost with a connection) is fetched from the job's log.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from ._errors import ConnectionLost, JobNotFound
from ._model import EventsLost, Job, JobEvent, JobFilter, LogEntry, LogsLagged
from ._options import check_count

if TYPE_CHECKING:
    from .abc import JobControl, JobWatch, WatchItem

__all__ = ["LogFollow"]

LAST_LOOK = 5.0
"""Seconds that the last look into the log may take when the job has ended: its server may be gone,
and nearly always there is nothing more to be seen."""


ALL = math.inf
"""The number up to which lines are to be fetched if it is all there are."""


class LogFollow:
    """The lines of one job; made by `open`."""

    def __init__(self, control: JobControl, job: Job, since: int, events: JobWatch) -> None:
        self._control = control
        self._job_id = job.id
        self._attempt = job.attempt
        self._ended = job.state.is_final
        self._events = events
        self._last = since
        # What the log holds already is to be fetched; of a job without lines the watch has all.
        behind = job.log_lines > since or self._ended
        self._behind: float | None = ALL if behind else None
        self._ready: deque[LogEntry | LogsLagged] = deque()
        self._held: LogEntry | None = None
        self._unsure = False
        self._look_again = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls, control: JobControl, job_id: str, since: int
    ) -> AsyncIterator[AsyncIterator[LogEntry | LogsLagged]]:
        """See `JobControl.follow_logs`."""
        check_count("since", since, 0)
        job = await control.get(job_id)
        filter = JobFilter(job_ids=(job.id,))
        async with control.watch(filter=filter, logs=True) as events:
            # Once more: it may have ended before the watch began.
            yield cls(control, await control.get(job.id), since, events)

    def __aiter__(self) -> AsyncIterator[LogEntry | LogsLagged]:
        return self

    async def __anext__(self) -> LogEntry | LogsLagged:
        # What is still to be done is written down before each await: whoever gives up waiting for
        # a line may ask for it again.
        while not self._ready:
            if self._behind is not None:
                await self._fetch(self._behind)
            elif self._held is not None:
                held, self._held = self._held, None
                self._pass_on(held)
            elif self._look_again:
                await self._look_for_the_last()
            elif self._unsure:
                await self._look_for_the_end()
            elif self._ended:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            else:
                self._take(await anext(self._events))
        return self._ready.popleft()

    def _take(self, item: WatchItem) -> None:
        match item:
            case LogEntry() if item.n > self._last + 1:
                self._held, self._behind = item, item.n - 1
            case LogEntry():
                self._pass_on(item)
            case LogsLagged() if item.to_n > self._last:
                self._behind = item.to_n
            case JobEvent() if item.type == "job.finished" and item.attempt >= self._attempt:
                self._ended = self._look_again = True
            case EventsLost():
                self._unsure = True

    async def _look_for_the_last(self) -> None:
        """Lines that were lost on the way just before the end are told of by nobody else."""
        with trio.move_on_after(LAST_LOOK), suppress(JobNotFound):  # the server may be another one
            await self._fetch(ALL)
        self._look_again = False

    async def _look_for_the_end(self) -> None:
        """It may be among the events that were lost; another server does not know the job."""
        job = await self._control.get(self._job_id)
        self._unsure = False
        self._ended = job.state.is_final
        self._behind = ALL

    def _pass_on(self, entry: LogEntry) -> None:
        if entry.n > self._last + 1:
            self._gone(entry.n - 1)
        if entry.n > self._last:
            self._ready.append(entry)
            self._last = entry.n

    def _gone(self, to_n: int) -> None:
        if to_n > self._last:
            self._ready.append(LogsLagged(job_id=self._job_id, from_n=self._last + 1, to_n=to_n))
            self._last = to_n

    async def _fetch(self, up_to: float) -> None:
        """Take a page of the log, and say whether the lines up to this one need another."""
        try:
            page = await self._control.logs(self._job_id, since=self._last)
        except ConnectionLost:
            # A server that shuts down. The watch has the end, or tells of the loss.
            self._close_gap(up_to)
            return
        for entry in page.entries:
            self._pass_on(entry)
        if not page.entries:
            self._gone(page.next)
        if page.entries and not page.eof and self._last < up_to:
            self._behind = up_to
        else:
            self._close_gap(up_to)

    def _close_gap(self, up_to: float) -> None:
        """What is not in the log by now never will be."""
        self._behind = None
        if up_to != ALL:
            self._gone(int(up_to))
