"""Watching a supervisor: events in order, no gap, no duplicate; lines and progress in between."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from fakes import Body, Script, forever, open_sup, run, settle

import supervisor
from supervisor._errors import InvalidArguments, JobNotFound, ReplayGone
from supervisor._model import JobEvent, JobFilter, LogEntry, LogsLagged, ProgressEvent, Rung
from supervisor._supervisor import Supervisor
from supervisor._watch import EVENTS_BEHIND, LINES_BEHIND
from supervisor.stores.memory import MemoryStore


async def drain(events: Any) -> list[Any]:
    """All that is there to read now."""
    seen = []
    while (item := events.take_nowait()) is not None:
        seen.append(item)
    return seen


async def whole_log(sup: Supervisor, job_id: str) -> list[LogEntry]:
    """All that is kept of a log."""
    lines: list[LogEntry] = []
    page = await sup.logs(job_id)
    while page.entries:
        lines += page.entries
        page = await sup.logs(job_id, since=page.next)
    return lines


def steps(items: list[Any]) -> list[tuple[str, str, str]]:
    return [(e.type, e.job_id, e.state) for e in items if isinstance(e, JobEvent)]


def test_a_job_tells_its_whole_life() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup(slots=1) as sup, sup.watch() as events:
            blocker = await sup.start(Body(), job_id="first")
            await sup.start(script, job_id="a", notice=1, grace=1)
            blocker._entry.spec.work.release()  # type: ignore[attr-defined]
            await blocker.wait()
            await settle()
            await sup.cancel("a", reason="why", wait="finished")
            items = await drain(events)
            assert [step for step in steps(items) if step[1] == "a"] == [
                ("job.pending", "a", "pending"),
                ("job.starting", "a", "starting"),
                ("job.started", "a", "running"),
                ("job.cancelling", "a", "cancelling"),
                ("job.escalated", "a", "cancelling"),
                ("job.escalated", "a", "cancelling"),
                ("job.escalated", "a", "cancelling"),
                ("job.finished", "a", "cancelled"),
            ]
            assert [e.data["rung"] for e in items if e.state == "cancelling"] == list(Rung)
            assert [e.seq for e in items] == list(range(1, len(items) + 1))
            assert {e.instance for e in items} == {sup.instance}
            last = items[-1].data
            assert (last["how"], last["cause"], last["reason"]) == ("forced", "user", "why")
            assert last["request_to_dead"] == 2.0
            assert last["proof"] == {"means": "fake_gone", "strength": "certain"}

    run(main)


def test_a_stuck_job_is_told_with_why_and_where() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup() as sup, sup.watch() as events:
            handle = await sup.start(body, grace=1)
            await settle()
            await handle.cancel(wait="finished")
            item = (await drain(events))[-1]
            assert item.type == "job.stuck"
            assert item.data["where"]
            assert item.data["why"]
            body.release()
            await handle.wait()
            item = (await drain(events))[-1]
            assert (item.type, item.data["late"]) == ("job.finished", True)

    run(main)


def test_replay_and_live_have_no_gap_and_no_duplicate() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            seen: list[int] = []
            under_way = trio.Event()

            async def churn() -> None:
                for _ in range(50):
                    handle = await sup.start(Body())
                    handle._entry.spec.work.release()  # type: ignore[attr-defined]
                    await handle.wait()
                    if sup.head_seq > 40:
                        under_way.set()

            async def watch(since: int) -> None:
                async with sup.watch(since=since) as events:
                    async for event in events:
                        assert isinstance(event, JobEvent)
                        seen.append(event.seq)
                        if event.seq == 150:
                            return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(churn)
                await under_way.wait()
                nursery.start_soon(watch, 17)
            assert seen == list(range(18, 151))

    for _ in range(5):
        run(main)


def test_a_list_and_its_position_lead_on_without_a_gap() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body = Body()
            handle = await sup.start(body, job_id="a")
            await settle()
            page = await sup.list()
            body.release()
            await handle.wait()
            async with sup.watch(since=page.seq) as events:
                items = await drain(events)
            assert steps(items) == [("job.finished", "a", "succeeded")]
            assert [job.seq <= page.seq for job in page] == [True]

    run(main)


@pytest.mark.parametrize("since", [-1, 7, 10**30])
def test_what_cannot_be_replayed_is_gone(since: int) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Body())
            with pytest.raises((ReplayGone, InvalidArguments)):
                async with sup.watch(since=since):
                    raise AssertionError
            assert sup.statistics_nowait().watchers == 0
            handle._entry.spec.work.release()  # type: ignore[attr-defined]

    run(main)


def test_what_is_too_old_is_gone_and_says_what_there_is() -> None:
    async def main() -> None:
        async with open_sup(store=MemoryStore(events_kept=10)) as sup:
            for _ in range(10):
                body = Body()
                handle = await sup.start(body)
                body.release()
                await handle.wait()
            with pytest.raises(ReplayGone) as caught:
                async with sup.watch(since=0):
                    raise AssertionError
            assert caught.value.data == {
                "instance": sup.instance,
                "oldest_seq": 21,
                "head_seq": 30,
            }
            async with sup.watch(since=20) as events:
                assert [event.seq for event in await drain(events)] == list(range(21, 31))
            async with sup.watch(since=30) as events:
                assert await drain(events) == []

    run(main)


def test_watching_works_however_few_events_are_kept() -> None:
    async def main() -> None:
        async with open_sup(store=MemoryStore(events_kept=1)) as sup, sup.watch() as events:
            script = Script(obeys=False)
            handle = await sup.start(script, grace=1)
            await settle()
            await handle.cancel(wait="finished")
            assert [event.seq for event in await drain(events)] == list(range(1, sup.head_seq + 1))

    run(main)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (JobFilter(), {"a", "b", "c"}),
        (JobFilter(job_ids=("a", "c")), {"a", "c"}),
        (JobFilter(name="odd"), {"b"}),
        (JobFilter(labels={"team": "x"}), {"a"}),
        (JobFilter(labels={"team": "x", "n": "2"}), set()),
        (JobFilter(job_ids=()), set()),
        (JobFilter(parent_id="a"), set()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("replayed", [False, True])
def test_a_filter_narrows(filter: JobFilter, expected: set[str], replayed: bool) -> None:
    async def main() -> None:
        async with open_sup() as sup:

            async def start() -> None:
                await sup.start(forever, job_id="a", labels={"team": "x"})
                await sup.start(forever, job_id="b", name="odd", labels={"team": "y"})
                await sup.start(forever, job_id="c")

            if replayed:
                await start()
                async with sup.watch(since=0, filter=filter) as events:
                    items = await drain(events)
            else:
                async with sup.watch(filter=filter) as events:
                    await start()
                    items = await drain(events)
            assert {event.job_id for event in items} == expected

    run(main)


def test_a_watch_ends_with_the_supervisor_after_the_last_event() -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            async with sup.watch() as events:
                task_status.started()
                async for event in events:
                    seen.append(event)

        async with trio.open_nursery() as nursery, open_sup() as sup:
            await nursery.start(watch)
            await sup.start(Script(leaving=2), job_id="a")
            await settle()
        assert steps(seen)[-1] == ("job.finished", "a", "cancelled")

    run(main)


def test_a_watcher_that_leaves_is_forgotten() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with trio.move_on_after(1):
                async with sup.watch() as events:
                    assert sup.statistics_nowait().watchers == 1
                    await events.__anext__()
            assert sup.statistics_nowait().watchers == 0

    run(main)


def test_a_watcher_that_falls_behind_loses_no_event_in_silence() -> None:
    async def main() -> None:
        async with open_sup() as sup, sup.watch() as events:
            while sup.head_seq <= EVENTS_BEHIND + 100:
                body = Body()
                handle = await sup.start(body)
                body.release()
                await handle.wait()
            for seq in range(1, 101):
                event = await events.__anext__()
                assert event.seq == seq  # type: ignore[union-attr]
            for _ in range(40):  # there is room again, but there is a gap already
                body = Body()
                handle = await sup.start(body)
                body.release()
                await handle.wait()
            last = 100
            with pytest.raises(ReplayGone):
                async for event in events:
                    assert event.seq == last + 1  # type: ignore[union-attr]
                    last += 1
            assert last == EVENTS_BEHIND

    run(main)


# --- lines and progress -----------------------------------------------------------------------


def test_lines_and_progress_come_in_order_and_before_the_end() -> None:
    async def main() -> None:
        async def body() -> None:
            job = supervisor.current_job()
            job.log("one\ntwo")
            job.progress(1, 2)
            job.log("three")

        async with open_sup() as sup, sup.watch(logs=True, progress=True) as events:
            await (await sup.start(body)).wait()
            items = await drain(events)
            kinds = [
                item.type if isinstance(item, JobEvent)
                else item.text if isinstance(item, LogEntry)
                else "progress"
                for item in items
            ]  # fmt: skip
            assert kinds == [
                "job.starting",
                "job.started",
                "one",
                "two",
                "progress",
                "three",
                "job.finished",
            ]

    run(main)


def test_lines_and_progress_come_only_when_asked_for() -> None:
    async def main() -> None:
        async def body() -> None:
            supervisor.current_job().log("x")
            supervisor.current_job().progress(1)

        async with (
            open_sup() as sup,
            sup.watch() as events,
            sup.watch(filter=JobFilter(name="no"), logs=True) as no,
        ):
            await (await sup.start(body)).wait()
            assert all(isinstance(item, JobEvent) for item in await drain(events))
            assert await drain(no) == []

    run(main)


def test_nothing_of_an_attempt_follows_its_final_event() -> None:
    async def main() -> None:
        kept: list[Any] = []

        async def body() -> None:
            kept.append(supervisor.current_job())

        script = Script()
        async with open_sup() as sup, sup.watch(logs=True, progress=True) as events:
            await (await sup.start(body, job_id="a")).wait()
            handle = await sup.start(script, job_id="b")
            await settle()
            script.finish()
            await handle.wait()
            kept[0].log("too late")
            kept[0].progress(1)
            script.say("too late")
            await settle()
            items = await drain(events)
            assert items[-1].type == "job.finished"
            assert not any(isinstance(item, LogEntry | ProgressEvent) for item in items)
            assert (await sup.logs("a")).entries == ()
            assert (await sup.get("b")).log_lines == 0

    run(main)


def test_a_late_line_of_an_attempt_does_not_reach_the_next_one() -> None:
    async def main() -> None:
        kept: list[Any] = []

        async def body() -> None:
            kept.append(supervisor.current_job())
            await trio.sleep(kept.index(kept[-1]))

        async with open_sup() as sup:
            await (await sup.start(body, job_id="a")).wait()
            await sup.start(body, job_id="a", id_reuse_policy="allow")
            kept[0].log("from the dead")
            assert (await sup.logs("a")).entries == ()

    run(main)


def test_a_slow_watcher_is_told_which_lines_it_missed() -> None:
    async def main() -> None:
        scripts = {"a": Script(), "b": Script()}
        async with open_sup() as sup, sup.watch(logs=True) as events:
            for job_id, script in scripts.items():
                await sup.start(script, job_id=job_id)
            await settle()
            for number in range(LINES_BEHIND):
                for script in scripts.values():
                    script.say(f"line {number}")
            items = await drain(events)
            lines = [item for item in items if isinstance(item, LogEntry)]
            lags = [item for item in items if isinstance(item, LogsLagged)]
            assert len(lines) == LINES_BEHIND
            half = LINES_BEHIND // 2
            assert [(lag.job_id, lag.from_n, lag.to_n) for lag in lags] == [
                ("a", half + 1, LINES_BEHIND),
                ("b", half + 1, LINES_BEHIND),
            ]
            scripts["a"].say("again")
            [again] = await drain(events)
            assert (again.n, again.text) == (LINES_BEHIND + 1, "again")

    run(main)


def test_a_slow_watcher_sees_only_the_newest_progress() -> None:
    async def main() -> None:
        async def body() -> None:
            for done in range(1000):
                supervisor.current_job().progress(done)

        async with open_sup() as sup, sup.watch(progress=True) as events:
            await (await sup.start(body)).wait()
            news = [item for item in await drain(events) if isinstance(item, ProgressEvent)]
            assert [item.progress.done for item in news] == [999]

    run(main)


# --- logs -------------------------------------------------------------------------------------


def test_a_log_is_read_in_pages_until_its_end() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            handle = await sup.start(script, job_id="a")
            await settle()
            for number in range(25):
                script.say(f"line {number}", "stderr" if number % 2 else "stdout")
            position, pages, lines = 0, 0, []
            while True:
                page = await sup.logs("a", since=position, limit=10)
                lines += page.entries
                pages += 1
                assert not page.eof
                if page.next == position:
                    break
                position = page.next
            assert [line.n for line in lines] == list(range(1, 26))
            assert [line.stream for line in lines[:2]] == ["stdout", "stderr"]
            script.finish()
            await handle.wait()
            page = await sup.logs("a", since=position)
            assert (page.entries, page.next, page.eof) == ((), 25, True)
            page = await sup.logs("a", limit=24)
            assert (page.next, page.eof) == (24, False)
            assert (await sup.get("a")).log_lines == 25

    run(main)


def test_a_log_keeps_ten_thousand_lines_and_counts_what_it_drops() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            await sup.start(script, job_id="a")
            await settle()
            for number in range(10_050):
                script.say(str(number))
            job = await sup.get("a")
            assert (job.log_lines, job.log_dropped) == (10_050, 50)
            page = await sup.logs("a", limit=10_000)
            assert (page.entries[0].n, page.entries[-1].n, page.next) == (51, 10_050, 10_050)

    run(main)


def test_a_log_keeps_four_mebibytes() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            await sup.start(script, job_id="a")
            await settle()
            for _ in range(100):
                script.say("ä" * 32 * 1024)  # 64 KiB of UTF-8
            kept = await whole_log(sup, "a")
            assert sum(len(line.text.encode()) for line in kept) <= 4 * 1024 * 1024
            assert len(kept) >= 60
            assert (await sup.get("a")).log_dropped == 100 - len(kept)

    run(main)


def test_a_long_line_of_a_body_is_split() -> None:
    async def main() -> None:
        async def body() -> None:
            supervisor.current_job().log("x" * 150_000)

        async with open_sup() as sup:
            await (await sup.start(body, job_id="a")).wait()
            entries = (await sup.logs("a")).entries
            assert [len(line.text) for line in entries] == [65536, 65536, 150_000 - 2 * 65536]

    run(main)


def test_bytes_that_are_not_text_are_kept_beside_it() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            await sup.start(script, job_id="a")
            await settle()
            script.latest.sink.log_line("stdout", b"caf\xc3\xa9")
            script.latest.sink.log_line("stdout", b"caf\xe9")
            script.latest.sink.log_line("stdout", "lone \ud800")
            first, second, third = (await sup.logs("a")).entries
            assert (first.text, first.base64) == ("café", None)
            assert (second.text, second.base64) == ("caf\ufffd", "Y2Fm6Q==")
            third.text.encode()

    run(main)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"since": -1}, "$.since"),
        ({"since": "1"}, "$.since"),
        ({"since": True}, "$.since"),
        ({"limit": 0}, "$.limit"),
        ({"limit": 10_001}, "$.limit"),
        ({"limit": 1.5}, "$.limit"),
    ],
    ids=str,
)
def test_an_odd_page_is_refused(options: dict[str, Any], path: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            with pytest.raises(InvalidArguments) as caught:
                await sup.logs("a", **options)
            assert caught.value.data["path"] == path
            with pytest.raises(JobNotFound):
                await sup.logs("nobody")

    run(main)


# --- lists ------------------------------------------------------------------------------------


def test_a_list_comes_in_pages_in_order_of_acceptance() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            for number in range(7):
                await sup.start(forever, job_id=f"j{number}")
            await settle()
            position = sup.head_seq
            ids, cursor, pages = [], None, []
            while True:
                page = await sup.list(limit=3, cursor=cursor)
                pages.append(page)
                ids += [job.id for job in page]
                await sup.cancel(ids[0], wait="finished")
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert ids == [f"j{number}" for number in range(7)]
            assert [len(page) for page in pages] == [3, 3, 1]
            assert {page.seq for page in pages} == {position}

    run(main)


def test_a_page_that_ends_with_the_list_has_no_next() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            for _ in range(3):
                await sup.start(forever)
            assert (await sup.list(limit=3)).next_cursor is None
            assert (await sup.list(JobFilter(job_ids=()), limit=1)).next_cursor is None

    run(main)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"limit": 0}, "$.limit"),
        ({"limit": 1001}, "$.limit"),
        ({"limit": True}, "$.limit"),
        ({"limit": "3"}, "$.limit"),
        ({"cursor": "nonsense"}, "$.cursor"),
        ({"cursor": ""}, "$.cursor"),
        ({"cursor": 7}, "$.cursor"),
        ({"cursor": "other.1.1"}, "$.cursor"),
    ],
    ids=str,
)
def test_an_odd_list_is_refused(options: dict[str, Any], path: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises(InvalidArguments) as caught:
                await sup.list(**options)
            assert caught.value.data["path"] == path

    run(main)
