"""The engine: what it puts on record of its own accord, in which steps, and how a block ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest
import trio
from fakes import EPOCH, RESISTING, Body, FakeLauncher, Script, forever, open_sup, run, settle

from supervisor import (
    CancelRequest,
    Cause,
    Job,
    JobEvent,
    JobFailed,
    JobFilter,
    JobRequest,
    JobState,
    JobWatch,
    LogEntry,
    Progress,
    ProgressEvent,
    Supervisor,
)
from supervisor._engine import CHUNK, Engine
from supervisor._records import Final, JobSpec, Record
from supervisor._view import when
from supervisor.abc import JobSink, RunningJob
from supervisor.stores.memory import MemoryStore
from supervisor.testing import explore


def with_sup(test: Callable[[Supervisor], Awaitable[None]], **options: Any) -> None:
    """The test inside an open supervisor, whose jobs are let go afterwards."""

    async def main() -> None:
        async with open_sup(**options) as sup:
            await test(sup)
            for each in RESISTING:
                each.yield_now()
            await sup.cancel_many(JobFilter(), force=True)

    run(main)


def first_request(job: Job) -> CancelRequest:
    assert job.certificate is not None
    return job.certificate.first_request


async def first_of(watch: JobWatch, job_id: str) -> AsyncIterator[JobEvent]:
    """The first event of a job."""
    async for event in watch:
        if isinstance(event, JobEvent) and event.job_id == job_id:
            yield event
            return


# --- what is on record ------------------------------------------------------------------------


def test_an_engine_is_open_to_any_number_of_jobs_and_has_none() -> None:
    engine = Engine(MemoryStore(), ())
    assert (engine.slots, engine.slots_used, engine.closing, engine.live) == (None, 0, None, {})
    assert not engine.stopping.is_set()
    assert not engine.drained.is_set()
    assert engine.wall() > EPOCH


def test_the_task_of_a_job_is_named_for_it() -> None:
    async def body() -> str:
        return trio.lowlevel.current_task().name

    async def test(sup: Supervisor) -> None:
        handle = await sup.start(body, job_id="build-7")
        assert await handle.result() == "build-7"

    with_sup(test)


def test_a_job_is_told_when_it_comes_and_when_it_waits() -> None:
    async def test(sup: Supervisor) -> None:
        async with sup.watch() as watch:
            for job_id in ("a", "b"):
                handle = sup.start_nowait(JobRequest(Script(), job_id=job_id))
                job = handle.record
                assert (job.attempt, job.version, job.seq) == (1, 1, sup.head_seq)
                told = [each async for each in first_of(watch, job_id)]
                assert [(each.seq, each.state) for each in told] == [(job.seq, job.state)]
        await settle()
        states = [sup.get_nowait(job_id).state for job_id in ("a", "b")]
        assert states == [JobState.RUNNING, JobState.PENDING]

    with_sup(test, slots=1)


def test_what_passes_its_timeout_is_stopped_in_the_name_of_the_supervisor() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(forever, timeout=2.5, grace=4)
        await settle()
        began = sup._engine.wall()
        job = await handle.wait()
        assert first_request(job) == CancelRequest(
            requester="supervisor",
            cause=Cause.DEADLINE,
            at=when(began + 2.5),
            grace=4.0,
            reason="it ran longer than its timeout of 2.5 s",
            force=False,
        )
        assert first_request(job).force is False

    with_sup(test)


def test_a_shutdown_stops_jobs_in_the_name_of_the_supervisor() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever, grace=4)
            await settle()
            asked_at = sup._engine.wall()
        assert first_request(handle.record) == CancelRequest(
            requester="supervisor",
            cause=Cause.SHUTDOWN,
            at=when(asked_at),
            grace=4.0,
            reason="the supervisor shuts down",
            force=False,
        )
        assert first_request(handle.record).force is False

    run(main)


def test_a_cancel_that_came_before_its_job_is_its_first_request() -> None:
    async def test(sup: Supervisor) -> None:
        reply = await sup.cancel("a", reason="why", requester="me", if_unknown="remember")
        assert reply.job is None
        recorded_at = sup.tombstones()[0].recorded_at
        await trio.sleep(5)
        handle = await sup.start(forever, job_id="a", grace=3)
        job = handle.record
        assert first_request(job) == CancelRequest(
            requester="me",
            cause=Cause.USER,
            at=recorded_at,
            grace=3.0,
            reason="why",
            force=False,
        )
        assert first_request(job).force is False
        assert (job.state, job.ended_at, job.attempt) == (
            JobState.CANCELLED,
            job.created_at,
            1,
        )
        assert job.created_at == when(sup._engine.wall())
        assert job.certificate is not None
        assert job.certificate.proof.means == "never_started"
        assert job.version == 2

    with_sup(test)


def test_a_job_that_is_stopped_before_its_first_step_is_proven_never_to_have_started() -> None:
    async def test(sup: Supervisor) -> None:
        handle = sup.start_nowait(JobRequest(forever))
        job = (await handle.cancel(wait="finished")).job
        assert job is not None
        assert job.certificate is not None
        assert (job.how, job.certificate.proof.means) == ("never_started", "never_started")
        assert job.error is None

    with_sup(test)


def test_a_launcher_that_fails_is_on_record_as_such() -> None:
    crash = OSError("no more of it")

    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script(crash=crash))
        with pytest.raises(JobFailed) as caught:
            await handle.result()
        assert caught.value.__cause__ is crash
        record = handle._entry.record
        assert isinstance(record, Final)
        proof = record.exit.proof
        assert (proof.means, proof.strength) == ("launcher_failed", "best_effort")
        assert proof.detail == "the launcher itself failed, and could not say what is left"
        assert handle.record.error is not None
        assert handle.record.error.message == "no more of it"
        assert sup.statistics_nowait().slots_used == 0

    with_sup(test)


def test_the_body_is_told_the_reason() -> None:
    reasons: list[str | None] = []

    async def body() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            reasons.append(exc.reason)
            raise

    async def test(sup: Supervisor) -> None:
        handle = await sup.start(body)
        await settle()
        await handle.cancel(reason="not needed", wait="finished")
        assert reasons == ["not needed"]

    with_sup(test)


def test_lines_and_progress_after_the_end_are_dropped() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script()
        handle = await sup.start(script)
        await settle()
        script.say("in time")
        sup._engine.on_progress(handle._entry, Progress(1.0))
        script.finish()
        job = await handle.wait()
        script.say("too late")
        sup._engine.on_progress(handle._entry, Progress(2.0))
        assert handle.record == job
        assert handle.record.progress == Progress(1.0)
        assert [entry.text for entry in sup.logs_nowait(handle.id).entries] == ["in time"]

    with_sup(test)


def test_a_line_has_its_attempt_its_stream_and_its_time() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script()
        handle = await sup.start(script)
        await settle()
        await trio.sleep(3)
        script.say("hello", stream="stderr")
        (line,) = sup.logs_nowait(handle.id).entries
        assert (line.text, line.stream, line.attempt) == ("hello", "stderr", 1)
        assert line.time == when(sup._engine.wall())

    with_sup(test)


class Spied(MemoryStore):
    """Notes what it is given to keep."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Record | None, Record, tuple[str, ...], float]] = []

    def swap(
        self,
        spec: JobSpec,
        expected: Record | None,
        record: Record,
        events: tuple[str, ...],
        wall: float,
    ) -> int:
        self.kept.append((expected, record, events, wall))
        return super().swap(spec, expected, record, events, wall)


def test_every_change_is_kept_after_the_one_before_with_its_events_and_its_time() -> None:
    store = Spied()

    async def test(sup: Supervisor) -> None:
        began = sup._engine.wall()
        script = Script()
        await sup.start(script, job_id="a")
        await settle()
        await trio.sleep(2)
        script.finish()
        await settle()
        assert [(record.state, events, wall) for _, record, events, wall in store.kept] == [
            (JobState.STARTING, ("job.starting",), began),
            (JobState.RUNNING, ("job.started",), began),
            (JobState.SUCCEEDED, ("job.finished",), began + 2),
        ]
        records = [record for _, record, _, _ in store.kept]
        assert [expected for expected, _, _, _ in store.kept] == [None, *records[:2]]

    with_sup(test, store=store)


def test_a_job_that_is_buried_follows_the_attempt_before_and_is_told_in_one_event() -> None:
    store = Spied()

    async def test(sup: Supervisor) -> None:
        # Only an id of the supervisor's own choice can be remembered and then come nevertheless.
        prefix = (await sup.start(forever)).id.removesuffix("1")
        job_id = f"{prefix}2"
        await sup.cancel(job_id, reason="too early", if_unknown="remember")
        handle = await sup.start(forever)
        assert handle.id == job_id
        await handle.cancel(wait="finished")
        before = store.kept[-1][1]
        store.kept.clear()
        await trio.sleep(3)
        now = sup._engine.wall()
        buried = await sup.start(forever, job_id=job_id, id_reuse_policy="allow")
        (expected, born, no_events, came), (follows, final, events, ended) = store.kept
        assert (expected, born.state, no_events, came) == (before, JobState.PENDING, (), now)
        assert (follows, final.state, ended) == (born, JobState.CANCELLED, now)
        assert events == ("job.finished",)
        assert (born.version, buried.record.attempt) == (1, 2)
        assert buried.record.seq == sup.head_seq

    with_sup(test, store=store)


def test_lines_and_progress_reach_those_who_watch_that_job() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = [Script(), Script()]
        handles = [
            await sup.start(script, name=name) for script, name in zip(scripts, "ab", strict=True)
        ]
        await settle()
        async with sup.watch(filter=JobFilter(name="b"), logs=True, progress=True) as watch:
            for script, handle in zip(scripts, handles, strict=True):
                script.say("hello")
                sup._engine.on_progress(handle._entry, Progress(1.0))
            line, progress = await watch.__anext__(), await watch.__anext__()
        assert isinstance(line, LogEntry)
        assert (line.job_id, line.text) == (handles[1].id, "hello")
        assert progress == ProgressEvent(job_id=handles[1].id, attempt=1, progress=Progress(1.0))

    with_sup(test)


def test_a_launcher_is_told_which_attempt_it_is() -> None:
    prepared: list[tuple[str, int]] = []

    class Noting(FakeLauncher):
        def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
            prepared.append((spec.id, attempt))
            return super().prepare(spec, attempt, sink)

    async def test(sup: Supervisor) -> None:
        for _ in range(2):
            handle = await sup.start(Script(), job_id="a", id_reuse_policy="allow")
            await handle.cancel(wait="finished")
        assert prepared == [("a", 1), ("a", 2)]

    with_sup(test, launchers=[Noting()])


def test_a_body_waits_until_its_own_start_is_kept() -> None:
    asked: list[int] = []

    class Later(MemoryStore):
        synchronous: ClassVar[bool] = False

        async def saved(self, seq: int) -> None:
            asked.append(seq)

    async def test(sup: Supervisor) -> None:
        handle = sup.start_nowait(JobRequest(Script()))
        start = handle.record.seq
        await settle()
        assert asked == [start]

    with_sup(test, store=Later())


# --- slots --------------------------------------------------------------------------------------


def test_waiting_jobs_get_their_slots_in_the_order_in_which_they_came() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = [Script() for _ in range(5)]
        handles = [await sup.start(script) for script in scripts]
        for number in range(4):
            await settle()
            assert [handle.state for handle in handles[: number + 2]] == [
                *[JobState.SUCCEEDED] * number,
                *[JobState.RUNNING] * 2,
            ]
            assert sup.statistics_nowait().slots_used == 2
            scripts[number].finish()
        await settle()
        assert sup.statistics_nowait().slots_used == 1

    with_sup(test, slots=2)


# --- the ladder in time -----------------------------------------------------------------------


def test_a_stop_takes_the_place_of_the_timeout() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script(obeys=False)
        handle = await sup.start(script, timeout=5, grace=20)
        await settle()
        began = trio.current_time()
        await handle.cancel(wait="finished")
        assert trio.current_time() - began == 20
        assert handle.record.cause is Cause.USER
        assert len(sup._engine._timers) == 0

    with_sup(test)


def test_no_timer_is_left_of_a_job_that_is_gone() -> None:
    async def test(sup: Supervisor) -> None:
        for ended in (True, False):
            script = Script()
            handle = await sup.start(script, timeout=50)
            await settle()
            assert len(sup._engine._timers) == 1
            if ended:
                script.finish()
            else:
                await handle.cancel()
            await handle.wait()
            assert len(sup._engine._timers) == 0

    with_sup(test)


def test_the_grace_of_a_cancel_outlasts_a_shutdown_without_one() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Script(obeys=False), grace=2)
            await settle()
            began = trio.current_time()
            await handle.cancel(grace=30)
        assert trio.current_time() - began == 30
        job = handle.record
        assert job.certificate is not None
        assert [each.cause for each in job.certificate.later_requests] == [Cause.SHUTDOWN]

    run(main)


def test_verify_lasts_five_seconds() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script(dies=False)
        handle = await sup.start(script)
        await settle()
        began = trio.current_time()
        reply = await handle.cancel(force=True, wait="finished")
        assert trio.current_time() - began == 5
        assert reply.job is not None
        assert reply.job.state is JobState.STUCK
        assert script.signals == ["KILL"]
        assert reply.job.where == ("pid 4242 sleeping",)

    with_sup(test)


# --- the end of the block -----------------------------------------------------------------------


class StepsOf(trio.abc.Instrument):
    """What is seen each time a task of this name lets others run."""

    def __init__(self, name: str, look: Callable[[], int]) -> None:
        self.name = name
        self.look = look
        self.seen: list[int] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self.name):
            self.seen.append(self.look())


def test_a_shutdown_lets_others_run_after_every_hundred() -> None:
    async def main() -> None:
        scripts = [Script(obeys=False) for _ in range(2 * CHUNK + 50)]
        async with open_sup() as sup:
            await sup.start_many([JobRequest(script) for script in scripts])
            await settle()
            steps = StepsOf(
                "_cancel_all_when_asked",
                lambda: sum(script.signals == ["TERM"] for script in scripts),
            )
            trio.lowlevel.add_instrument(steps)
            await sup.shutdown()
            await settle()
            trio.lowlevel.remove_instrument(steps)
            assert steps.seen == [0, 100, 200, 250]
            for script in scripts:
                script.yield_now()

    run(main)


def test_jobs_that_go_while_a_shutdown_asks_are_passed_over() -> None:
    async def main() -> None:
        scripts = [Script() for _ in range(CHUNK + 5)]
        async with open_sup() as sup:
            await sup.start_many([JobRequest(script) for script in scripts])
            await settle()

            def first_stops_the_last() -> int:
                if scripts[0].signals:
                    scripts[-1].finish()
                return 0

            steps = StepsOf("_cancel_all_when_asked", first_stops_the_last)
            trio.lowlevel.add_instrument(steps)
            await sup.shutdown()
            await sup.drained.wait()
            trio.lowlevel.remove_instrument(steps)
        assert [script.alive for script in scripts] == [0] * len(scripts)

    run(main)


def test_a_drain_after_a_cancel_launches_nothing_whoever_runs_first() -> None:
    async def main() -> None:
        body, waiting = Body(), Script()
        async with open_sup(slots=1) as sup:
            await sup.start(body)
            await sup.start(waiting)
            await settle()
            sup.shutdown_nowait("cancel")
            sup.shutdown_nowait("drain")
            body.release()
            await sup.drained.wait()
        assert waiting.runs == []

    explore(main, preemptions=1)


class Full(MemoryStore):
    """Cannot keep how a job ended."""

    def swap(
        self,
        spec: JobSpec,
        expected: Record | None,
        record: Record,
        events: tuple[str, ...],
        wall: float,
    ) -> int:
        if isinstance(record, Final):
            raise OSError("disk full")
        return super().swap(spec, expected, record, events, wall)


def disk_full() -> pytest.RaisesGroup[OSError]:
    return pytest.RaisesGroup(pytest.RaisesExc(OSError, match="disk full"), flatten_subgroups=True)


@pytest.mark.parametrize("busy", [True, False])
def test_a_store_that_fails_ends_the_block_with_its_error(busy: bool) -> None:
    async def main() -> None:
        with disk_full():
            async with open_sup(store=Full()) as sup:
                await sup.start(forever)
                await settle()
                sup.shutdown_nowait("drain")
                await sup.cancel_many(JobFilter())
                if busy:
                    await trio.sleep_forever()
        assert sup.drained.is_set()

    run(main)


def test_a_supervisor_whose_store_has_failed_takes_no_jobs() -> None:
    seen: list[bool] = []

    async def main() -> None:
        with disk_full():
            async with open_sup(store=Full()) as sup:
                body = Body()
                await sup.start(body)
                await settle()
                body.release()
                try:
                    await trio.sleep_forever()
                finally:
                    seen.extend((sup.accepting, sup.drained.is_set()))
        assert seen == [False, True]

    run(main)


def test_of_two_interrupts_the_first_one_goes_on_its_way() -> None:
    first, second = KeyboardInterrupt("first"), KeyboardInterrupt("second")

    async def main() -> None:
        bodies = [Body(raises=first), Body(raises=second, swallows=True)]
        reasons: list[str | None] = []
        with pytest.raises(KeyboardInterrupt) as caught:
            async with open_sup() as sup:
                for body in bodies:
                    await sup.start(body)
                await settle()
                bodies[0].release()
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as exc:
                    reasons.append(exc.reason)
                    raise
        assert caught.value is first
        assert reasons == ["KeyboardInterrupt in a job"]

    run(main)
