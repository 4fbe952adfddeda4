"""Starting: what comes of a body, in every way it can end; and what a start refuses."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from fakes import Body, FakeLauncher, Script, forever, open_sup, run, settle
from turns import in_turn

import supervisor
from supervisor._errors import (
    InvalidArguments,
    JobFailed,
    JobNotFound,
    JobTimedOut,
    ShuttingDown,
    SupervisorError,
    UnknownJobName,
    Unsupported,
)
from supervisor._model import How, JobFilter, JobRequest, JobState
from supervisor._open import open_supervisor
from supervisor._registry import Registry
from supervisor._supervisor import Supervisor
from supervisor.abc import JobHandle
from supervisor.launchers.function import FunctionLauncher
from supervisor.stores.memory import MemoryStore

NAN, INF = float("nan"), float("inf")


# --- results ----------------------------------------------------------------------------------


def test_a_job_returns_its_value() -> None:
    async def double(value: int) -> int:
        await trio.sleep(3)
        return 2 * value

    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(double, 21)
            assert handle.created
            assert await handle.result() == 42
            job = handle.record
            assert job == await sup.get(handle.id)
        assert (job.state, job.how, job.result) == ("succeeded", How.RETURNED, 42)
        assert (job.duration, job.kind, job.attempt) == (3.0, "async", 1)
        assert (job.certificate, job.cancel_requested) == (None, False)

    run(main)


def test_a_failed_job_is_a_record_and_result_raises_with_the_cause() -> None:
    boom = ValueError("boom")

    async def main() -> None:
        async with open_sup() as sup:
            body = Body(raises=boom)
            handle = await sup.start(body)
            body.release()
            job = await handle.wait()
            with pytest.raises(JobFailed, match="ValueError: boom") as caught:
                await handle.result()
        assert caught.value.__cause__ is boom
        assert caught.value.job == job
        assert (job.state, job.how) == ("failed", How.RAISED)
        assert job.error is not None
        assert (job.error.type, job.error.message) == ("ValueError", "boom")
        assert "in __call__" in (job.error.traceback or "")

    run(main)


def test_result_of_a_job_past_its_deadline_says_so() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever, timeout=1)
            with pytest.raises(JobTimedOut):
                await handle.result()

    run(main)


class OwnInterrupt(BaseException):
    """Not an Exception."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def _foreign_cancelled() -> trio.Cancelled:
    """A Cancelled that a body kept from elsewhere."""
    kept: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.move_on_after(0):
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                kept.append(exc)
                raise

    trio.run(main)
    return kept[0]


@pytest.mark.parametrize(
    ("error", "type"),
    [
        (ValueError("x"), "ValueError"),
        (SystemExit(3), "SystemExit"),
        (GeneratorExit(), "GeneratorExit"),
        (OwnInterrupt(), "test_start.OwnInterrupt"),
        (Unprintable(), "test_start.Unprintable"),
        (StopIteration(1), "RuntimeError"),  # Python's own rule for coroutines (PEP 479)
        (ExceptionGroup("many", [ValueError(), KeyError("k")]), "ExceptionGroup"),
        (BaseExceptionGroup("many", [SystemExit()]), "BaseExceptionGroup"),
        (trio.TooSlowError(), "trio.TooSlowError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_a_body_raises_is_its_own_failure(error: BaseException, type: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body, other = Body(raises=error), Body(returns="fine")
            handle = await sup.start(body)
            bystander = await sup.start(other)
            body.release()
            job = await handle.wait()
            assert job.state is JobState.FAILED
            assert job.error is not None
            assert job.error.type == type
            other.release()
            assert await bystander.result() == "fine"

    run(main)


def test_a_stray_cancelled_from_a_body_is_its_own_failure() -> None:
    stray = _foreign_cancelled()

    async def main() -> None:
        async with open_sup() as sup:
            body, other = Body(raises=stray), Body(returns="fine")
            handle = await sup.start(body)
            bystander = await sup.start(other)
            body.release()
            job = await handle.wait()
            other.release()
            assert await bystander.result() == "fine"
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error.type == "trio.Cancelled"

    run(main)


def test_a_body_whose_nursery_turns_a_cancel_and_an_error_into_a_group_is_failed() -> None:
    async def main() -> None:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in cleanup")

        async def body() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)
                await trio.sleep_forever()

        async with open_sup() as sup:
            handle = await sup.start(body)
            await settle()
            job = (await handle.cancel(wait="finished")).job
        assert job is not None
        assert (job.state, job.cause) == ("failed", "user")
        assert job.error is not None
        assert "ExceptionGroup" in job.error.type

    run(main)


def test_a_keyboard_interrupt_is_recorded_and_goes_on_its_way() -> None:
    async def main() -> None:
        store = MemoryStore()
        other = Body()
        reached = []
        with pytest.raises(KeyboardInterrupt) as caught:
            async with open_sup(store=store) as sup:
                body = Body(raises=KeyboardInterrupt("stop"))
                await sup.start(body, job_id="hit")
                await sup.start(other, job_id="other")
                await settle()
                body.release()
                await trio.sleep_forever()
                reached.append(1)
        assert caught.value.args == ("stop",)
        assert reached == []
        hit, bystander = store.get("hit"), store.get("other")
        assert hit is not None
        assert bystander is not None
        assert hit.record.state is JobState.FAILED
        assert bystander.record.state is JobState.CANCELLED
        assert other.alive == 0

    run(main)


def test_a_keyboard_interrupt_in_a_group_goes_on_its_way_too() -> None:
    error = BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError()])

    async def main() -> None:
        try:
            async with open_sup() as sup:
                body = Body(raises=error)
                await sup.start(body)
                body.release()
                await trio.sleep_forever()
        except BaseExceptionGroup as caught:
            assert caught is error
            return
        raise AssertionError

    run(main)


def test_what_json_cannot_hold_is_a_result_in_process() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            thing = object()
            body = Body(returns=thing)
            handle = await sup.start(body)
            body.release()
            assert await handle.result() is thing
            assert (await handle.wait()).state is JobState.SUCCEEDED

    run(main)


def test_a_call_with_wrong_arguments_is_a_failed_job() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            job = await (await sup.start(forever, 1, 2)).wait()
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error.type == "TypeError"

    run(main)


def test_a_launcher_with_a_bug_fails_its_job_and_no_other() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Script(crash=RuntimeError("bug")))
            bystander = await sup.start(forever)
            job = await handle.wait()
            assert (await bystander.cancel(wait="finished")).outcome == "cancelling"
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error.message == "bug"

    run(main)


def test_a_job_that_cannot_be_launched_is_failed_with_the_reason() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Script(spawn=1, spawn_error="no such file"))
            job = await handle.wait()
            with pytest.raises(JobFailed, match="no such file"):
                await handle.result()
        assert (job.state, job.how, job.started_at) == ("failed", How.NEVER_STARTED, None)

    run(main)


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (1, "failed"), (127, "failed")])
def test_an_exit_code_decides(code: int, state: str) -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            handle = await sup.start(script)
            await settle()
            script.finish(code)
            job = await handle.wait()
        assert (job.state, job.exit_code, job.how) == (state, code, How.EXITED)

    run(main)


def test_nothing_keeps_the_exception_of_a_job_but_its_handle() -> None:
    class Heavy(Exception):
        pass

    async def body() -> None:
        raise Heavy

    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(body, job_id="a")
            with pytest.raises(JobFailed) as caught:
                await handle.result()
            assert caught.value.__cause__ is not None
            kept = weakref.ref(caught.value.__cause__)
            del handle, caught
            gc.collect()
            assert kept() is None

    run(main)


def test_nothing_keeps_a_job_that_is_forgotten_until_its_timeout() -> None:
    class Heavy:
        pass

    async def body(argument: object) -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with open_sup(store=MemoryStore(finished_kept=1, events_kept=1)) as sup:
            heavy = Heavy()
            kept = weakref.ref(heavy)
            for argument in (heavy, None, None):
                await (await sup.start(body, argument, timeout=1e5)).wait()
            del heavy, argument
            gc.collect()
            assert kept() is None

    run(main)


# --- current_job ------------------------------------------------------------------------------


def test_current_job_is_seen_in_the_body_and_in_its_tasks() -> None:
    async def main() -> None:
        seen = []

        async def look() -> None:
            job = supervisor.current_job()
            seen.append((job.id, job.attempt, job.cancel_requested, job.reason))

        async def body() -> None:
            await look()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                await trio.lowlevel.checkpoint()

        async with open_sup() as sup:
            await (await sup.start(body, job_id="a")).wait()
            await (await sup.start(body, job_id="a", id_reuse_policy="allow")).wait()
        assert seen == [("a", 1, False, None)] * 2 + [("a", 2, False, None)] * 2

    run(main)


def test_a_job_started_from_a_body_sees_itself() -> None:
    async def main() -> None:
        seen = []

        async def inner() -> None:
            seen.append(supervisor.current_job().id)

        async with open_sup() as sup:

            async def outer() -> None:
                await (await sup.start(inner, job_id="inner")).wait()
                seen.append(supervisor.current_job().id)

            await (await sup.start(outer, job_id="outer")).wait()
        assert seen == ["inner", "outer"]

    run(main)


def test_current_job_elsewhere_is_an_error() -> None:
    async def main() -> None:
        async with open_sup():
            with pytest.raises(RuntimeError, match="body of a job"):
                supervisor.current_job()

    run(main)


def test_a_body_sees_that_it_is_asked_to_stop_while_it_cleans_up() -> None:
    async def main() -> None:
        seen = []

        async def body() -> None:
            try:
                await trio.sleep_forever()
            finally:
                job = supervisor.current_job()
                seen.append((job.cancel_requested, job.reason))

        async with open_sup() as sup:
            handle = await sup.start(body)
            await settle()
            await handle.cancel(reason="enough", wait="finished")
        assert seen == [(True, "enough")]

    run(main)


def test_progress_is_kept_on_the_record_beyond_the_end() -> None:
    async def main() -> None:
        async def body() -> None:
            supervisor.current_job().progress(1, 3)
            supervisor.current_job().progress(2, 3, "almost")
            await trio.sleep(1)

        async with open_sup() as sup:
            handle = await sup.start(body, job_id="a")
            await settle()
            progress = (await sup.get("a")).progress
            assert progress is not None
            assert (progress.done, progress.total, progress.message) == (2, 3, "almost")
            await handle.wait()
            assert handle.record.progress == progress
            assert (await sup.get("a")).progress == progress

    run(main)


@pytest.mark.parametrize("arguments", [("half",), (NAN,), (1, INF), (1, "3"), (True,)])
def test_odd_progress_is_refused_where_it_is_said(arguments: tuple[object, ...]) -> None:
    async def main() -> None:
        async def body() -> None:
            supervisor.current_job().progress(*arguments)  # type: ignore[arg-type]

        async with open_sup() as sup:
            job = await (await sup.start(body)).wait()
        assert job.error is not None
        assert job.error.type.endswith("InvalidArguments")

    run(main)


# --- waiting ----------------------------------------------------------------------------------


def test_waiting_too_long_is_trios_own_error_and_touches_nothing() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever)
            began = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await handle.wait(timeout=2)
            with pytest.raises(trio.TooSlowError):
                await sup.wait(handle.id, timeout=3)
            assert trio.current_time() - began == 5
            assert handle.state is JobState.RUNNING

    run(main)


def test_a_wait_that_is_cancelled_touches_nothing() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever)
            with trio.move_on_after(2):
                await handle.wait()
            assert handle.state is JobState.RUNNING

    run(main)


def test_every_waiter_wakes_exactly_once_with_the_final_record() -> None:
    async def main() -> None:
        woken = []

        async with open_sup() as sup, trio.open_nursery() as nursery:
            body = Body(returns=1)
            handle = await sup.start(body)

            async def wait() -> None:
                woken.append(await handle.wait())

            for _ in range(20):
                nursery.start_soon(wait)
            await settle()
            body.release()
        assert len(woken) == 20
        assert {job.state for job in woken} == {"succeeded"}

    run(main)


def test_waiters_of_a_stuck_job_wait_on_for_its_end() -> None:
    async def main() -> None:
        async with open_sup() as sup, trio.open_nursery() as nursery:
            body = Body(shielded=True)
            handle = await sup.start(body, grace=1)
            woken = []

            async def wait() -> None:
                woken.append((await handle.wait()).state)

            nursery.start_soon(wait)
            await settle()
            await handle.cancel(wait="finished")
            await trio.sleep(10)
            assert woken == []
            body.release()
            await settle()
            assert woken == ["cancelled"]

    run(main)


@pytest.mark.parametrize("timeout", [-1, NAN, INF, "1", True])
def test_a_bad_timeout_is_refused_for_live_and_ended_jobs(timeout: object) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body = Body()
            live = await sup.start(forever)
            ended = await sup.start(body)
            body.release()
            await ended.wait()
            for handle in (live, ended):
                with pytest.raises(InvalidArguments) as caught:
                    await handle.wait(timeout=timeout)  # type: ignore[arg-type]
                assert caught.value.data["path"] == "$.timeout"
                with pytest.raises(InvalidArguments):
                    await sup.wait(handle.id, timeout=timeout)  # type: ignore[arg-type]

    run(main)


def test_waiting_for_nobody_is_an_error() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises(JobNotFound):
                await sup.wait("nobody")

    run(main)


ASKS: dict[str, Callable[[Supervisor], Awaitable[object]]] = {
    "wait": lambda sup: sup.wait("a"),
    "get": lambda sup: sup.get("a"),
    "logs": lambda sup: sup.logs("a"),
    "start": lambda sup: sup.start(forever),
    "start again": lambda sup: sup.start(forever, job_id="a", id_reuse_policy="allow"),
    "start_many": lambda sup: sup.start_many([JobRequest(forever)]),
    "start none": lambda sup: sup.start_many([]),
    "cancel_many": lambda sup: sup.cancel_many(JobFilter()),
    "cancel none": lambda sup: sup.cancel_many(JobFilter(job_ids=())),
    "list": lambda sup: sup.list(),
    "statistics": lambda sup: sup.statistics(),
    "shutdown": lambda sup: sup.shutdown(),
}


@pytest.mark.parametrize("ask", ASKS)
def test_every_question_is_a_checkpoint(ask: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body = Body()
            handle = await sup.start(body, job_id="a")
            body.release()
            await handle.wait()
            with trio.testing.assert_checkpoints():
                await ASKS[ask](sup)

    run(main)


@pytest.mark.parametrize("ask", [ask for ask in ASKS if ask != "shutdown"])
def test_a_caller_that_is_cancelled_already_changes_nothing(ask: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body = Body()
            handle = await sup.start(body, job_id="a")
            body.release()
            await handle.wait()
            await sup.start(Body(), job_id="b")
            await settle()
            position = sup.head_seq
            with trio.CancelScope() as scope:
                scope.cancel()
                await ASKS[ask](sup)
            assert scope.cancelled_caught
            assert (sup.head_seq, sup.accepting) == (position, True)

    run(main)


# --- many at once -----------------------------------------------------------------------------


def test_start_many_gives_one_answer_each_in_order() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            answers = await sup.start_many(
                [
                    JobRequest(forever, job_id="a"),
                    JobRequest("nobody"),
                    JobRequest(forever, job_id="b", grace=-1),
                    JobRequest(Body(), job_id="a"),
                    JobRequest(forever, job_id="c"),
                ]
            )
            kinds = [
                answer.id if isinstance(answer, JobHandle) else answer.kind for answer in answers
            ]
        assert kinds == ["a", "unknown_job_name", "invalid_params", "job_id_conflict", "c"]

    run(main)


def test_ten_thousand_jobs_end_and_leave_nothing() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            answers = await sup.start_many([JobRequest(forever) for _ in range(10_000)])
            assert not any(isinstance(answer, SupervisorError) for answer in answers)
            await sup.shutdown()
            await sup.drained.wait()
            statistics = sup.statistics_nowait()
        assert statistics.slots_used == 0
        assert statistics.jobs["cancelled"] == 10_000

    in_turn(main)


# --- what a start refuses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "path"),
    [
        *(
            ({name: value}, f"$.{name}")
            for name in ("grace", "notice", "timeout")
            for value in (-1, -0.001, NAN, INF, -INF, "1", b"1", True, [], 10**400)
        ),
        ({"job_id": ""}, "$.job_id"),
        ({"job_id": "-x"}, "$.job_id"),
        ({"job_id": "a b"}, "$.job_id"),
        ({"job_id": "a/b"}, "$.job_id"),
        ({"job_id": "ä"}, "$.job_id"),
        ({"job_id": "a\n"}, "$.job_id"),
        ({"job_id": "x" * 129}, "$.job_id"),
        ({"job_id": 7}, "$.job_id"),
        ({"name": ""}, "$.name"),
        ({"name": 7}, "$.name"),
        ({"name": "x" * 5000}, "$.name"),
        ({"labels": ["a"]}, "$.labels"),
        ({"labels": {"a": 1}}, "$.labels"),
        ({"labels": {1: "a"}}, "$.labels"),
        ({"labels": {str(n): "" for n in range(65)}}, "$.labels"),
        ({"on_disconnect": "explode"}, "$.on_disconnect"),
        ({"id_conflict_policy": "maybe"}, "$.id_conflict_policy"),
        ({"id_conflict_policy": None}, "$.id_conflict_policy"),
        ({"id_conflict_policy": ["fail"]}, "$.id_conflict_policy"),
        ({"id_reuse_policy": "maybe"}, "$.id_reuse_policy"),
        ({"if_remembered": "maybe"}, "$.if_remembered"),
        ({"args": {}}, "$.args"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("with_id", [False, True])
def test_a_bad_option_is_refused_and_no_job_exists(
    options: dict[str, object], path: str, with_id: bool
) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            given = {"job_id": "a", **options} if with_id else options
            with pytest.raises(InvalidArguments) as caught:
                await sup.start(forever, **given)  # type: ignore[arg-type]
            assert caught.value.data["path"] == path
            assert str(caught.value)
            assert len(await sup.list()) == 0

    run(main)


@pytest.mark.parametrize("work", [None, 7, b"name", ["ls"], object()])
def test_work_that_is_none_is_refused(work: object) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises(InvalidArguments, match="async function") as caught:
                await sup.start(work)  # type: ignore[arg-type]
            assert caught.value.data["path"] == "$.work"

    run(main)


def _blocking() -> None:
    """Not async."""


async def _generator():  # type: ignore[no-untyped-def]
    yield


@pytest.mark.parametrize("work", [_blocking, print, int, _generator])
def test_a_callable_that_is_not_async_is_refused(work: object) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises(Unsupported, match="not an async function"):
                await sup.start(work)  # type: ignore[arg-type]

    run(main)


def test_a_start_after_the_close_is_refused() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.shutdown()
            with pytest.raises(ShuttingDown):
                await sup.start(forever)
            [answer] = await sup.start_many([JobRequest(forever)])
            assert isinstance(answer, ShuttingDown)
        with pytest.raises(ShuttingDown):
            await sup.start(forever)

    run(main)


@pytest.mark.parametrize("slots", [0, -1, 1.5, "2", True])
def test_odd_slots_are_refused(slots: object) -> None:
    with pytest.raises(InvalidArguments) as caught:
        open_supervisor(slots=slots)  # type: ignore[arg-type]
    assert caught.value.data["path"] == "$.slots"


# --- by name ----------------------------------------------------------------------------------


def make_registry() -> Registry:
    registry = Registry()

    @registry.job(grace=3, notice=2, timeout=99)
    async def greet(name: str, times: int = 1) -> str:
        return f"{name}{times}"

    return registry


def test_a_registered_job_runs_with_its_arguments_and_defaults() -> None:
    async def main() -> None:
        async with open_sup(registry=make_registry()) as sup:
            handle = await sup.start("greet", args={"name": "x", "times": 2})
            assert await handle.result() == "x2"
            job = handle.record
            assert (job.name, job.grace, job.notice, job.timeout) == ("greet", 3, 2, 99)
            job = (await sup.start("greet", args={"name": "x"}, grace=0, timeout=5)).record
            assert (job.grace, job.notice, job.timeout) == (0, 2, 5)

    run(main)


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (None, "$.args"),
        ({}, "$.args"),
        ({"name": 1}, "$.args.name"),
        ({"name": "x", "times": "2"}, "$.args.times"),
        ({"name": "x", "times": NAN}, "$.args.times"),
        ({"name": "x", "more": 1}, "$.args"),
        ({1: "x"}, "$.args"),
        ([1], "$.args"),
        ("name", "$.args"),
        ([], "$.args"),
        (7, "$.args"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_before_the_job_exists(args: object, path: str) -> None:
    async def main() -> None:
        async with open_sup(registry=make_registry()) as sup:
            with pytest.raises(InvalidArguments, match="name, times") as caught:
                await sup.start("greet", args=args)  # type: ignore[arg-type]
            assert caught.value.data["path"] == path
            assert len(await sup.list()) == 0

    run(main)


def test_positional_arguments_of_a_registered_job_are_refused() -> None:
    async def main() -> None:
        async with open_sup(registry=make_registry()) as sup:
            with pytest.raises(InvalidArguments, match="by name"):
                await sup.start("greet", "x")

    run(main)


def test_an_unknown_name_lists_those_that_are_known() -> None:
    async def main() -> None:
        async with open_sup(registry=make_registry()) as sup:
            with pytest.raises(UnknownJobName, match="greet") as caught:
                await sup.start("great")
            assert caught.value.data["known"] == ["greet"]
            assert json.dumps(caught.value.data)

    run(main)


# --- launchers --------------------------------------------------------------------------------


def test_launchers_are_open_for_as_long_as_there_are_jobs() -> None:
    async def main() -> None:
        launcher = FakeLauncher()
        script = Script(leaving=5)
        async with open_sup(launchers=(launcher, FunctionLauncher())) as sup:
            assert launcher.is_open
            await sup.start(script)
            await settle()

            async def look() -> None:
                while script.alive:
                    assert launcher.is_open
                    await trio.sleep(1)

            await sup.start(look)
        assert not launcher.is_open

    run(main)


def test_a_launcher_that_cannot_open_says_so_unwrapped() -> None:
    class Broken(FakeLauncher):
        def open(self) -> object:  # type: ignore[override]
            raise OSError("no cgroup")

    async def main() -> None:
        with pytest.raises(OSError, match="no cgroup"):
            async with open_sup(launchers=(Broken(),)):
                raise AssertionError

    run(main)
