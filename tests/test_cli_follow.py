"""A job is followed line by line: in order, none twice, what is lost is counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import trio
from cli_records import job
from hypothesis import given
from hypothesis import strategies as st

from supervisor import (
    ConnectionLost,
    EventsLost,
    Job,
    JobEvent,
    JobState,
    LogEntry,
    LogPage,
    LogsLagged,
    Progress,
    ProgressEvent,
)
from supervisor.abc import JobWatch, WatchItem
from supervisor.cli.follow import Follower

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def line(n: int) -> LogEntry:
    return LogEntry(job_id="j1", attempt=1, n=n, time=NOW, stream="stdout", text=str(n))


def lagged(from_n: int, to_n: int) -> LogsLagged:
    return LogsLagged(job_id="j1", from_n=from_n, to_n=to_n)


def finished(attempt: int = 1) -> JobEvent:
    return JobEvent(
        instance="i", seq=9, time=NOW, type="job.finished", job_id="j1", attempt=attempt,
        state=JobState.SUCCEEDED,
    )  # fmt: skip


class FakeWatch(JobWatch):
    """Gives these items, then ends; the ones in a burst are there at once."""

    def __init__(self, items: Iterable[WatchItem], burst: int = 1) -> None:
        self.from_seq = 0
        self.items = list(items)
        self._burst = burst
        self._taken = 0

    async def __anext__(self) -> WatchItem:
        await trio.lowlevel.checkpoint()
        if not self.items:
            raise StopAsyncIteration
        return self.items.pop(0)

    def take_nowait(self) -> WatchItem | None:
        self._taken += 1
        return self.items.pop(0) if self.items and self._taken % self._burst else None


class FakeControl:
    """Has the lines in `kept` in its log, `limit` of them a page."""

    def __init__(self, kept: Sequence[int], limit: int = 1000, lost: bool = False) -> None:
        self.kept = kept
        self.limit = limit
        self.lost = lost
        self.asked: list[int] = []

    async def logs(self, job_id: str, *, since: int = 0, limit: int = 1000) -> LogPage:
        await trio.lowlevel.checkpoint()
        if self.lost:
            raise ConnectionLost("gone")
        self.asked.append(since)
        entries = [line(n) for n in self.kept if n > since][: self.limit]
        following = entries[-1].n if entries else since
        return LogPage(entries=tuple(entries), next=following, eof=False)

    async def get(self, job_id: str) -> Job:
        await trio.lowlevel.checkpoint()
        return job(JobState.SUCCEEDED)


class Taken:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.waits = 0

    def line(self, entry: LogEntry) -> None:
        self.got.append(entry.n)

    def event(self, event: JobEvent) -> None:
        self.got.append(event.type)

    def lost(self, lag: LogsLagged) -> None:
        assert lag.from_n == max((n for n in self.got if isinstance(n, int)), default=0) + 1
        self.got.append(f"-{lag.to_n - lag.from_n + 1}")

    def events_lost(self, gap: EventsLost) -> None:
        self.got.append("events lost")

    async def room(self) -> None:
        self.waits += 1
        await trio.lowlevel.checkpoint()


def follow(watch: FakeWatch, control: FakeControl, attempt: int = 1) -> list[Any]:
    sink = Taken()

    async def main() -> None:
        with trio.fail_after(5):
            found = attrs.evolve(job(JobState.RUNNING), attempt=attempt)
            await Follower(control, sink).follow(watch, found)  # type: ignore[arg-type]

    trio.run(main)
    return sink.got


def test_lines_and_events_in_their_order() -> None:
    news = ProgressEvent(job_id="j1", attempt=1, progress=Progress(1))
    control = FakeControl([])
    got = follow(FakeWatch([line(1), news, line(2), finished(), line(3)]), control)
    assert got == [1, 2, "job.finished"]


def test_job_that_had_ended_is_not_waited_for() -> None:
    sink = Taken()

    async def main() -> None:
        control: Any = FakeControl([1, 2])
        with trio.fail_after(5):
            await Follower(control, sink).follow(FakeWatch([]), job(JobState.FAILED))

    trio.run(main)
    assert sink.got == [1, 2]


def test_final_event_comes_after_lines_that_were_lost_before_it() -> None:
    assert follow(FakeWatch([line(1), finished()]), FakeControl([1, 2])) == [
        1, 2, "job.finished",
    ]  # fmt: skip


def test_end_that_was_lost_is_looked_for() -> None:
    gap = EventsLost(instance="i", after_seq=1, resumes_at=5)
    control = FakeControl([1, 2])
    assert follow(FakeWatch([line(1), gap]), control) == [1, "events lost", 2]


def test_lines_that_came_before_the_watch_are_fetched() -> None:
    assert follow(FakeWatch([line(3), finished()]), FakeControl([1, 2, 3])) == [
        1, 2, 3, "job.finished",
    ]  # fmt: skip


def test_lagged_lines_are_fetched_and_not_repeated() -> None:
    watch = FakeWatch([line(1), lagged(2, 4), line(4), line(5), finished()])
    assert follow(watch, FakeControl([1, 2, 3, 4, 5])) == [1, 2, 3, 4, 5, "job.finished"]


def test_lines_that_nobody_has_any_more_are_counted() -> None:
    watch = FakeWatch([line(1), lagged(2, 9), line(10), finished()])
    assert follow(watch, FakeControl([8, 9, 10])) == [1, "-6", 8, 9, 10, "job.finished"]
    watch = FakeWatch([line(1), lagged(2, 9), finished()])
    assert follow(watch, FakeControl([])) == [1, "-8", "job.finished"]


def test_fetching_goes_on_page_by_page() -> None:
    control = FakeControl(range(1, 8), limit=2)
    assert follow(FakeWatch([lagged(1, 7), finished()]), control) == [
        *range(1, 8), "job.finished",
    ]  # fmt: skip
    assert control.asked == [0, 2, 4, 6, 7]


def test_server_that_leaves_while_lines_are_fetched_does_not_hide_the_end() -> None:
    control = FakeControl([1, 2, 3], lost=True)
    assert follow(FakeWatch([line(1), lagged(2, 3), finished()]), control) == [
        1, "-2", "job.finished",
    ]  # fmt: skip


def test_end_of_an_earlier_attempt_is_not_the_end() -> None:
    watch = FakeWatch([finished(1), line(1), finished(2), line(2)])
    assert follow(watch, FakeControl([]), attempt=2) == ["job.finished", 1, "job.finished"]


def test_burst_is_taken_whole_before_the_writer_is_asked_for_room() -> None:
    sink = Taken()
    watch = FakeWatch([*map(line, range(1, 11)), finished()], burst=100)

    async def main() -> None:
        control: Any = FakeControl([])
        await Follower(control, sink).follow(watch, job(JobState.RUNNING))

    trio.run(main)
    assert sink.got == [*range(1, 11), "job.finished"]
    assert sink.waits == 0


@given(st.data())
def test_whatever_lags_every_line_comes_once_and_in_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 30))
    dropped = data.draw(st.integers(0, count))  # the log lost its oldest lines
    items: list[WatchItem] = []
    for seen, group in itertools.groupby(
        range(1, count + 1), key=lambda n: data.draw(st.booleans(), label=str(n))
    ):
        numbers = list(group)
        items += map(line, numbers) if seen else [lagged(numbers[0], numbers[-1])]
    control = FakeControl(range(dropped + 1, count + 1), limit=data.draw(st.integers(1, 5)))
    burst = data.draw(st.integers(1, 4))
    got = follow(FakeWatch([*items, finished()], burst), control)
    assert got.pop() == "job.finished"
    next_n = 1
    for item in got:
        if isinstance(item, int):
            assert item == next_n
            next_n += 1
        else:
            next_n -= int(item)
    assert next_n == count + 1
