"""Looking at jobs: pages, log lines, counters, and what is said of ids that nobody knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from fakes import Script, fresh_id, open_sup, run, settle

from supervisor import (
    InvalidArguments,
    JobFilter,
    JobNotFound,
    JobRequest,
    JobState,
    LogEntry,
    Progress,
    Supervisor,
    current_job,
)
from supervisor._ledger import LINES_LIMIT, LOOKS, PAGE_BYTES, PAGE_LIMIT, finished
from supervisor.stores.memory import MemoryStore


def with_sup(test: Callable[[Supervisor], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with open_sup(**options) as sup:
            await test(sup)
            await sup.cancel_many(JobFilter(), force=True)

    run(main)


async def start_waiting(sup: Supervisor, *ids: str) -> None:
    for job_id in ids:
        await sup.start(Script(), job_id=job_id, name=job_id)
    await settle()


# --- one job ----------------------------------------------------------------------------------


def test_the_error_for_an_unknown_id_names_those_that_begin_alike() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "build-1", "build-2", "test-1")
        with pytest.raises(JobNotFound) as caught:
            sup.get_nowait("build")
        assert str(caught.value) == "no job 'build' is known; there are build-1, build-2"
        assert list(caught.value.data["similar"]) == ["build-1", "build-2"]

    with_sup(test)


def test_no_more_than_five_ids_are_named() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, *(f"b{number}" for number in range(7)))
        with pytest.raises(JobNotFound) as caught:
            sup.get_nowait("b")
        assert list(caught.value.data["similar"]) == [f"b{number}" for number in range(5)]

    with_sup(test)


@pytest.mark.parametrize("job_id", ["other", ""])
def test_the_error_for_an_id_that_is_like_no_other_names_the_list(job_id: str) -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "build-1")
        with pytest.raises(JobNotFound) as caught:
            sup.get_nowait(job_id)
        assert str(caught.value) == f"no job {job_id!r} is known; list shows the jobs there are"
        assert list(caught.value.data["similar"]) == []

    with_sup(test)


def test_a_long_id_is_shown_up_to_what_an_id_may_be() -> None:
    async def test(sup: Supervisor) -> None:
        with pytest.raises(JobNotFound, match=rf"no job '{'x' * 128}' is known"):
            sup.get_nowait("x" * 129)

    with_sup(test)


def test_similar_ids_are_looked_for_among_the_first_thousand_only() -> None:
    class Counted(MemoryStore):
        looked_at = 0

        def scan(self, after: int = 0) -> Iterator[Any]:
            for each in super().scan(after):
                self.looked_at += 1
                yield each

    store = Counted()

    async def test(sup: Supervisor) -> None:
        for number in range(PAGE_LIMIT + 5):
            sup.start_nowait(JobRequest(Script(), job_id=f"a{number}"))
        with pytest.raises(JobNotFound):
            sup.get_nowait("b")
        assert store.looked_at == PAGE_LIMIT

    with_sup(test, slots=1, store=store)


def test_an_id_that_is_no_text_is_refused() -> None:
    async def test(sup: Supervisor) -> None:
        for job_id in (None, 7, b"a"):
            with pytest.raises(InvalidArguments, match=r"cannot be a job id") as caught:
                sup.get_nowait(job_id)  # type: ignore[arg-type]
            assert repr(job_id) in str(caught.value)

    with_sup(test)


def test_a_record_tells_of_progress_and_lines() -> None:
    async def body() -> None:
        current_job().progress(2, 5, "half way")
        current_job().log("one")
        current_job().log("two")

    async def test(sup: Supervisor) -> None:
        handle = await sup.start(body)
        await handle.wait()
        for job in (sup.get_nowait(handle.id), handle.record):
            assert job.progress == Progress(2.0, 5.0, "half way")
            assert (job.log_lines, job.log_dropped) == (2, 0)

    with_sup(test)


def test_a_running_job_tells_of_its_progress() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script()
        handle = await sup.start(script)
        await settle()
        assert handle.record.progress is None
        sup._engine.on_progress(handle._entry, Progress(1.0, 3.0))
        assert sup.get_nowait(handle.id).progress == Progress(1.0, 3.0)

    with_sup(test)


class Miserly(MemoryStore):
    """Keeps the newest two lines of each job; tells when lines are asked for themselves."""

    def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
        entries, lines, _ = super().logs(job_id, since, limit)
        oldest = max(0, lines - 2)
        return [each for each in entries if each.n > oldest], lines, oldest


def test_a_record_says_how_many_lines_were_dropped() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script()
        handle = await sup.start(script)
        await settle()
        for number in range(5):
            script.say(f"line {number}")
        assert (handle.record.log_lines, handle.record.log_dropped) == (5, 3)

    with_sup(test, store=Miserly())


def test_looking_at_a_record_fetches_no_lines() -> None:
    asked: list[tuple[int, int]] = []

    class Spied(MemoryStore):
        def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
            asked.append((since, limit))
            return super().logs(job_id, since, limit)

    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script())
        sup.get_nowait(handle.id)
        assert asked == [(0, 0)]

    with_sup(test, store=Spied())


def test_a_reply_has_the_record_as_it_was_when_it_was_answered() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script())
        await settle()
        asked_of = handle._entry.record
        reply = sup.cancel_nowait(handle.id)
        await handle.wait()
        assert reply.job is not None
        assert reply.job.state is JobState.CANCELLING
        assert not reply.successor_dropped
        then = sup._ledger.reply(reply.outcome, handle._entry, asked_of, 1)
        assert then.job is not None
        assert (then.job.state, then.successor_dropped) == (JobState.RUNNING, False)

    with_sup(test)


# --- which jobs are meant -----------------------------------------------------------------------


def meant(sup: Supervisor, filter: JobFilter) -> list[str | None]:
    return list(sup._ledger.meant(filter))


def test_a_filter_that_only_names_ids_means_them_known_or_not_each_once() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "a", "b")
        assert meant(sup, JobFilter(job_ids=("b", "x", "b"))) == ["b", "x"]

    with_sup(test)


def test_a_filter_that_says_more_means_the_live_jobs_that_fit_all_of_it() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "a", "b", "c")
        assert meant(sup, JobFilter(job_ids=("a", "b", "x"), name="b")) == ["b"]
        assert meant(sup, JobFilter(state=(JobState.RUNNING,))) == ["a", "b", "c"]
        assert meant(sup, JobFilter(state=(JobState.PENDING,))) == []
        assert meant(sup, JobFilter(name="c")) == ["c"]

    with_sup(test)


def test_there_is_a_pause_after_every_fifty_that_are_not_meant() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, *(f"a{number}" for number in range(2 * LOOKS + 10)))
        assert meant(sup, JobFilter(name="other")) == [None, None]
        # Where the job at a pause's place is meant, it is the answer.
        last = f"a{LOOKS - 1}"
        assert meant(sup, JobFilter(name=last)) == [last, None]
        assert LOOKS == 50

    with_sup(test)


def test_a_list_can_be_of_named_jobs() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "a", "b", "c")
        for filter, ids in (
            (JobFilter(job_ids=("c", "a", "x")), ["a", "c"]),
            (JobFilter(job_ids=()), []),
            (JobFilter(job_ids=("a", "b"), state=(JobState.RUNNING,)), ["a", "b"]),
            (JobFilter(job_ids=("a", "b"), state=(JobState.PENDING,)), []),
        ):
            assert [job.id for job in sup.list_nowait(filter).jobs] == ids

    with_sup(test)


def test_a_page_of_jobs_shows_live_ones_with_their_progress() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script())
        await settle()
        sup._engine.on_progress(handle._entry, Progress(1.0))
        (job,) = sup.list_nowait().jobs
        assert job.progress == Progress(1.0)

    with_sup(test)


# --- pages --------------------------------------------------------------------------------------


def test_a_page_may_have_one_job_and_at_most_a_thousand() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "a", "b")
        assert [job.id for job in sup.list_nowait(limit=1).jobs] == ["a"]
        assert len(sup.list_nowait(limit=1000).jobs) == 2
        for limit in (0, 1001):
            with pytest.raises(InvalidArguments, match=f"limit .* from 1 to 1000, not {limit}"):
                sup.list_nowait(limit=limit)

    with_sup(test)


def test_a_cursor_goes_on_after_the_last_job_of_its_page() -> None:
    async def test(sup: Supervisor) -> None:
        await start_waiting(sup, "a", "b", "c")
        page = sup.list_nowait(limit=2)
        assert page.next_cursor is not None
        await start_waiting(sup, "d")
        rest = sup.list_nowait(limit=2, cursor=page.next_cursor)
        assert [job.id for job in rest.jobs] == ["c", "d"]
        assert (rest.seq, rest.next_cursor) == (page.seq, None)

    with_sup(test)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "{instance}",
        "{instance}.1",
        "{instance}.1.",
        "{instance}..1",
        "{instance}.1.x",
        "{instance}.x.1",
        "{instance}.x.y",
        "{instance}.-1.1",
        "{instance}.1.1.1",
        "{instance}.1.\u0661",
        "{instance}.1.\u00b2",
        "{instance}.1." + "1" * 20,
        "other.1.1",
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    async def test(sup: Supervisor) -> None:
        with pytest.raises(InvalidArguments) as caught:
            sup.list_nowait(cursor=cursor.format(instance=sup.instance))
        assert str(caught.value) == (
            "cursor is not one of this supervisor's; begin the list again without a cursor"
        )
        assert caught.value.data["path"] == "$.cursor"

    with_sup(test)


def test_a_cursor_may_be_of_a_long_history() -> None:
    async def test(sup: Supervisor) -> None:
        longest = "9" * 19
        assert sup.list_nowait(cursor=f"{sup.instance}.{longest}.{longest}").seq == int(longest)

    with_sup(test)


# --- lines --------------------------------------------------------------------------------------


async def start_talking(sup: Supervisor, *lines: str | bytes) -> tuple[Script, str]:
    script = Script()
    handle = await sup.start(script, job_id=fresh_id())
    await settle()
    for line in lines:
        script.latest.sink.log_line("stdout", line)
    return script, handle.id


def test_lines_are_read_on_from_the_last_one_seen() -> None:
    async def test(sup: Supervisor) -> None:
        script, job_id = await start_talking(sup, "1", "2", "3")
        page = sup.logs_nowait(job_id, limit=2)
        assert ([entry.text for entry in page.entries], page.next) == (["1", "2"], 2)
        page = sup.logs_nowait(job_id, since=page.next)
        assert ([entry.text for entry in page.entries], page.next) == (["3"], 3)
        page = sup.logs_nowait(job_id, since=page.next)
        assert (list(page.entries), page.next, page.eof) == ([], 3, False)
        script.finish()
        await settle()
        assert sup.logs_nowait(job_id, since=3).eof
        assert not sup.logs_nowait(job_id, limit=2).eof

    with_sup(test)


def test_reading_from_beyond_the_end_stays_there() -> None:
    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, "1")
        page = sup.logs_nowait(job_id, since=7)
        assert (list(page.entries), page.next) == ([], 7)

    with_sup(test)


def test_lines_that_were_dropped_are_passed_over() -> None:
    class Forgetful(MemoryStore):
        def logs(self, job_id: str, since: int, limit: int) -> tuple[Sequence[LogEntry], int, int]:
            _, lines, _ = super().logs(job_id, since, limit)
            return [], lines, lines

    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, "1", "2")
        assert sup.logs_nowait(job_id).next == 2

    with_sup(test, store=Forgetful())


def test_how_many_lines_and_from_where_is_checked() -> None:
    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, "1", "2")
        assert len(sup.logs_nowait(job_id, limit=1).entries) == 1
        assert len(sup.logs_nowait(job_id, limit=LINES_LIMIT).entries) == 2
        assert sup.logs_nowait(job_id, since=2**63).next == 2**63
        for name, value, allowed in (
            ("limit", 0, "1 to 10000"),
            ("limit", LINES_LIMIT + 1, "1 to 10000"),
            ("since", -1, f"0 to {2**63}"),
            ("since", 2**63 + 1, f"0 to {2**63}"),
        ):
            with pytest.raises(InvalidArguments) as caught:
                sup.logs_nowait(job_id, **{name: value})
            expected = f"{name} must be a whole number from {allowed}, not {value}"
            assert (str(caught.value), caught.value.data["path"]) == (expected, f"$.{name}")

    with_sup(test)


def test_a_page_of_lines_fits_into_a_message() -> None:
    half = "x" * (256 * 1024)

    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, half, half, "y", half)
        page = sup.logs_nowait(job_id)
        assert ([len(entry.text) for entry in page.entries], page.next) == ([len(half)] * 2, 2)
        page = sup.logs_nowait(job_id, since=page.next)
        assert ([len(entry.text) for entry in page.entries], page.next) == ([1, len(half)], 4)

    with_sup(test)


def test_a_page_has_one_line_even_if_it_is_longer_than_a_page() -> None:
    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, "x" * (PAGE_BYTES + 1), "y")
        assert sup.logs_nowait(job_id).next == 1

    with_sup(test)


def test_what_is_no_text_counts_as_it_is_sent() -> None:
    odd = b"\xff" * (PAGE_BYTES // 4)

    async def test(sup: Supervisor) -> None:
        _, job_id = await start_talking(sup, *[odd] * 6)
        entries = sup.logs_nowait(job_id).entries
        sizes = [len(entry.text) + len(entry.base64 or "") for entry in entries]
        assert sizes[0] > len(odd)
        assert sum(sizes) <= PAGE_BYTES < sum(sizes) + sizes[0]

    with_sup(test)


# --- counters -------------------------------------------------------------------------------------


def test_the_counters() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = [Script() for _ in range(3)]
        for script in scripts:
            await sup.start(script)
        await settle()
        scripts[0].finish()
        await settle()
        scripts[1].say("hello")
        sup.cancel_nowait("not-yet", if_unknown="remember")
        async with sup.watch():
            counted = sup.statistics_nowait()
        assert {state: number for state, number in counted.jobs.items() if number} == {
            JobState.SUCCEEDED: 1,
            JobState.RUNNING: 2,
        }
        assert set(counted.jobs) == set(JobState)
        fields = attrs.asdict(counted)
        del fields["jobs"]
        assert fields.pop("log_bytes") > 0
        assert fields == {
            "instance": sup.instance,
            "seq": sup.head_seq,
            "slots": 2,
            "slots_used": 2,
            "tombstones": 1,
            "watchers": 1,
            "accepting": True,
        }

    with_sup(test, slots=2)


def test_what_could_pause_can_be_done_at_once() -> None:
    def work() -> Iterator[None]:
        yield
        yield
        return 7  # type: ignore[return-value]

    assert finished(work()) == 7  # type: ignore[arg-type]
