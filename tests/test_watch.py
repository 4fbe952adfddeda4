"""A watcher's queue: bounds, what is dropped and told, how it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from fakes import make_spec, run
from test_view import make_event

from supervisor._errors import ConnectionLost, ReplayGone
from supervisor._model import JobFilter, JobState, LogEntry, LogsLagged, Progress, ProgressEvent
from supervisor._records import Pending
from supervisor._view import when
from supervisor._watch import (
    EVENTS_BEHIND,
    LINES_BEHIND,
    TEXT_BEHIND,
    Watch,
    Watchers,
    matches,
)


def line(n: int, job_id: str = "a") -> LogEntry:
    return LogEntry(job_id=job_id, attempt=1, n=n, time=when(0), stream="log", text="x")


def news(done: float, job_id: str = "a") -> ProgressEvent:
    return ProgressEvent(job_id=job_id, attempt=1, progress=Progress(done))


def new_watch() -> Watch:
    return Watch(instance="i", from_seq=0)


def read(watch: Watch) -> list[Any]:
    items = []
    while (item := watch.take_nowait()) is not None:
        items.append(item)
    return items


def test_items_come_in_their_order() -> None:
    watch = new_watch()
    watch.offer_event(make_event(1))
    watch.offer_line(line(1))
    watch.offer_progress(news(1))
    watch.offer_event(make_event(2))
    assert read(watch) == [make_event(1), line(1), news(1), make_event(2)]


def test_jobs_in_turn_do_not_fill_the_queue_of_a_slow_watcher() -> None:
    watch = new_watch()
    for n in range(1, LINES_BEHIND + 1):
        watch.offer_line(line(n))
    for n in range(1, 1001):
        watch.offer_line(line(n, "b"))
        watch.offer_line(line(LINES_BEHIND + n))
    lags = read(watch)[LINES_BEHIND:]
    assert lags == [
        LogsLagged(job_id="b", from_n=1, to_n=1000),
        LogsLagged(job_id="a", from_n=LINES_BEHIND + 1, to_n=LINES_BEHIND + 1000),
    ]


def test_long_lines_are_dropped_earlier() -> None:
    watch = new_watch()
    long = [attrs.evolve(line(n), text="x" * (TEXT_BEHIND // 4)) for n in range(1, 9)]
    for each in long:
        watch.offer_line(each)
    assert read(watch) == [*long[:4], LogsLagged(job_id="a", from_n=5, to_n=8)]
    watch.offer_line(long[0])  # what was read makes room again
    assert read(watch) == [long[0]]


def test_lines_that_are_missed_again_later_are_told_again() -> None:
    watch = new_watch()
    for n in range(1, LINES_BEHIND + 3):
        watch.offer_line(line(n))
    assert watch.take_nowait() == line(1)
    watch.offer_line(line(LINES_BEHIND + 3))
    watch.offer_line(line(LINES_BEHIND + 4))
    rest = read(watch)[LINES_BEHIND - 1 :]
    assert rest == [
        LogsLagged(job_id="a", from_n=LINES_BEHIND + 1, to_n=LINES_BEHIND + 2),
        line(LINES_BEHIND + 3),
        LogsLagged(job_id="a", from_n=LINES_BEHIND + 4, to_n=LINES_BEHIND + 4),
    ]
    watch.offer_line(line(LINES_BEHIND + 5))
    assert read(watch) == [line(LINES_BEHIND + 5)]


def test_progress_of_many_jobs_is_bounded() -> None:
    watch = new_watch()
    for n in range(2 * (EVENTS_BEHIND + LINES_BEHIND)):
        watch.offer_progress(news(n, f"j{n % 7}"))
    assert len(read(watch)) <= EVENTS_BEHIND + LINES_BEHIND


def test_after_a_gap_nothing_more_is_shown() -> None:
    watch = new_watch()
    for seq in range(1, EVENTS_BEHIND + 2):
        watch.offer_event(make_event(seq))
    seen = [watch.take_nowait() for _ in range(10)]
    watch.offer_event(make_event(EVENTS_BEHIND + 2))
    with pytest.raises(ReplayGone):
        while True:
            seen.append(watch.take_nowait())
    assert seen == [make_event(seq) for seq in range(1, EVENTS_BEHIND + 1)]


def test_exactly_as_many_events_as_are_kept_can_wait() -> None:
    watch = new_watch()
    for seq in range(1, EVENTS_BEHIND + 1):
        watch.offer_event(make_event(seq))
    assert len(read(watch)) == EVENTS_BEHIND


def test_a_reader_waits_and_wakes() -> None:
    async def main() -> None:
        watch = new_watch()
        seen: list[Any] = []

        async def follow() -> None:
            async for item in watch:
                seen.append(item)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            watch.offer_event(make_event(1))
            await trio.testing.wait_all_tasks_blocked()
            assert seen == [make_event(1)]
            watch.offer_event(make_event(2))
            watch.close()
        assert seen == [make_event(1), make_event(2)]

    run(main)


def test_a_reader_is_a_checkpoint_each_time() -> None:
    async def main() -> None:
        watch = new_watch()
        watch.offer_event(make_event(1))
        with trio.testing.assert_checkpoints():
            await watch.__anext__()
        watch.close()
        with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await watch.__anext__()

    run(main)


def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    async def main() -> None:
        watch = new_watch()
        watch.offer_event(make_event(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await watch.__anext__()
        assert scope.cancelled_caught
        assert await watch.__anext__() == make_event(1)

    run(main)


def test_a_watch_that_breaks_off_says_why_after_what_there_was() -> None:
    async def main() -> None:
        watch = new_watch()
        watch.offer_event(make_event(1))
        watch.close(ConnectionLost("gone"))
        assert await watch.__anext__() == make_event(1)
        with pytest.raises(ConnectionLost):
            await watch.__anext__()

    run(main)


def test_a_watch_opened_after_the_close_ends_at_once() -> None:
    async def main() -> None:
        watchers = Watchers(lambda event: make_event(event[0]))
        watchers.close()
        spec = make_spec()
        replay = [(1, 0.0, "job.pending", spec, Pending(1, 1))]
        with watchers.open(
            replay, instance="i", from_seq=0, filter=None, logs=False, progress=False
        ) as watch:
            assert [event async for event in watch] == [make_event(1)]

    run(main)


def test_watchers_come_and_go() -> None:
    watchers = Watchers(lambda event: make_event(event[0]))
    assert not watchers
    with watchers.open(
        [], instance="i", from_seq=0, filter=None, logs=False, progress=False
    ) as watch:
        assert len(watchers) == 1
        watchers.publish([(1, 0.0, "job.pending", make_spec(), Pending(1, 1))])
        assert read(watch) == [make_event(1)]
    assert not watchers


# --- what a supervisor's watchers share ----------------------------------------------------------


def published(seq: int, id: str = "a", name: str = "work") -> Any:
    return (seq, 0.0, "job.pending", make_spec(id=id, name=name), Pending(1, 1))


def open_watch(watchers: Watchers, replay: Any = (), from_seq: int = 0, **wishes: Any) -> Any:
    wishes = {"filter": None, "logs": False, "progress": False} | wishes
    return watchers.open(replay, instance="i", from_seq=from_seq, **wishes)


def test_a_watch_is_where_everything_published_is_once_it_has_read_what_matches() -> None:
    watchers = Watchers(lambda event: make_event(event[0]))
    with open_watch(watchers, filter=JobFilter(name="work")) as watch:
        assert watch.position == 0
        watchers.publish([published(1), published(2, name="other")])
        assert watch.position is None  # the first is yet to be read
        watch.take_nowait()
        assert watch.position == 2
        watchers.publish([published(3, name="other")])
        assert watch.position == 3


def test_a_watch_that_begins_later_is_not_behind_its_beginning() -> None:
    """Nothing is published while nobody watches."""
    watchers = Watchers(lambda event: make_event(event[0]))
    with open_watch(watchers, from_seq=7) as watch:
        assert watch.position == 7
        with open_watch(watchers, [published(8)], from_seq=7, filter=JobFilter(name="x")) as late:
            assert late.position == 8


def test_lines_that_wait_do_not_hold_a_position_back_and_a_gap_does() -> None:
    watchers = Watchers(lambda event: make_event(event[0]))
    with open_watch(watchers, logs=True) as watch:
        watchers.publish_line(make_spec(), line(1))
        assert watch.position == 0
        for seq in range(1, EVENTS_BEHIND + 2):
            watchers.publish([published(seq)])
        with pytest.raises(ReplayGone):
            while True:
                watch.take_nowait()
        assert watch.position is None


def test_a_watch_of_a_client_has_no_position_of_its_own() -> None:
    assert new_watch().position is None


def test_equal_filters_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import supervisor._watch as module

    looked: list[str] = []

    def counted(filter: Any, spec: Any) -> bool:
        looked.append(spec.id)
        return matches(filter, spec)

    monkeypatch.setattr(module, "matches", counted)
    watchers = Watchers(lambda event: make_event(event[0]))
    with ExitStack() as stack:
        watches = [
            stack.enter_context(
                open_watch(watchers, filter=JobFilter(job_ids=ids, labels={"x": "1"}))
            )
            for ids in [("a", "b"), ("b", "a"), ("b", "a", "b")] * 10
        ]
        assert len(watchers) == 30
        watchers.publish([(1, 0.0, "job.pending", make_spec(labels={"x": "1"}), Pending(1, 1))])
        assert looked == ["a"]
        assert [read(watch) for watch in watches] == [[make_event(1)]] * 30
    assert (len(watchers), watchers._all) == (0, {})


def test_different_wishes_are_kept_apart() -> None:
    watchers = Watchers(lambda event: make_event(event[0]))
    with (
        open_watch(watchers) as plain,
        open_watch(watchers, logs=True) as lines,
        open_watch(watchers, progress=True) as progress,
        open_watch(watchers, filter=JobFilter(state=())) as none,
        open_watch(watchers, filter=JobFilter(state=(JobState.FAILED,))) as failed,
        open_watch(watchers, filter=JobFilter(state=(JobState.PENDING,))) as pending,
        open_watch(watchers, filter=JobFilter(job_ids=("b",))) as other,
    ):
        watchers.publish([published(1)])
        watchers.publish_line(make_spec(), line(1))
        watchers.publish_progress(make_spec(), 1, Progress(1))
        seen = [len(read(each)) for each in (plain, lines, progress, none, other)]
        assert seen == [1, 2, 2, 0, 0]
        assert [len(read(each)) for each in (failed, pending)] == [0, 1]


def test_a_reader_that_does_not_wait_is_called() -> None:
    watch = new_watch()
    calls: list[int] = []
    watch.on_item = lambda: calls.append(len(calls))
    watch.offer_event(make_event(1))
    watch.offer_line(line(1))
    watch.close()
    assert calls == [0, 1, 2]
    assert watch
    raw = watch.take_raw()
    assert watch.public(raw) == make_event(1)
    read(watch)
    assert not watch


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, True),
        (JobFilter(), True),
        (JobFilter(job_ids=("a",)), True),
        (JobFilter(job_ids=("b",)), False),
        (JobFilter(name="work"), True),
        (JobFilter(name="other"), False),
        (JobFilter(labels={"x": "1"}), True),
        (JobFilter(labels={"x": "1", "y": "2"}), False),
        (JobFilter(labels={}), True),
        (JobFilter(job_ids=("a",), name="other"), False),
        (JobFilter(parent_id="p"), False),
    ],
    ids=repr,
)
def test_what_a_filter_means(filter: JobFilter | None, expected: bool) -> None:
    assert matches(filter, make_spec(labels={"x": "1"})) is expected
