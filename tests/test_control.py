"""What holds for a supervisor in this process holds for a client of one, word for word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from controls import KINDS, open_control

import supervisor
from supervisor import (
    CancelOutcome,
    CancelReply,
    Command,
    InvalidArguments,
    JobCancelled,
    JobControl,
    JobEvent,
    JobFailed,
    JobFilter,
    JobHandle,
    JobIdConflict,
    JobNotFound,
    JobRequest,
    JobState,
    JobTimedOut,
    LogEntry,
    ProgressEvent,
    Registry,
    ReplayGone,
    ShuttingDown,
    UnknownJobName,
)

Test = Callable[[JobControl], Awaitable[None]]


def jobs() -> Registry:
    registry = Registry()
    gate = trio.Event()

    @registry.job
    async def idle() -> None:
        await trio.sleep_forever()

    @registry.job
    async def add(one: int, other: int = 1) -> int:
        return one + other

    @registry.job
    async def fail(message: str) -> None:
        raise ValueError(message)

    @registry.job
    async def talk(lines: list[str]) -> None:
        for number, line in enumerate(lines, 1):
            supervisor.current_job().log(line)
            supervisor.current_job().progress(number, len(lines))

    @registry.job
    async def polite() -> str:
        await supervisor.current_job().wait_cancel_requested()
        return "finished what I was doing"

    @registry.job
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await gate.wait()

    @registry.job
    async def open_gate() -> None:
        gate.set()

    @registry.job
    async def odd() -> object:
        return {1, 2, 3}

    return registry


def on_both(test: Test) -> Callable[[str], None]:
    """The test as a plain function of the kind of control, on a clock of its own."""

    @pytest.mark.parametrize("kind", KINDS)
    def run(kind: str) -> None:
        async def main() -> None:
            async with open_control(kind, jobs()) as control:
                await test(control)

        trio.run(main)

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def running(control: JobControl, job: JobHandle) -> None:
    """Return once the job's body was entered."""
    async with control.watch(filter=JobFilter(job_ids=(job.id,))) as events:
        if (await control.get(job.id)).state is JobState.RUNNING:
            return
        async for event in events:
            if isinstance(event, JobEvent) and event.state is JobState.RUNNING:
                return


@on_both
async def test_a_result_comes_back(control: JobControl) -> None:
    job = await control.start("add", args={"one": 2, "other": 3})
    assert job.created
    assert await job.result() == 5
    record = await control.get(job.id)
    assert (record.state, record.how, record.result) == (JobState.SUCCEEDED, "returned", 5)
    assert record.certificate is None
    assert job.state is JobState.SUCCEEDED


@on_both
async def test_a_failure_is_a_record_not_an_exception(control: JobControl) -> None:
    job = await control.start("fail", args={"message": "no [bold]luck"})
    record = await job.wait()
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "no [bold]luck")
    assert "no [bold]luck" in (record.error.traceback or "")
    with pytest.raises(JobFailed, match="ValueError: no"):
        await job.result()


@on_both
async def test_cancel_and_know_that_it_is_gone(control: JobControl) -> None:
    job = await control.start("idle", labels={"team": "blue"}, name=None)
    await running(control, job)
    reply = await job.cancel(reason="enough", wait="finished")
    assert reply.outcome is CancelOutcome.CANCELLING
    assert reply.job is not None and reply.job.state is JobState.CANCELLED
    assert reply.certificate is not None
    assert reply.certificate.first_request.reason == "enough"
    assert reply.certificate.how == "cooperative"
    assert reply.certificate.proof.means == "task_exited"
    assert reply.certificate.request_to_dead >= 0
    assert [step.rung for step in reply.certificate.rungs] == ["cancel"]
    with pytest.raises(JobCancelled, match="enough"):
        await job.result()


@on_both
async def test_a_repeated_cancel_is_a_typed_success(control: JobControl) -> None:
    job = await control.start("stubborn", grace=60)
    await running(control, job)
    assert (await control.cancel(job.id, reason="first")).outcome is CancelOutcome.CANCELLING
    assert (await control.cancel(job.id, reason="second")).outcome is CancelOutcome.JOINED
    assert (await control.cancel(job.id, grace=30)).outcome is CancelOutcome.ESCALATED
    await control.start("open_gate")
    await job.wait()
    reply = await control.cancel(job.id)
    assert reply.outcome is CancelOutcome.ALREADY_FINISHED  # it returned within its grace
    assert reply.first_request is not None and reply.first_request.reason == "first"
    assert reply.certificate is not None and reply.certificate.later_count == 2


@on_both
async def test_cancel_of_ended_and_unknown_jobs_is_told_apart(control: JobControl) -> None:
    job = await control.start("add", args={"one": 1})
    await job.wait()
    reply = await control.cancel(job.id)
    assert reply.outcome is CancelOutcome.ALREADY_FINISHED
    assert reply.job is not None and reply.job.state is JobState.SUCCEEDED
    with pytest.raises(JobNotFound, match="nobody"):
        await control.cancel("nobody")


@on_both
async def test_a_stale_attempt_is_left_alone(control: JobControl) -> None:
    job = await control.start("idle", job_id="again")
    await control.cancel("again", wait="finished")
    again = await control.start("idle", job_id="again", id_reuse_policy="allow")
    assert again.record.attempt == 2
    reply = await control.cancel("again", attempt=1)
    assert reply.outcome is CancelOutcome.STALE_ATTEMPT
    assert (await control.get("again")).cause is None
    assert job.id == again.id


@on_both
async def test_a_cancel_may_precede_its_start(control: JobControl) -> None:
    reply = await control.cancel("early", reason="changed my mind", if_unknown="remember")
    assert (reply.outcome, reply.job) == (CancelOutcome.RECORDED, None)
    job = await control.start("idle", job_id="early")
    record = await job.wait()
    assert (record.state, record.how) == (JobState.CANCELLED, "never_started")
    assert record.reason == "changed my mind"


@on_both
async def test_remembered_but_to_be_run_anyway(control: JobControl) -> None:
    await control.cancel("early", if_unknown="remember")
    job = await control.start("add", args={"one": 1}, job_id="early", if_remembered="run")
    assert await job.result() == 2


@on_both
async def test_a_stuck_job_says_where_it_hangs(control: JobControl) -> None:
    job = await control.start("stubborn", grace=0.01)
    await running(control, job)
    reply = await job.cancel(wait="finished")
    assert reply.job is not None and reply.job.state is JobState.STUCK
    assert any("stubborn" in line and "test_control.py" in line for line in reply.job.where)
    await control.start("open_gate")
    record = await job.wait()
    assert (record.state, record.late) == (JobState.CANCELLED, True)


@on_both
async def test_notice_lets_the_body_finish(control: JobControl) -> None:
    job = await control.start("polite", notice=60)
    await running(control, job)
    await job.cancel()
    record = await job.wait()
    assert (record.state, record.cancel_requested) == (JobState.SUCCEEDED, True)
    assert record.result == "finished what I was doing"


@on_both
async def test_a_deadline_is_a_stop_of_its_own_kind(control: JobControl) -> None:
    job = await control.start("idle", timeout=0.01)
    with pytest.raises(JobTimedOut, match=r"0\.01"):
        await job.result()
    assert job.record.cause == "deadline"


@on_both
async def test_a_wait_that_is_too_short_touches_nothing(control: JobControl) -> None:
    job = await control.start("idle")
    with pytest.raises(trio.TooSlowError):
        await job.wait(timeout=0.01)
    with pytest.raises(trio.TooSlowError):
        await control.wait(job.id, 0)
    assert (await control.get(job.id)).cause is None


@on_both
async def test_a_retried_start_runs_once(control: JobControl) -> None:
    one = await control.start("add", args={"one": 1}, job_id="retry")
    await one.wait()
    other = await control.start("add", args={"one": 1}, job_id="retry")
    assert (one.created, other.created) == (True, False)
    assert await other.result() == 2
    with pytest.raises(JobIdConflict, match="retry"):
        await control.start("add", args={"one": 2}, job_id="retry")


@on_both
async def test_replace_starts_after_confirmed_death(control: JobControl) -> None:
    first = await control.start("idle", job_id="only")
    await running(control, first)
    second = await control.start(
        "add", args={"one": 4}, job_id="only", id_conflict_policy="replace"
    )
    assert (await second.wait()).result == 5
    assert (await control.get("only")).attempt == 2


@on_both
async def test_many_starts_get_one_answer_each(control: JobControl) -> None:
    answers = await control.start_many(
        [
            JobRequest("add", args={"one": 1}),
            JobRequest("nothing like this"),
            JobRequest("add", args={"one": "x"}),
            JobRequest("idle", job_id="slow"),
        ]
    )
    first, unknown, wrong, slow = answers
    assert isinstance(first, JobHandle) and await first.result() == 2
    assert isinstance(unknown, UnknownJobName)
    assert unknown.data["known"] == [*sorted(job.name for job in jobs())]
    assert isinstance(wrong, InvalidArguments)
    assert isinstance(slow, JobHandle) and slow.id == "slow"


@on_both
async def test_many_cancels_get_one_answer_each(control: JobControl) -> None:
    for number in range(3):
        await control.start("idle", job_id=f"blue-{number}", labels={"team": "blue"})
    other = await control.start("idle", labels={"team": "red"})
    answers = await control.cancel_many(JobFilter(labels={"team": "blue"}), wait="finished")
    assert [answer.job_id for answer in answers if isinstance(answer, CancelReply)] == [
        "blue-0",
        "blue-1",
        "blue-2",
    ]
    assert all(
        isinstance(answer, CancelReply) and answer.job and answer.job.state is JobState.CANCELLED
        for answer in answers
    )
    assert (await control.get(other.id)).cause is None
    named = await control.cancel_many(JobFilter(job_ids=("blue-0", "nobody")))
    assert isinstance(named[0], CancelReply)
    assert named[0].outcome is CancelOutcome.ALREADY_CANCELLED
    assert isinstance(named[1], JobNotFound)


@on_both
async def test_lists_are_paged_and_filtered(control: JobControl) -> None:
    for number in range(5):
        await control.start("idle", job_id=f"n{number}", labels={"odd": str(number % 2)})
    page = await control.list(limit=2)
    ids = [job.id for job in page]
    position = page.seq
    while page.next_cursor:
        page = await control.list(limit=2, cursor=page.next_cursor)
        assert page.seq == position
        ids += [job.id for job in page]
    assert ids == ["n0", "n1", "n2", "n3", "n4"]
    odd = await control.list(JobFilter(labels={"odd": "1"}))
    assert [job.id for job in odd] == ["n1", "n3"]
    assert len(await control.list(JobFilter(state=(JobState.SUCCEEDED,)))) == 0


@on_both
async def test_bad_lists_are_refused(control: JobControl) -> None:
    for bad in ({"limit": 0}, {"limit": 1001}, {"cursor": "nonsense"}):
        with pytest.raises(InvalidArguments) as caught:
            await control.list(**bad)  # type: ignore[arg-type]
        assert str(caught.value.data["path"]).endswith(next(iter(bad)))


@on_both
async def test_events_lines_and_progress_are_watched_in_order(control: JobControl) -> None:
    async with control.watch(logs=True, progress=True) as events:
        job = await control.start("talk", args={"lines": ["one", "two\nthree"]})
        types: list[str] = []
        lines: list[tuple[int, str]] = []
        done: list[float] = []
        async for event in events:
            if isinstance(event, LogEntry):
                lines.append((event.n, event.text))
            elif isinstance(event, ProgressEvent):
                done.append(event.progress.done)
            elif isinstance(event, JobEvent):
                types.append(event.type)
                if event.type == "job.finished":
                    break
    assert types == ["job.starting", "job.started", "job.finished"]
    assert lines == [(1, "one"), (2, "two"), (3, "three")]
    assert done[-1] == 2
    page = await control.logs(job.id, since=1)
    assert [entry.text for entry in page.entries] == ["two", "three"]
    assert (page.next, page.eof) == (3, True)


@on_both
async def test_a_watch_replays_from_a_position(control: JobControl) -> None:
    position = (await control.statistics()).seq
    job = await control.start("add", args={"one": 1})
    await job.wait()
    async with control.watch(since=position) as events:
        seen = [await anext(events) for _ in range(3)]
    assert [event.type for event in seen if isinstance(event, JobEvent)] == [
        "job.starting",
        "job.started",
        "job.finished",
    ]
    with pytest.raises(ReplayGone):
        async with control.watch(since=position + 1000):
            pass
    with pytest.raises(ReplayGone):
        async with control.watch(since=position, instance="another"):
            pass
    instance = (await control.list()).instance
    async with control.watch(since=position, instance=instance) as events:
        assert isinstance(await anext(events), JobEvent)


@on_both
async def test_a_watch_can_be_of_one_job(control: JobControl) -> None:
    async with control.watch(filter=JobFilter(job_ids=("mine",))) as events:
        await control.start("add", args={"one": 1}, job_id="other")
        await control.start("add", args={"one": 1}, job_id="mine")
        first = await anext(events)
        assert isinstance(first, JobEvent) and first.job_id == "mine"


@on_both
async def test_commands_run_and_die(control: JobControl) -> None:
    done = await control.start(Command(["sh", "-c", "echo out; echo err >&2; exit 3"]))
    record = await done.wait()
    assert (record.state, record.exit_code, record.how) == (JobState.FAILED, 3, "exited")
    assert record.command == ("sh", "-c", "echo out; echo err >&2; exit 3")
    page = await control.logs(done.id)
    assert sorted((entry.stream, entry.text) for entry in page.entries) == [
        ("stderr", "err"),
        ("stdout", "out"),
    ]
    slow = await control.start(Command(["sleep", "60"]), name="nap")
    await running(control, slow)
    reply = await slow.cancel(wait="finished")
    assert reply.job is not None
    assert (reply.job.name, reply.job.state, reply.job.signal) == ("nap", JobState.CANCELLED, 15)


@on_both
async def test_a_missing_program_is_a_failed_job(control: JobControl) -> None:
    job = await control.start(Command(["no-such-program-anywhere"]))
    record = await job.wait()
    assert (record.state, record.how) == (JobState.FAILED, "never_started")
    assert record.error is not None and "no-such-program-anywhere" in record.error.message


@on_both
async def test_wrong_arguments_are_refused_before_the_job_exists(control: JobControl) -> None:
    for args in ({}, {"one": "x"}, {"one": 1, "third": 2}):
        with pytest.raises(InvalidArguments, match="one"):
            await control.start("add", args=args)
    with pytest.raises(UnknownJobName, match="add"):
        await control.start("ad")
    assert len(await control.list()) == 0


@on_both
async def test_bad_options_name_the_place(control: JobControl) -> None:
    for option, value in [
        ("grace", -1),
        ("grace", float("nan")),
        ("timeout", float("inf")),
        ("notice", "soon"),
        ("job_id", "no spaces"),
        ("job_id", "-x"),
        ("job_id", "x" * 129),
        ("labels", {"a": 1}),
        ("on_disconnect", "never"),
    ]:
        with pytest.raises(InvalidArguments) as caught:
            await control.start("idle", **{option: value})  # type: ignore[arg-type]
        assert option in str(caught.value.data["path"]), (option, caught.value)
    for option, value in [("id_conflict_policy", "x"), ("id_reuse_policy", "x")]:
        with pytest.raises(InvalidArguments, match=option):
            await control.start("idle", job_id="a", **{option: value})  # type: ignore[arg-type]
    for option, value in [("grace", -1), ("grace", float("inf")), ("wait", "x")]:
        with pytest.raises(InvalidArguments):
            await control.cancel("nobody", **{option: value})  # type: ignore[arg-type]
    assert len(await control.list()) == 0


@on_both
async def test_counters(control: JobControl) -> None:
    await (await control.start("add", args={"one": 1})).wait()
    await control.start("idle")
    await control.cancel("early", if_unknown="remember")
    counted = await control.statistics()
    assert counted.jobs["succeeded"] == 1
    assert counted.jobs["running"] + counted.jobs["starting"] == 1
    assert (counted.slots, counted.slots_used, counted.tombstones) == (None, 1, 1)
    assert counted.accepting


@on_both
async def test_shutdown_takes_no_new_jobs(control: JobControl) -> None:
    job = await control.start("idle")
    await control.shutdown("drain")
    with pytest.raises(ShuttingDown):
        await control.start("idle")
    assert not (await control.statistics()).accepting
    await job.cancel()


@on_both
async def test_a_callable_runs_here_only(control: JobControl) -> None:
    async def body() -> str:
        return supervisor.current_job().id

    if isinstance(control, supervisor.Client):
        with pytest.raises(TypeError, match=r"registry\.job"):
            await control.start(body)
    else:
        assert await (await control.start(body, job_id="me")).result() == "me"


@on_both
async def test_a_result_that_json_cannot_hold(control: JobControl) -> None:
    job = await control.start("odd")
    record = await job.wait()
    assert record.state is JobState.SUCCEEDED
    if isinstance(control, supervisor.Client):
        assert record.result is None and "set" in (record.result_error or "")
    else:
        assert record.result == {1, 2, 3}
