"""A watch over the wire: what follows, what is known already, what is missing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from client_kit import event, job, line

from supervisor import (
    EventsLost,
    JobEvent,
    JobFilter,
    LogEntry,
    LogsLagged,
    ProgressEvent,
    ProtocolError,
)
from supervisor._client.remote_watch import ENDED_JOBS, Gap, RemoteWatch
from supervisor._model import Job
from supervisor._wire_records import from_wire


def watch(from_seq: int = 0, filter: JobFilter | None = None, logs: bool = True) -> RemoteWatch:
    return RemoteWatch(instance="i", from_seq=from_seq, filter=filter, logs=logs, progress=True)


def feed(to: RemoteWatch, *items: dict[str, Any]) -> list[bool]:
    """Events, where they have a type, and lines; whether each was news."""
    return [to.take("events.event" if "type" in item else "events.log", item) for item in items]


def after(prev: int, seq: int, **more: Any) -> dict[str, Any]:
    return {**event(seq), "prev_seq": prev, **more}


def bookmark(prev: int, seq: int, **more: Any) -> dict[str, Any]:
    return {"prev_seq": prev, "seq": seq, "instance": "i", **more}


def read(watch: RemoteWatch) -> list[Any]:
    """All that can be read, in short."""
    found: list[Any] = []
    while True:
        item = watch.take_nowait()
        match item:
            case None:
                return found
            case JobEvent():
                found.append(item.seq)
            case LogEntry():
                found.append((item.job_id, item.n))
            case LogsLagged():
                found.append((item.job_id, item.from_n, item.to_n))
            case other:
                found.append(other)


def test_what_follows_is_taken() -> None:
    it = watch(from_seq=3)
    assert feed(it, after(3, 4), after(4, 5), after(5, 9)) == [True, True, True]
    assert (it.reached, read(it)) == (9, [4, 5, 9])


def test_what_is_known_already_is_dropped() -> None:
    it = watch()
    news = feed(it, after(0, 1), after(1, 2), after(1, 2), after(0, 1))
    assert news == [True, True, False, False]
    assert read(it) == [1, 2]


@pytest.mark.parametrize("odd", [after(2, 3), after(0, 3), after(5, 4), after(3, 2)])
def test_what_does_not_follow_shows_a_gap(odd: dict[str, Any]) -> None:
    it = watch()
    feed(it, after(0, 1))
    with pytest.raises(Gap):
        feed(it, odd)
    assert (it.reached, read(it)) == (1, [1])


def test_an_event_of_another_history_shows_a_gap() -> None:
    with pytest.raises(Gap, match="history"):
        feed(watch(), after(0, 1, instance="other"))


@pytest.mark.parametrize(
    "odd",
    [
        after(0, 1, prev_seq="0"),
        after(0, 1, prev_seq=None),
        after(-1, 1),
        event(1),
        after(0, 1) | {"seq": "x"},
    ],
)
def test_an_event_that_is_not_well_formed(odd: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        feed(watch(), odd)


def test_bookmarks_move_the_position() -> None:
    it = watch()
    assert it.take("events.bookmark", bookmark(0, 5))
    assert feed(it, after(5, 6)) == [True]
    assert not it.take("events.bookmark", bookmark(0, 5))
    assert not it.take("events.bookmark", bookmark(6, 6))
    assert (it.reached, read(it)) == (6, [6])


def test_a_bookmark_shows_a_gap_too() -> None:
    with pytest.raises(Gap):
        watch().take("events.bookmark", bookmark(1, 5))
    with pytest.raises(Gap):
        watch().take("events.bookmark", bookmark(0, 5, instance="other"))


@pytest.mark.parametrize("seq", [None, "1", -1, True, 1.0])
def test_a_bookmark_of_nowhere(seq: Any) -> None:
    with pytest.raises(ProtocolError, match="seq"):
        watch().take("events.bookmark", bookmark(0, seq))


def test_other_notifications_are_passed_over() -> None:
    assert not watch().take("events.poem", {"subscription_id": "e"})


# --- lines ----------------------------------------------------------------------------------------


def test_lines_come_in_order_and_once() -> None:
    it = watch()
    feed(it, line(4), line(5), line(5), line(4), line(6))
    assert read(it) == [("j", 4), ("j", 5), ("j", 6)]


def test_missing_lines_are_told_before_the_next_one() -> None:
    it = watch()
    feed(it, line(4), line(7), line(6))
    assert read(it) == [("j", 4), ("j", 5, 6), ("j", 7)]


def test_the_first_lines_of_a_job_that_began_in_the_watch_are_missed() -> None:
    it = watch()
    feed(it, after(0, 1, type="job.pending"), line(3), line(1, "other"))
    assert read(it) == [1, ("j", 1, 2), ("j", 3), ("other", 1)]


def test_jobs_are_counted_apart() -> None:
    it = watch()
    feed(it, line(1, "a"), line(1, "b"), line(3, "a"), line(2, "b"))
    assert read(it) == [("a", 1), ("b", 1), ("a", 2, 2), ("a", 3), ("b", 2)]


def test_what_the_server_dropped_is_told_once() -> None:
    it = watch()
    feed(it, line(1))
    lag = {"subscription_id": "e", "job_id": "j", "from_n": 2, "to_n": 4}
    assert [it.take("events.lagged", lag) for _ in range(2)] == [True, False]
    feed(it, line(3), line(5))
    assert read(it) == [("j", 1), ("j", 2, 4), ("j", 5)]


def test_a_lag_that_leaves_a_gap_covers_it() -> None:
    it = watch()
    feed(it, line(1))
    it.take("events.lagged", {"subscription_id": "e", "job_id": "j", "from_n": 4, "to_n": 5})
    assert read(it) == [("j", 1), ("j", 2, 5)]


def test_a_line_of_an_attempt_that_has_ended_comes_too_late() -> None:
    it = watch()
    feed(it, line(1), after(0, 1, type="job.finished"), line(2))
    feed(it, after(1, 2, type="job.pending", attempt=2), line(3, attempt=2))
    assert read(it) == [("j", 1), 1, 2, ("j", 2, 2), ("j", 3)]


def test_ended_jobs_are_forgotten_some_day() -> None:
    it = watch()
    for number in range(ENDED_JOBS + 10):
        name = f"job-{number}"
        feed(it, line(1, name), after(number, number + 1, type="job.finished", job_id=name))
    assert len(it._counts) == len(it._ended_jobs) == ENDED_JOBS


def test_no_more_jobs_are_counted_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor._client.remote_watch.COUNTED_JOBS", 5)
    it = watch()
    feed(it, *(line(1, f"job-{number}") for number in range(20)))
    assert it.open_jobs() == [f"job-{number}" for number in range(15, 20)]


def test_the_jobs_whose_lines_may_be_missing() -> None:
    it = watch(filter=JobFilter(job_ids=("named",)))
    feed(it, line(1, "a"), line(1, "b"), after(0, 1, type="job.finished", job_id="a"))
    assert it.open_jobs() == ["named", "b"]
    assert watch(filter=JobFilter(job_ids=("named",)), logs=False).open_jobs() == []


def test_an_ended_job_that_runs_again_is_looked_after_again() -> None:
    it = watch()
    feed(it, line(1), after(0, 1, type="job.finished"), after(1, 2, attempt=2))
    assert it.open_jobs() == ["j"]


def record(lines: int) -> Job:
    return from_wire(Job, job(log_lines=lines))


def test_lines_that_are_known_to_exist_are_told_as_missed() -> None:
    it = watch()
    feed(it, line(3))
    it.lines_exist(record(3))
    it.lines_exist(record(6))
    it.lines_exist(record(6))
    feed(it, line(5), line(7))
    assert read(it) == [("j", 3), ("j", 4, 6), ("j", 7)]


def test_of_a_job_not_heard_of_all_lines_are_told() -> None:
    it = watch(filter=JobFilter(job_ids=("j",)))
    it.lines_exist(record(0))
    it.lines_exist(record(2))
    assert read(it) == [("j", 1, 2)]


def test_without_logs_lines_are_not_counted() -> None:
    it = watch(logs=False)
    feed(it, after(0, 1, type="job.pending"), after(1, 2, type="job.finished"))
    assert it._counts == {}


# --- elsewhere ------------------------------------------------------------------------------------


def test_progress_is_passed_on() -> None:
    it = watch()
    progress = {"job_id": "j", "attempt": 1, "progress": {"done": 1}}
    assert it.take("events.progress", progress)
    (item,) = read(it)
    assert isinstance(item, ProgressEvent)


def test_a_watch_that_goes_on_elsewhere_says_so() -> None:
    it = watch()
    feed(it, after(0, 1), line(5))
    it.lose("other", 40)
    assert it.take("events.event", after(40, 41, instance="other"))
    feed(it, line(1))
    lost = EventsLost(instance="other", after_seq=1, resumes_at=40)
    assert read(it) == [1, ("j", 5), lost, 41, ("j", 1)]
    assert it.params(replay=True)["since"] == {"instance": "other", "seq": 41}


def test_a_gap_in_the_same_history_keeps_the_count_of_lines() -> None:
    it = watch()
    feed(it, line(5))
    it.lose("i", 40)
    feed(it, line(7))
    lost = EventsLost(instance="i", after_seq=0, resumes_at=40)
    assert read(it) == [("j", 5), lost, ("j", 6, 6), ("j", 7)]


async def test_a_reader_that_waits_hears_of_the_loss() -> None:
    it = watch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_loss, it)
        await trio.testing.wait_all_tasks_blocked()
        it.lose("other", 1)


async def _expect_loss(it: RemoteWatch) -> None:
    assert isinstance(await anext(it), EventsLost)


def test_what_is_asked_for_again_is_what_was_asked_for() -> None:
    it = watch(from_seq=7, filter=JobFilter(name="work"))
    assert it.params(replay=True) == {
        "logs": True,
        "progress": True,
        "filter": {"name": "work"},
        "since": {"instance": "i", "seq": 7},
    }
    assert "since" not in it.params(replay=False)
