"""A watch over the wire: where it stands, and whether what comes follows on that.

Every event says which position it follows (`prev_seq`). One that is known already is dropped; one
that does not follow on the last one shows that something is missing, and then the connection is
worth nothing: it is made anew, and the watch goes on from the last position that was good.

Log lines are not replayed. They have numbers instead: what is known is dropped, and what is missing
is told as `LogsLagged`, as if it had been dropped for a slow reader; `job.logs` has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._errors import ProtocolError
from .._model import (
    EventsLost,
    Job,
    JobEvent,
    JobFilter,
    LogEntry,
    LogsLagged,
    ProgressEvent,
)
from .._watch import Watch
from .._wire_records import filter_to_wire, item_from_wire

__all__ = ["Gap", "RemoteWatch", "subscribe_params"]

ENDED_JOBS = 1000
"""How many ended jobs a watch remembers, to know lines that come too late."""

COUNTED_JOBS = 100_000
"""How many jobs a watch counts the lines of."""


def subscribe_params(
    since: tuple[str, int] | None, filter: JobFilter | None, logs: bool, progress: bool
) -> dict[str, Any]:
    """The params of `events.subscribe`; `since` None begins now."""
    params: dict[str, Any] = {"logs": logs, "progress": progress}
    if filter is not None:
        params["filter"] = filter_to_wire(filter)
    if since is not None:
        params["since"] = {"instance": since[0], "seq": since[1]}
    return params


class Gap(ProtocolError):
    """Something is missing between what came before and what comes now."""


class _LineCount:
    """What is known of a job's lines: the last number, and the last attempt that ended."""

    __slots__ = ("ended", "last")

    def __init__(self, last: int) -> None:
        self.last = last
        self.ended = 0


class RemoteWatch(Watch):
    """One watch of a client, over all its connections.

    Attributes:
        reached: the last event it has, or has been told that it need not have.
    """

    def __init__(
        self,
        *,
        instance: str,
        from_seq: int,
        filter: JobFilter | None,
        logs: bool,
        progress: bool,
    ) -> None:
        super().__init__(instance=instance, from_seq=from_seq)
        self.reached = from_seq
        self.filter = filter
        self.logs = logs
        self.progress = progress
        self._counts: dict[str, _LineCount] = {}
        self._ended_jobs: dict[str, None] = {}

    def params(self, *, replay: bool) -> dict[str, Any]:
        """Of `events.subscribe`, from its position or from now."""
        since = (self.instance, self.reached) if replay else None
        return subscribe_params(since, self.filter, self.logs, self.progress)

    # --- what comes ------------------------------------------------------------------------------

    def take(self, method: str, params: Mapping[str, Any]) -> bool:
        """A notification for it; whether it told anything new.

        Raises:
            Gap: something is missing before it.
            ProtocolError: it is not well formed.
        """
        if method == "events.bookmark":
            return self._move(params, _number(params, "seq"))
        item = item_from_wire(method, params)
        match item:
            case JobEvent():
                if not self._move(params, item.seq):
                    return False
                self._note(item)
                self.offer_event(item)
            case LogEntry():
                return self._line(item)
            case LogsLagged():
                return self._lag(item.job_id, item.from_n, item.to_n)
            case ProgressEvent():
                self.offer_progress(item)
            case _:
                return False
        return True

    def _move(self, params: Mapping[str, Any], seq: int) -> bool:
        """Step to a position; False: it is not a new one."""
        if params.get("instance", self.instance) != self.instance:
            raise Gap("an event of another history than the one that is watched")
        before = _number(params, "prev_seq")
        if seq <= self.reached:
            return False
        if before != self.reached:
            raise Gap(f"position {seq} follows {before}, but {self.reached} was the last")
        self.reached = seq
        return True

    def _note(self, event: JobEvent) -> None:
        """What the event says of its job's lines."""
        if not self.logs:
            return
        if event.type in ("job.pending", "job.starting") and event.attempt == 1:
            self._count(event.job_id, 0)
        lines = self._counts.get(event.job_id)
        if lines is None:
            return
        if event.type == "job.finished":
            self._end(event.job_id, lines, event.attempt)
        elif event.attempt > lines.ended:
            self._ended_jobs.pop(event.job_id, None)

    def _end(self, job_id: str, lines: _LineCount, attempt: int) -> None:
        lines.ended = attempt
        self._ended_jobs.pop(job_id, None)
        self._ended_jobs[job_id] = None
        if len(self._ended_jobs) > ENDED_JOBS:
            self._forget(next(iter(self._ended_jobs)))

    def _forget(self, job_id: str) -> None:
        self._counts.pop(job_id, None)
        self._ended_jobs.pop(job_id, None)

    def _count(self, job_id: str, last: int) -> _LineCount:
        lines = self._counts.get(job_id)
        if lines is None:
            lines = self._counts[job_id] = _LineCount(last)
            if len(self._counts) > COUNTED_JOBS:
                self._forget(next(iter(self._counts)))
        return lines

    def _line(self, line: LogEntry) -> bool:
        # The first line of a job that began before the watch did: those before it are none of ours.
        lines = self._count(line.job_id, line.n - 1)
        if line.n <= lines.last or line.attempt <= lines.ended:
            return False
        if line.n > lines.last + 1:
            self._lag(line.job_id, lines.last + 1, line.n - 1)
        lines.last = line.n
        self.offer_line(line)
        return True

    def _lag(self, job_id: str, from_n: int, to_n: int) -> bool:
        lines = self._count(job_id, from_n - 1)
        if to_n <= lines.last:
            return False
        self.offer_lag(LogsLagged(job_id=job_id, from_n=lines.last + 1, to_n=to_n))
        lines.last = to_n
        return True

    # --- after a reconnect -----------------------------------------------------------------------

    def open_jobs(self) -> list[str]:
        """The jobs whose lines may have been missed; none if it does not hear lines."""
        if not self.logs:
            return []
        named = self.filter.job_ids if self.filter is not None else None
        jobs = dict.fromkeys(named or ())
        jobs.update(dict.fromkeys(self._counts))
        return [job for job in jobs if job not in self._ended_jobs]

    def lines_exist(self, job: Job) -> None:
        """The job is known to have so many lines by now."""
        if job.log_lines > 0:
            self._lag(job.id, 1, job.log_lines)

    def lose(self, instance: str, resumes_at: int) -> None:
        """It could not be taken up at its position, and goes on from another."""
        lost = EventsLost(instance=instance, after_seq=self.reached, resumes_at=resumes_at)
        if instance != self.instance:
            self._counts.clear()
            self._ended_jobs.clear()
        self.instance = instance
        self.reached = resumes_at
        self.offer_event(lost)


def _number(params: Mapping[str, Any], name: str) -> int:
    value = params.get(name)
    if type(value) is not int or value < 0:
        raise ProtocolError(f"a notification with a {name} that is no position")
    return value
