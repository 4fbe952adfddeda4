"""The stub job: what a body sees and says under it is what it sees and says under a supervisor."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from fakes import open_sup, run

import supervisor
from supervisor import (
    Command,
    InvalidArguments,
    Job,
    JobCancelled,
    JobControl,
    JobFailed,
    JobRequest,
    JobTimedOut,
    Progress,
    Registry,
    SupervisorError,
    UnsuccessfulJob,
    current_job,
)
from supervisor.abc import result_of
from supervisor.testing._schedules.explore import explore
from supervisor.testing._schedules.races import RaceFound
from supervisor.testing._stub import Fails, Hangs, NotScripted, StubJob, Succeeds, stub_job
from supervisor.testing.errors import BadScenario, Deadlock, InsideTrio

# --- the same bodies under both -------------------------------------------------------------------


async def counts() -> int:
    for number in range(3):
        current_job().progress(number, 3, f"page {number}")
        await trio.sleep(1)
    return 3


async def counts_for_long() -> None:
    while True:
        current_job().progress(trio.current_time())
        await trio.sleep(1)


async def writes_lines() -> None:
    log = current_job().log
    log("one")
    log("two\nthree\n")
    log("")
    log("x" * 70_000)
    log("a lone \udc80 surrogate")
    log(12)  # type: ignore[arg-type]


async def tells_who_it_is() -> tuple[int, bool, str | None]:
    job = current_job()
    return job.attempt, job.cancel_requested, job.reason


async def raises() -> None:
    current_job().progress(1)
    raise ValueError("no such page")


async def raises_a_group() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises)
        await trio.sleep(1)


async def has_children_of_its_own() -> str:
    async def child(number: int) -> None:
        await trio.sleep(number)
        current_job().log(f"child {number}")

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(child, number)
    return "done"


async def logs_from_a_thread_of_its_own() -> None:
    await trio.to_thread.run_sync(lambda: current_job().log("from a thread"))


async def cleans_up() -> None:
    try:
        await trio.sleep_forever()
    finally:
        job = current_job()
        job.log(f"leaving: {job.cancel_requested} {job.reason}")
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        job.log("gone")


async def tells_what_cancelled_it() -> None:
    try:
        await trio.sleep_forever()
    except trio.Cancelled as exc:
        current_job().log(str(exc).partition(" from task")[0])
        raise


async def swallows() -> str:
    with trio.CancelScope(shield=True):
        await trio.sleep(4)
    return "all the same"


async def raises_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise OSError("cannot tidy up")


async def heeds_the_notice() -> str:
    job = current_job()
    await job.wait_cancel_requested()
    job.log(f"{job.cancel_requested} {job.reason}")
    await trio.sleep(1)
    return "tidy"


async def asks_about_the_notice() -> str:
    while not current_job().cancel_requested:  # noqa: ASYNC110
        await trio.sleep(0.3)
    await current_job().wait_cancel_requested()
    return "seen"


async def outstays_its_grace() -> str:
    with trio.CancelScope(shield=True):
        await trio.sleep(30)
    return "late"


async def calls_badly() -> list[str]:
    job = current_job()
    said = []
    for arguments in (
        ("half",), (True,), (math.nan,), (1, math.inf), (1, None, ""), (1, None, 3), (10**400,),
    ):  # fmt: skip
        try:
            job.progress(*arguments)  # type: ignore[arg-type]
        except InvalidArguments as exc:
            said.append(f"{exc} {exc.data}")
    return said


async def returns_at_once() -> int:
    return 7


@attrs.frozen
class Case:
    """A body, and what is done to it.

    `cancels` are (seconds, reason, options); `after_progress` cancels within a call of the body.
    """

    body: Callable[[], Awaitable[Any]]
    notice: float | None = attrs.field(default=None, kw_only=True)
    grace: float | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    cancels: tuple[tuple[float, str | None, dict[str, Any]], ...] = attrs.field(
        default=(), kw_only=True
    )
    after_progress: int | None = attrs.field(default=None, kw_only=True)

    def __str__(self) -> str:
        return self.body.__name__


def at(seconds: float, reason: str | None = "enough", **options: Any) -> Any:
    return seconds, reason, options


CASES = [
    Case(counts),
    Case(writes_lines),
    Case(tells_who_it_is),
    Case(raises),
    Case(raises_a_group),
    Case(has_children_of_its_own),
    Case(calls_badly),
    Case(returns_at_once),
    Case(counts, timeout=2.5),
    Case(counts, timeout=3.5),
    Case(counts, timeout=1.5, notice=1),
    Case(counts, timeout=2.5, cancels=(at(1.5),)),
    Case(cleans_up, timeout=2.5, cancels=(at(1.5),)),
    Case(cleans_up, timeout=1.5, cancels=(at(2.5),)),
    Case(swallows, timeout=1.5),
    Case(raises_when_cancelled, timeout=1.5),
    Case(outstays_its_grace, timeout=1.5, grace=5),
    Case(counts, cancels=(at(1.5),)),
    Case(counts, cancels=(at(1.5, None),)),
    Case(counts, after_progress=2),
    Case(counts, after_progress=2, notice=0.5),
    Case(counts, after_progress=2, notice=9),
    Case(counts_for_long, after_progress=2, notice=2.5),
    Case(has_children_of_its_own, cancels=(at(0.5),)),
    Case(cleans_up, cancels=(at(1),)),
    Case(cleans_up, cancels=(at(1, "first"), at(2, "second"))),
    Case(cleans_up, cancels=(at(0, "at once"),)),
    Case(tells_what_cancelled_it, cancels=(at(1),)),
    Case(tells_what_cancelled_it, cancels=(at(1),), notice=3),
    Case(tells_what_cancelled_it, cancels=(at(1, force=True),)),
    Case(swallows, cancels=(at(1),)),
    Case(swallows, cancels=(at(1, force=True),)),
    Case(raises_when_cancelled, cancels=(at(1),)),
    Case(raises_when_cancelled, cancels=(at(1),), notice=2),
    Case(heeds_the_notice, cancels=(at(1),), notice=5),
    Case(heeds_the_notice, cancels=(at(1),), notice=0.5),
    Case(heeds_the_notice, cancels=(at(1), at(1.5, "hurry", grace=0.1)), notice=5),
    Case(heeds_the_notice, cancels=(at(1), at(1.5, "now", force=True)), notice=5),
    Case(heeds_the_notice, cancels=(at(1), at(1.5, "again")), notice=5),
    Case(outstays_its_grace, cancels=(at(1), at(1.5, "hurry", grace=8)), notice=5),
    Case(asks_about_the_notice, cancels=(at(1),), notice=5),
    Case(outstays_its_grace, cancels=(at(1),), grace=5),
    Case(outstays_its_grace, cancels=(at(1), at(20, "still there?")), grace=5),
    Case(outstays_its_grace, cancels=(at(1, force=True),)),
    Case(outstays_its_grace, cancels=(at(1),), grace=60),
]


@attrs.define
class Seen:
    """What can be seen of one job."""

    progress: Sequence[Progress] = attrs.field(factory=list)
    logs: list[str] = attrs.field(factory=list)
    stands: list[tuple[Any, ...]] = attrs.field(factory=list)
    record: dict[str, Any] = attrs.field(factory=dict)
    result: Any = None

    async def watch(self, now: Callable[[], Job]) -> None:
        """Twice a second, off the beat of everything else, how the job stands."""
        await trio.sleep(0.25)
        while True:
            job = now()
            self.stands.append((job.state, job.rung, job.kill_in, job.why, job.progress))
            await trio.sleep(0.5)


def comparable(job: Job) -> dict[str, Any]:
    """The record without what is not the same in two runs: positions and the time of day."""
    began = job.created_at.timestamp()
    fields = attrs.asdict(job, recurse=False)
    del fields["seq"], fields["id"]
    if job.error is not None:
        fields["error"] = (job.error.type, job.error.message, job.error.notes)
    if job.certificate is not None:
        death = attrs.asdict(job.certificate, recurse=False)
        death["rungs"] = [(rung.rung, rung.at.timestamp() - began) for rung in death["rungs"]]
        first, *later = (job.certificate.first_request, *job.certificate.later_requests)
        death["first_request"] = since(first, began)
        death["later_requests"] = [since(request, began) for request in later]
        fields["certificate"] = death
    for name in ("created_at", "started_at", "ended_at"):
        if fields[name] is not None:
            fields[name] = fields[name].timestamp() - began
    return fields


def since(request: supervisor.CancelRequest, began: float) -> tuple[Any, ...]:
    asked = attrs.asdict(request)
    asked["at"] = request.at.timestamp() - began
    return tuple(asked.items())


def under_a_supervisor(case: Case) -> Seen:
    seen = Seen(progress=[])

    async def main() -> None:
        async with open_sup() as sup, trio.open_nursery() as nursery:
            told = sup._engine.on_progress

            def on_progress(entry: Any, news: Progress) -> None:
                told(entry, news)
                seen.progress.append(news)  # type: ignore[attr-defined]
                if len(seen.progress) == case.after_progress:
                    sup.cancel_nowait(entry.id, reason="enough")

            sup._engine.on_progress = on_progress  # type: ignore[method-assign]
            job = await sup.start(
                case.body, notice=case.notice, grace=case.grace, timeout=case.timeout
            )
            nursery.start_soon(seen.watch, lambda: job.record)
            nursery.start_soon(ask, case.cancels, lambda **how: sup.cancel_nowait(job.id, **how))
            try:
                seen.result = await job.result()
            except UnsuccessfulJob as exc:
                seen.result = described(exc)
            seen.logs = [entry.text for entry in (await sup.logs(job.id)).entries]
            seen.record = comparable(job.record)
            nursery.cancel_scope.cancel()

    run(main)
    return seen


async def ask(cancels: Sequence[Any], cancel: Callable[..., Any]) -> None:
    """Cancel at each of the moments."""
    began = trio.current_time()
    for seconds, reason, options in cancels:
        await trio.sleep_until(began + seconds)
        cancel(reason=reason, **options)


def described(error: UnsuccessfulJob) -> tuple[Any, ...]:
    return type(error), str(error).replace(error.job.id, "ID")


def under_the_stub(case: Case) -> Seen:
    """In an async test, with the block."""
    seen = Seen()
    job = stub_job(
        name=case.body.__name__,
        notice=case.notice,
        grace=case.grace,
        timeout=case.timeout,
        cancel_after_progress=case.after_progress,
        reason="enough" if case.after_progress else None,
    )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seen.watch, lambda: job.record)
            nursery.start_soon(ask, case.cancels, job.cancel)
            error: BaseException | None = None
            try:
                with job:
                    seen.result = await case.body()
            except Exception as exc:
                error = exc
            note_end(seen, job, error)
            nursery.cancel_scope.cancel()

    run(main)
    return seen


def under_the_stubs_run(case: Case) -> Seen:
    """In a plain test."""
    seen = Seen()
    (seconds, reason, _), *_ = case.cancels or (at(0.0),)
    job = stub_job(
        notice=case.notice,
        grace=case.grace,
        timeout=case.timeout,
        cancel_after_progress=case.after_progress,
        cancel_at=seconds if case.cancels else None,
        reason=reason if case.cancels or case.after_progress else None,
    )
    error: BaseException | None = None
    try:
        seen.result = job.run(case.body)
    except (JobCancelled, JobTimedOut) as exc:
        assert exc.job == job.record
    except Exception as exc:
        error = exc
    note_end(seen, job, error)
    return seen


def note_end(seen: Seen, job: StubJob, error: BaseException | None) -> None:
    seen.progress, seen.logs = job.progress_made, job.logs
    seen.record = comparable(job.record)
    try:
        result_of(job.record, error)
    except UnsuccessfulJob as exc:
        assert exc.__cause__ is (error if isinstance(exc, JobFailed) else None)
        seen.result = described(exc)


def number_of(case: Case) -> str:
    return f"{CASES.index(case)}-{case}"


@pytest.mark.parametrize("case", CASES, ids=number_of)
def test_a_block_shows_what_a_supervisor_shows(case: Case) -> None:
    real, stub = under_a_supervisor(case), under_the_stub(case)
    assert stub.record["result"] is None  # a block has no value
    stub.record["result"] = real.record["result"]
    assert stub == real


SCRIPTABLE = [
    case
    for case in CASES
    if len(case.cancels) <= 1 and not any(options for _, _, options in case.cancels)
]


@pytest.mark.parametrize("case", SCRIPTABLE, ids=number_of)
def test_a_run_shows_what_a_supervisor_shows(case: Case) -> None:
    real, stub = under_a_supervisor(case), under_the_stubs_run(case)
    real.stands.clear()  # nobody watches a run
    assert stub == real


def test_the_cases_are_of_all_kinds() -> None:
    """That the comparison above compares something."""
    seen = [under_a_supervisor(case) for case in CASES]
    states = {one.record["state"] for one in seen}
    assert states == {"succeeded", "failed", "cancelled", "timed_out"}
    assert {one.record["how"] for one in seen} == {"returned", "raised", "cooperative"}
    assert any(one.record["late"] for one in seen)
    rungs = {(stand[0], stand[1]) for one in seen for stand in one.stands}
    assert rungs >= {
        ("running", None), ("cancelling", "notice"), ("cancelling", "cancel"),
        ("cancelling", "verify"), ("stuck", "cancel"), ("stuck", "verify"),
    }  # fmt: skip


def test_a_body_sees_the_same_object_under_both() -> None:
    async def kind() -> type:
        return type(current_job())

    async def real() -> type:
        async with open_sup() as sup:
            result: type = await (await sup.start(kind)).result()
            return result

    assert stub_job().run(kind) is run(real)


def test_a_body_may_write_from_a_thread() -> None:
    async def real() -> list[str]:
        async with supervisor.open_supervisor() as sup:
            job = await sup.start(logs_from_a_thread_of_its_own)
            await job.wait()
            return [entry.text for entry in (await sup.logs(job.id)).entries]

    async def stub() -> list[str]:
        with stub_job() as job:
            await logs_from_a_thread_of_its_own()
        assert job.record.started_at is not None
        assert (job.record.started_at - job.record.created_at).total_seconds() < 1
        return job.logs

    assert trio.run(stub) == trio.run(real) == ["from a thread"]


# --- what the test says ---------------------------------------------------------------------------


def test_the_job_is_as_the_test_says() -> None:
    async def body(*more: int) -> tuple[Any, ...]:
        job = current_job()
        return job.id, job.attempt, more

    job = stub_job(id="build-7", attempt=3, name="build", labels={"team": "blue"})
    assert job.run(body, 1, 2) == ("build-7", 3, (1, 2))
    record = job.record
    assert (record.id, record.attempt, record.name) == ("build-7", 3, "build")
    assert record.labels == {"team": "blue"}
    assert record.result == ("build-7", 3, (1, 2))
    assert (job.id, job.attempt, job.cancel_requested, job.reason) == ("build-7", 3, False, None)
    assert repr(job) == "<stub job build-7 attempt 3: succeeded>"


def test_a_run_raises_what_the_body_raises() -> None:
    job = stub_job()
    with pytest.raises(ValueError, match="no such page"):
        job.run(raises)
    assert job.record.state == "failed"
    assert job.record.error is not None
    assert job.record.error.message == "no such page"


def test_a_cancelled_run_says_so() -> None:
    job = stub_job(cancel_after_progress=3, reason="too slow")
    with pytest.raises(JobCancelled, match=r"was cancelled \(user\): too slow") as caught:
        job.run(counts_for_long)
    assert len(job.progress_made) == 3
    assert caught.value.job.reason == job.reason == "too slow"


def test_a_job_that_was_cancelled_before_is_not_entered() -> None:
    job = stub_job()
    assert job.cancel(reason="changed my mind") == "cancelling"
    with pytest.raises(JobCancelled, match="changed my mind"):
        job.run(counts)
    assert job.record.how == "never_started"
    with pytest.raises(RuntimeError, match="has been used"):
        job.run(counts)
    assert not job.progress_made
    assert job.cancel() == "already_cancelled"


def test_a_cancel_after_the_end_changes_nothing() -> None:
    job = stub_job()
    job.run(counts)
    record = job.record
    assert job.cancel(reason="late") == "already_finished"
    assert job.record == record


def test_what_is_said_after_the_end_is_not_kept() -> None:
    kept: list[Any] = []

    async def body() -> None:
        kept.append(current_job())

    job = stub_job()
    job.run(body)
    kept[0].log("after the end")
    kept[0].progress(9)
    assert (job.logs, job.progress_made) == ([], [])


def test_a_block_serves_sync_code_too() -> None:
    with stub_job(cancel_after_progress=1, reason="enough", notice=3) as job:
        current_job().log("no Trio here")
        current_job().progress(1)
        assert (current_job().cancel_requested, current_job().reason) == (True, "enough")
    assert job.logs == ["no Trio here"]
    with pytest.raises(RuntimeError, match="works only in the body of a job"):
        current_job()


def test_a_block_inside_another_is_a_job_of_its_own() -> None:
    with stub_job(id="outer"):
        with stub_job(id="inner"):
            assert current_job().id == "inner"
        assert current_job().id == "outer"


def test_a_cancellation_ends_the_block_only() -> None:
    async def main() -> list[str]:
        went = []
        with stub_job(cancel_at=2) as job:
            await trio.sleep(5)
            went.append("too far")
        went.append("on")
        await trio.sleep(1)
        assert job.record.state == "cancelled"
        return went

    assert run(main) == ["on"]


def test_a_cancellation_from_outside_goes_through_the_block() -> None:
    async def main() -> str:
        with trio.move_on_after(1) as scope:
            with stub_job() as job:
                await trio.sleep_forever()
            raise AssertionError("the block took a cancellation that was not its own")
        assert scope.cancelled_caught
        return job.record.state

    assert run(main) == "failed"


def test_two_runs_are_alike() -> None:
    def once() -> tuple[Any, ...]:
        job = stub_job(cancel_at=2.5, reason="enough")
        with pytest.raises(JobCancelled):
            job.run(counts_for_long)
        return job.progress_made, job.record

    assert once() == once()


def test_no_task_is_left_of_a_block_with_a_deadline() -> None:
    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with stub_job(cancel_at=9, notice=9) as job:
            await trio.sleep(1)
            job.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before

    run(main)


# --- children -------------------------------------------------------------------------------------


async def crawl(url: str) -> int:
    current_job().log(f"crawls {url}")
    await trio.sleep(2)
    return len(url)


async def build() -> None:
    await trio.sleep(1)
    raise RuntimeError("no disk")


async def slow() -> None:
    await trio.sleep_forever()


def registry() -> Registry:
    known = Registry()
    for function in (crawl, build, slow):
        known.job(function)
    return known


SCRIPT = {
    "crawl": Succeeds(3, after=2, logs=["crawls abc"]),
    "build": Fails("no disk", after=1),
    "slow": Hangs(),
}


async def events_of(control: JobControl, ids: tuple[str, ...]) -> list[tuple[str, str]]:
    """What happened so far to these jobs."""
    seen = []
    with trio.move_on_after(0):
        async with control.watch(0, filter=supervisor.JobFilter(job_ids=ids)) as events:
            async for event in events:
                assert isinstance(event, supervisor.JobEvent)
                seen.append((event.type, event.job_id))
    return seen


async def parent(control: JobControl) -> list[Any]:
    """Everything that a job does with a control, and what it is told."""
    told: list[Any] = []

    async def note(asked: Awaitable[Any]) -> None:
        try:
            answer = await asked
        except (SupervisorError, UnsuccessfulJob, trio.TooSlowError) as exc:
            answer = type(exc), str(exc), type(exc.__cause__)
        told.append(answer)

    one = await control.start("crawl", args={"url": "abc"}, job_id="c", labels={"a": "b"})
    two = await control.start(build, job_id="b")
    three = await control.start("slow", job_id="s", notice=1)
    await note(two.result())
    await note(one.result())
    await note(three.wait(timeout=1))
    reply = await three.cancel(reason="no longer needed", wait="finished")
    told.append((reply.outcome, reply.job.state if reply.job else None))
    await note(three.result())
    children = supervisor.JobFilter(job_ids=("c", "b", "s"))
    for job in (await control.list(children)).jobs:
        told.append((job.id, job.name, job.kind, job.state, job.labels, job.duration))
    told.append([line.text for line in (await control.logs("c")).entries])
    await note(control.cancel("nobody"))
    await note(control.start("no such job"))
    await note(control.start("crawl", args={"uri": "abc"}))
    await note(control.start("crawl", "abc"))
    await note(control.start(slow, args={}))
    await note(control.start(len))  # type: ignore[arg-type]
    await note(control.start(3))  # type: ignore[arg-type]
    await note(control.start(slow, job_id="c"))
    await note(control.start(slow, job_id="a space"))
    again = await control.start("crawl", args={"url": "abc"}, job_id="c")
    told.append((again.created, await again.result()))
    replies = await control.start_many([JobRequest(slow, job_id=f"m{n}") for n in range(3)])
    told.append(len(replies))
    await trio.sleep(1)
    stopped = await control.cancel_many(
        supervisor.JobFilter(name="slow"), reason="all", wait="finished"
    )
    told.append([getattr(reply, "outcome", reply) for reply in stopped])
    told.append(await events_of(control, ("c", "b", "s", "m0")))
    return told


def test_a_job_cannot_tell_scripted_children_from_real_ones() -> None:
    async def real() -> Any:
        async with open_sup(registry=registry()) as sup:
            return await (await sup.start(parent, sup, job_id="parent")).result()

    job = stub_job(id="parent", children=SCRIPT, registry=registry())
    told = job.run(parent, job.control)
    really = run(real)
    assert told == really
    assert len(told) > 20


def test_what_was_started_and_cancelled_is_kept() -> None:
    async def body(control: JobControl) -> None:
        first = await control.start(crawl, "abc", labels={"page": "1"})
        for _ in range(2):  # the second time it is there already
            await control.start("build", args={"target": "all"}, job_id="b")
        await first.cancel(reason="enough", grace=2)
        await control.cancel("b", force=True, wait="finished")

    job = stub_job(children=SCRIPT)
    job.run(body, job.control)
    first, second = job.control.starts
    assert (first.work, first.arguments, first.labels) == (crawl, ("abc",), {"page": "1"})
    assert first.job_id == "child-1"
    assert (second.work, second.args, second.job_id) == ("build", {"target": "all"}, "b")
    assert [attrs.astuple(cancel) for cancel in job.control.cancels] == [
        ("child-1", "enough", 2.0, False),
        ("b", None, 10.0, True),
    ]
    assert job.control.left == ()


def test_children_that_are_left_are_named_and_ended() -> None:
    async def body(control: JobControl) -> str:
        await control.start("slow", job_id="polite")
        await control.start("stubborn", job_id="stubborn")
        await control.start(Command(["sleep", "9"]), job_id="program")
        await trio.sleep(1)
        return "done"

    stays = Hangs(leaving=math.inf)
    job = stub_job(children={"slow": Hangs(), "stubborn": stays, "sleep": stays})
    assert job.run(body, job.control) == "done"
    assert job.control.left == ("polite", "stubborn", "program")
    assert not job.control.cancels


def test_a_list_has_an_outcome_for_each_start() -> None:
    async def retries(control: JobControl) -> list[Any]:
        ends = []
        for _ in range(4):
            child = await control.start("build")
            ends.append((await child.wait()).state)
        return ends

    job = stub_job(children={"build": [Fails(OSError("no disk")), Fails(), Succeeds()]})
    assert job.run(retries, job.control) == ["failed", "failed", "succeeded", "succeeded"]


def test_children_are_known_by_id_name_function_and_program() -> None:
    async def body(control: JobControl) -> list[Any]:
        starts = [
            await control.start(crawl, "x", job_id="by-id"),
            await control.start(crawl, "x", name="by-name"),
            await control.start(crawl, "x"),
            await control.start(Command(["/usr/bin/make", "-j"])),
        ]
        return [await one.wait() for one in starts]

    job = stub_job(
        children={
            "crawl": Succeeds("function"),
            "by-name": Succeeds("name"),
            "by-id": Succeeds("id"),
            "make": Fails("no rule", exit_code=2, logs=["gcc"]),
        }
    )
    *functions, make = job.run(body, job.control)
    assert [record.result for record in functions] == ["id", "name", "function"]
    assert (make.kind, make.exit_code, make.log_lines) == ("command", 2, 2)


def test_a_child_raises_the_very_exception_of_the_script() -> None:
    error = OSError("no disk")

    async def body(control: JobControl) -> BaseException | None:
        try:
            await (await control.start(build)).result()
        except JobFailed as exc:
            return exc.__cause__
        return None

    job = stub_job(children={"build": Fails(error)})
    assert job.run(body, job.control) is error


@pytest.mark.parametrize(
    ("force", "state", "signal"), [(False, "cancelling", 15), (True, "cancelled", 9)]
)
def test_a_command_that_does_not_leave_can_be_killed(force: bool, state: str, signal: int) -> None:
    async def body(control: JobControl) -> Any:
        child = await control.start(Command(["sleep", "9"]), grace=20)
        await trio.sleep(1)
        reply = await child.cancel(wait="finished", timeout=5, force=force)
        assert reply.job is not None
        return reply.job.state, (await child.wait()).signal

    job = stub_job(children={"sleep": Hangs(leaving=7)})
    assert job.run(body, job.control) == (state, signal)


def test_a_function_that_does_not_leave_is_stuck() -> None:
    async def body(control: JobControl) -> Any:
        child = await control.start("slow", grace=3)
        await trio.sleep(1)
        reply = await child.cancel(wait="finished")
        assert reply.job is not None
        return reply.job.state, (await child.wait()).late

    job = stub_job(children={"slow": Hangs(leaving=8)})
    assert job.run(body, job.control) == ("stuck", True)


def test_a_job_finds_itself_through_its_control() -> None:
    async def body(control: JobControl) -> Mapping[str, str]:
        own = current_job().id
        labels = (await control.get(own)).labels
        await control.cancel(own, reason=labels["why"])
        await trio.sleep_forever()
        raise AssertionError

    job = stub_job(id="me", labels={"why": "suicide"}, children={})
    with pytest.raises(JobCancelled, match="suicide"):
        job.run(body, job.control)


def test_a_cancelled_job_may_cancel_its_children() -> None:
    async def body(control: JobControl) -> None:
        child = await control.start("slow")
        try:
            await child.wait()
        finally:
            with trio.CancelScope(shield=True):
                await child.cancel(reason=f"parent: {current_job().reason}", wait="finished")

    job = stub_job(cancel_at=5, reason="Ctrl+C", children={"slow": Hangs(leaving=1)})
    with pytest.raises(JobCancelled):
        job.run(body, job.control)
    assert [cancel.reason for cancel in job.control.cancels] == ["parent: Ctrl+C"]
    assert job.control.left == ()
    assert job.record.duration == 6


def test_an_async_block_has_children() -> None:
    async def main() -> None:
        async with stub_job(children={"crawl": Succeeds(3)}) as job:
            assert await (await job.control.start(crawl, "abc")).result() == 3
        assert [start.work for start in job.control.starts] == [crawl]

    run(main)


def test_a_job_under_the_stub_can_be_explored() -> None:
    def scenario(waits_for_its_child: bool) -> Callable[[], Awaitable[None]]:
        async def body(control: JobControl) -> None:
            child = await control.start("build")
            if waits_for_its_child:
                await child.wait()

        async def stub() -> None:
            async with stub_job(children={"build": Succeeds()}) as job:
                await body(job.control)
            assert not job.control.left

        return stub

    assert explore(scenario(waits_for_its_child=True), preemptions=1).exhausted
    with pytest.raises(RaceFound, match="assert not"):
        explore(scenario(waits_for_its_child=False), preemptions=1)


# --- bad input ------------------------------------------------------------------------------------


async def takes_two(one: int, two: int) -> None: ...


async def counts_out() -> AsyncIterator[int]:
    yield 1


def counts_out_slowly() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (len, (), "len is not an async function; stub_job"),
        (lambda: None, (), "is not an async function"),
        (counts_out, (), "is an async generator"),
        (counts_out_slowly, (), "is a generator"),
        (takes_two, (1,), r"takes_two.*cannot be called with 1 argument: .*'two'"),
        (counts, (1,), "too many positional arguments"),
        (3, (), "needs an async function, not 3"),
    ],
)
def test_what_is_no_job_function_is_refused(
    function: Any, arguments: tuple[Any, ...], says: str
) -> None:
    job = stub_job()
    with pytest.raises(BadScenario, match=says):
        job.run(function, *arguments)
    assert job.run(counts) == 3  # it was not used up


def test_a_coroutine_object_is_refused() -> None:
    with pytest.raises(BadScenario, match=r"coroutine object.*stub_job\(...\).run\(counts\)"):
        stub_job().run(counts())  # type: ignore[arg-type]


def test_a_run_in_a_run_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(InsideTrio, match="here write `with stub_job"):
            stub_job().run(counts)
        with pytest.raises(InsideTrio, match="here write `async with stub_job"):
            stub_job(children={}).run(counts)

    run(main)


def test_a_job_that_waits_for_ever_is_told_so() -> None:
    with pytest.raises(Deadlock):
        stub_job().run(slow)


def test_a_stub_job_serves_once() -> None:
    job = stub_job()
    job.run(counts)
    with pytest.raises(RuntimeError, match=r"make another: stub_job\(attempt=2\)"):
        job.run(counts)
    with pytest.raises(RuntimeError, match="has been used"), job:
        pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"id": "a b"}, "cannot be a job id"),
        ({"id": None}, "cannot be a job id"),
        ({"attempt": 0}, "attempt must be a whole number from 1"),
        ({"name": ""}, "name must have 1"),
        ({"labels": ["x"]}, "labels must map"),
        ({"grace": -1}, "grace must be a finite number"),
        ({"notice": "1 s"}, "notice must be a number of seconds"),
        ({"cancel_after_progress": 0}, "cancel_after_progress must be a whole number"),
        ({"timeout": math.nan}, "timeout must be a finite number"),
        ({"cancel_at": math.inf}, "cancel_at must be a finite number"),
        ({"cancel_at": 1, "reason": ""}, "reason must have 1"),
        ({"reason": "why"}, "give cancel_after_progress= or cancel_at= too"),
        ({"registry": Registry()}, "give children=.* too"),
        ({"children": ["crawl"]}, "children maps names of children to what they do"),
        ({"children": {"crawl": 3}}, r"children\['crawl'\] must be Succeeds.*not 3"),
        ({"children": {"crawl": Succeeds}}, r"children\['crawl'\] must be Succeeds"),
        ({"children": {"crawl": []}}, "one outcome for each start"),
        ({"children": {crawl: Succeeds()}}, "children are named by text"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArguments, match=says):
        stub_job(**options)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Succeeds(after=-1), "after must be"),
        (lambda: Hangs(leaving=-1), "leaving must be"),
        (lambda: Fails(3), "a text or an exception, not 3"),  # type: ignore[arg-type]
        (lambda: Fails(KeyboardInterrupt()), "a text or an exception"),  # type: ignore[arg-type]
        (lambda: Fails("x", exit_code=0), "exit_code must be"),
        (lambda: Succeeds(logs="line"), r"write logs=\['line'\]"),
        (lambda: Succeeds(logs=[3]), "a line of logs must be text"),  # type: ignore[list-item]
    ],
)
def test_a_wrong_outcome_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(InvalidArguments, match=says):
        make()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reason": ""}, "reason must have 1"),
        ({"grace": -1}, "grace must be"),
        ({"force": 1}, "force must be True or False"),
    ],
)
def test_a_wrong_cancel_is_refused(options: dict[str, Any], says: str) -> None:
    with stub_job() as job, pytest.raises(InvalidArguments, match=says):
        job.cancel(**options)
    assert not job.cancel_requested


def test_a_block_cannot_hold_what_never_began() -> None:
    job = stub_job()
    job.cancel()
    with pytest.raises(RuntimeError, match="does not enter the body of such a job"), job:
        pass


@pytest.mark.parametrize("option", ["cancel_at", "timeout"])
def test_a_deadline_needs_trios_clock(option: str) -> None:
    job = stub_job(**{option: 1})  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="timeout= count on Trio's clock"), job:
        pass


def test_children_need_an_async_block() -> None:
    with pytest.raises(RuntimeError, match="async with stub_job"), stub_job(children={}):
        pass


def test_a_stub_without_children_has_no_control() -> None:
    with pytest.raises(RuntimeError, match=r"stub_job\(children="):
        _ = stub_job().control


@pytest.mark.parametrize("work", ["crawl", crawl, Command(["crawl"])])
def test_a_child_that_is_not_scripted_is_told(work: Any) -> None:
    async def body(control: JobControl) -> None:
        await control.start(work)

    job = stub_job(children={"build": Succeeds(), "slow": Hangs()})
    with pytest.raises(NotScripted, match=r"not scripted: 'crawl'; scripted: 'build', 'slow'"):
        job.run(body, job.control)


def test_a_registered_child_that_is_not_scripted_is_told() -> None:
    async def body(control: JobControl) -> None:
        await control.start("crawl", args={"url": "x"})

    job = stub_job(children={}, registry=registry())
    with pytest.raises(NotScripted, match="none is"):
        job.run(body, job.control)


def test_arguments_of_any_registered_name_must_be_a_mapping() -> None:
    async def body(control: JobControl) -> None:
        await control.start("crawl", args=["x"])  # type: ignore[arg-type]

    job = stub_job(children={"crawl": Succeeds()})
    with pytest.raises(InvalidArguments, match="args of job 'crawl' must be names and values"):
        job.run(body, job.control)


def test_the_stub_needs_neither_hypothesis_nor_pytest() -> None:
    code = (
        "import sys\n"
        "for name in ('hypothesis', 'pytest', '_pytest'): sys.modules[name] = None\n"
        "from supervisor.testing._stub import stub_job\n"
        "async def body(): return 7\n"
        "print(stub_job().run(body))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "7\n"
