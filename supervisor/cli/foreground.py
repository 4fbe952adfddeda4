"""A job in the foreground: its output is ours, and so are the requests to stop.

The first Ctrl+C cancels the job and the streaming goes on to its final event; the second kills it;
the third leaves at once. That it was cancelled is said after the final event and not before.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs
import trio

from .._errors import ConnectionLost, JobNotFound, UnknownJobName
from .._model import (
    EventsLost,
    Job,
    JobEvent,
    JobFilter,
    JobRequest,
    JobState,
    LogEntry,
    LogsLagged,
)
from .._wire_records import item_to_wire, job_to_wire
from ..abc import JobControl, JobHandle, WatchItem
from .exits import Exit, code_of_job, usage_error
from .follow import Follower
from .output import say, to_json
from .signals import Stops, leave_now
from .streams import Streams
from .text import count_of, describe_end, one_line, own_places

__all__ = ["Foreground"]


class Foreground:
    """One run of one job.

    Args:
        control: where it runs.
        request: what; it has an id.
        as_json: print events and lines as JSON instead of the output.
        embedded: whether it runs in this process, which then ends with it.
        stop_timeout: seconds to wait, embedded, for a job that is stuck.
    """

    def __init__(
        self,
        control: JobControl,
        request: JobRequest,
        *,
        as_json: bool = False,
        embedded: bool = False,
        stop_timeout: float = 10.0,
    ) -> None:
        assert request.job_id is not None
        self._control = control
        self._request = request
        self._id = request.job_id
        self._as_json = as_json
        self._embedded = embedded
        self._stop_timeout = stop_timeout
        self._streams = Streams()
        self._asked = False
        self._started = trio.Event()
        self._stuck = trio.Event()
        self._ended = trio.Event()
        self._final: Job | None = None
        self._ours = True
        self._can_force = True
        self._forced = False
        self._where: tuple[str, ...] = ()

    async def run(self, stops: Stops) -> int:
        """Start the job, follow it to its end, and return the code to exit with.

        Args:
            stops: the signals. Of an embedded supervisor they are taken until it is closed, so
                that a further Ctrl+C does not tear the closing.

        Raises:
            SupervisorError: the job could not be started, or the connection was lost.
        """
        job = await self._run(stops)
        if job is None:
            return stops.code or Exit.INTERRUPTED
        if stops.code is not None:
            return stops.code
        return Exit.PIPE_CLOSED if self._streams.broken.is_set() else code_of_job(job)

    @property
    def started(self) -> bool:
        """Whether the job may run: it was asked for."""
        return self._asked

    async def _run(self, stops: Stops) -> Job | None:
        job: Job | None = None
        filter = JobFilter(job_ids=(self._id,))
        async with (
            self._control.watch(filter=filter, logs=True) as events,
            trio.open_nursery() as nursery,
        ):
            # All of these end with the job: none has anything to do after its last line.
            nursery.start_soon(self._streams.serve)
            nursery.start_soon(self._heed, stops, nursery)
            nursery.start_soon(self._stop_when_unread)
            nursery.start_soon(self._give_up_when_stuck, stops)
            handle = await self._start()
            nursery.start_soon(self._await_end)
            await Follower(self._control, self).follow(events, _as_begun(handle))
            job = await self._end()
            self._tell_end(job, stopped=stops.count > 0)
            await self._streams.drained()
            nursery.cancel_scope.cancel("the job has ended")
        return job

    async def _start(self) -> JobHandle:
        request = self._request
        options = {
            field.name: getattr(request, field.name)
            for field in attrs.fields(JobRequest)
            if field.name not in ("work", "arguments")
        }
        self._asked = True
        try:
            handle = await self._control.start(request.work, **options)
        except UnknownJobName as exc:
            raise usage_error(f"{exc}; to run a program: run -- {request.work}") from exc
        self._ours = handle.created
        self._can_force = handle.record.can_force
        self._started.set()
        return handle

    async def _await_end(self) -> None:
        """Asked before it ends: a server that shuts down answers what is under way, no more."""
        self._final = await self._control.wait(self._id)
        self._ended.set()

    async def _end(self) -> Job:
        await self._ended.wait()
        assert self._final is not None
        return self._final

    # --- what goes out (`follow.Sink`) ----------------------------------------------------------

    def line(self, entry: LogEntry) -> None:
        if self._as_json:
            self._item(entry)
        else:
            self._streams.line(entry)

    def event(self, event: JobEvent) -> None:
        if self._as_json:
            self._item(event)
        if event.type == "job.stuck":
            self._tell_stuck(event)
        elif self._is_forced(event):
            self._streams.say(f"job {self._id} does not leave; killing it")

    def lost(self, lag: LogsLagged) -> None:
        if self._as_json:
            self._item(lag)
        count = count_of(lag.to_n - lag.from_n + 1, "line")
        self._streams.say(f"{count} of output came too fast; no longer to be had")

    def events_lost(self, gap: EventsLost) -> None:
        self._streams.say(f"what happened to job {self._id} meanwhile is not known")

    def _is_forced(self, event: JobEvent) -> bool:
        """Whether it is killed, and not because we were told to."""
        forced = event.type == "job.escalated" and event.data.get("rung") == "force"
        return forced and self._can_force and not self._forced

    async def room(self) -> None:
        await self._streams.room()

    def _item(self, item: WatchItem) -> None:
        method, params = item_to_wire(item)
        self._document({"method": method, "params": params})

    def _document(self, value: Any) -> None:
        self._streams.data(to_json(value))

    def _tell_stuck(self, event: JobEvent) -> None:
        self._where = own_places(event.data.get("where", ()))
        why = event.data.get("why", "it does not end")
        self._streams.say(f"job {self._id} is stuck: {why}; {self._remains()}")
        self._stuck.set()

    def _tell_end(self, job: Job, *, stopped: bool) -> None:
        wire = job_to_wire(job)
        if self._as_json:
            self._document({"job": wire})
        elif "result" in wire:
            self._document(wire["result"])
        elif "result_error" in wire:
            self._streams.say(f"job {job.id}: {one_line(wire['result_error'])}")
        if stopped or job.state is not JobState.SUCCEEDED:
            self._streams.say(f"job {job.id} {describe_end(job)}")

    # --- what comes in --------------------------------------------------------------------------

    async def _heed(self, stops: Stops, nursery: trio.Nursery) -> None:
        async for count in stops:
            if count >= 3:
                self._leave(stops)
            nursery.start_soon(self._ask if count == 1 else self._force, nursery.cancel_scope)

    async def _ask(self, follower: trio.CancelScope) -> None:
        await self._started.wait()
        if not self._ours:
            self._streams.say(f"job {self._id} goes on: {self._how_to_look()}")
            await self._streams.drained()
            follower.cancel("detached from a job that somebody else started")
            return
        again = "kill it" if self._can_force else "ask again"
        self._streams.say(f"cancelling job {self._id} ... (again: {again}; a third time: leave)")
        await self._cancel("asked to stop at the keyboard or by a signal", force=False)

    async def _force(self, _: trio.CancelScope) -> None:
        await self._started.wait()
        if self._ours:
            self._forced = True
            if self._can_force:
                self._streams.say(f"killing job {self._id} ...")
            else:
                self._streams.say(f"job {self._id} is code and cannot be killed; asking it again")
            await self._cancel("asked to stop a second time", force=True)

    async def _cancel(self, reason: str, *, force: bool) -> None:
        # It may be forgotten already; that the connection is lost, the follower is told too.
        with suppress(JobNotFound, ConnectionLost):
            await self._control.cancel(self._id, reason=reason, force=force)

    async def _stop_when_unread(self) -> None:
        """As SIGPIPE would end the program."""
        await self._streams.broken.wait()
        await self._started.wait()
        if self._ours:
            await self._cancel("its output cannot be written any more", force=False)

    async def _give_up_when_stuck(self, stops: Stops) -> None:
        """In this process a job that does not end would hold up our end for ever."""
        await self._stuck.wait()
        if self._embedded:
            await trio.sleep(self._stop_timeout)
            self._leave(stops)

    def _leave(self, stops: Stops) -> None:
        say(f"leaving; job {self._id} had not ended: {self._how_to_look()}")
        leave_now(stops.code or Exit.FAILED)

    def _how_to_look(self) -> str:
        return self._remains() if self._embedded else f"trio-supervisor show {self._id}"

    def _remains(self) -> str:
        return f"alive: {'; '.join(self._where)}" if self._where else "what is alive is not known"


def _as_begun(handle: JobHandle) -> Job:
    """The job as the watch has it to tell: of one that we started it has the end, too."""
    job = handle.record
    return attrs.evolve(job, state=JobState.PENDING) if handle.created else job
