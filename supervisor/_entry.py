"""A live job in this process: what the supervisor holds of it, and what its body sees.

One object serves as the registry's entry, as `current_job()` and as the launcher's sink, because
an idle job should cost little more than its task. It only holds; the engine acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._context import JobContext
from ._model import Progress
from ._options import check_number, check_text
from ._records import JobSpec, Record
from ._view import stop_of

if TYPE_CHECKING:
    from ._engine import Engine
    from ._timers import Timer
    from .abc import RunningJob

__all__ = ["Entry"]

LINE_LIMIT = 64 * 1024
"""Characters of one log line; a longer one becomes several, as with a command's output."""


class Entry(JobContext):
    """One live job; after its end whoever still holds it sees the final record."""

    __slots__ = (
        "_asked",
        "_waiters",
        "exception",
        "latest_progress",
        "owner",
        "record",
        "running",
        "seq",
        "spec",
        "successor",
        "timer",
    )

    def __init__(self, owner: Engine, spec: JobSpec, record: Record) -> None:
        self.owner = owner
        self.spec = spec
        self.record = record
        self.seq = 0
        self.running: RunningJob | None = None
        self.timer: Timer[Entry] | None = None
        self.successor: Entry | None = None
        self.exception: BaseException | None = None
        self.latest_progress: Progress | None = None
        self._waiters: trio.lowlevel.ParkingLot | None = None
        self._asked: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<job {self.spec.id} attempt {self.record.attempt}: {self.record.state}>"

    # --- for waiters ------------------------------------------------------------------------

    async def wait_changed(self) -> None:
        """Wait until the job is final, or is stuck now and was not before."""
        if self._waiters is None:  # most jobs are never waited for
            self._waiters = trio.lowlevel.ParkingLot()
        await self._waiters.park()

    def wake_waiters(self) -> None:
        if self._waiters is not None:
            self._waiters.unpark_all()

    def tell_cancel_requested(self) -> None:
        if self._asked is not None:
            self._asked.set()

    # --- JobSink: what the launcher says ------------------------------------------------------

    def started(self) -> None:
        self.owner.on_started(self)

    def log_line(self, stream: str, data: str | bytes) -> None:
        self.owner.on_log(self, stream, data)

    # --- JobContext: what the body sees -------------------------------------------------------

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def attempt(self) -> int:
        return self.record.attempt

    @property
    def cancel_requested(self) -> bool:
        return stop_of(self.record) is not None

    @property
    def reason(self) -> str | None:
        stop = stop_of(self.record)
        return None if stop is None else stop.first.reason

    async def wait_cancel_requested(self) -> None:
        if self._asked is None:
            self._asked = trio.Event()
            if self.cancel_requested:
                self._asked.set()
        await self._asked.wait()

    def progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        checked_total = None if total is None else check_number("total", total)
        if message is not None:
            message = check_text("message", message)
        news = Progress(check_number("done", done), checked_total, message)
        self.owner.on_progress(self, news)

    def log(self, text: str) -> None:
        for line in str(text).split("\n"):
            for start in range(0, len(line) or 1, LINE_LIMIT):
                self.owner.on_log(self, "log", line[start : start + LINE_LIMIT])
