"""The end of a supervisor: staged, in order, and never before the last job is dead."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from fakes import Body, Script, forever, open_sup, run, settle

from supervisor._errors import InvalidArguments, ShuttingDown
from supervisor._model import Cause, JobState
from supervisor.stores.memory import MemoryStore


def test_leaving_the_block_cancels_the_jobs_and_waits_for_their_end() -> None:
    async def main() -> None:
        store = MemoryStore()
        async with open_sup(store=store) as sup:
            script = Script(leaving=3.0)
            await sup.start(script, job_id="a")
            await settle()
            began = trio.current_time()
        assert trio.current_time() - began == 3
        assert script.alive == 0
        row = store.get("a")
        assert row is not None
        assert row.record.state is JobState.CANCELLED
        assert row.record.stop.cause is Cause.SHUTDOWN  # type: ignore[union-attr]

    run(main)


def test_an_empty_block_ends_at_once() -> None:
    async def main() -> None:
        async with open_sup():
            pass

    run(main)


def test_a_job_that_ignores_the_shutdown_is_killed_after_its_own_grace() -> None:
    async def main() -> None:
        scripts = [Script(obeys=False), Script(obeys=False)]
        async with open_sup() as sup:
            for script, grace in zip(scripts, (2, 5), strict=True):
                await sup.start(script, grace=grace)
            await settle()
            began = trio.current_time()
        assert trio.current_time() - began == 5
        assert [script.signals for script in scripts] == [["TERM", "KILL"]] * 2

    run(main)


@pytest.mark.parametrize("notice", [0, 60])
def test_a_grace_for_the_shutdown_is_one_deadline_for_all(notice: float) -> None:
    async def main() -> None:
        scripts = [Script(obeys=False) for _ in range(5)]
        async with open_sup() as sup:
            for number, script in enumerate(scripts):
                await sup.start(script, grace=100 * number, notice=notice)
            await settle()
            began = trio.current_time()
            await sup.shutdown(grace=7)
            await sup.drained.wait()
            assert trio.current_time() - began == 7

    run(main)


def test_the_grace_of_a_shutdown_never_lengthens_a_jobs_own() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            await sup.start(script, grace=2)
            await settle()
            began = trio.current_time()
            await sup.shutdown(grace=100)
            await sup.drained.wait()
            assert trio.current_time() - began == 2

    run(main)


def test_a_second_shutdown_with_a_smaller_grace_shortens_the_first() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            await sup.start(script, grace=100)
            await settle()
            began = trio.current_time()
            await sup.shutdown()
            await trio.sleep(1)
            await sup.shutdown(grace=3)
            await sup.drained.wait()
            assert trio.current_time() - began == 4

    run(main)


def test_a_drain_lets_the_jobs_end_by_themselves() -> None:
    async def main() -> None:
        body = Body(returns=1)
        async with open_sup() as sup:
            handle = await sup.start(body)
            await sup.shutdown("drain")
            with pytest.raises(ShuttingDown):
                await sup.start(forever)
            await trio.sleep(50)
            assert handle.state is JobState.RUNNING
            assert not sup.drained.is_set()
            body.release()
            await sup.drained.wait()
            assert handle.state is JobState.SUCCEEDED

    run(main)


def test_leaving_a_draining_block_waits_for_the_jobs() -> None:
    async def main() -> None:
        async def body() -> str:
            await trio.sleep(50)
            return "done"

        async with open_sup() as sup:
            handle = await sup.start(body)
            await sup.shutdown("drain")
            began = trio.current_time()
        assert trio.current_time() - began == 50
        assert handle._entry.record.result == "done"  # type: ignore[attr-defined]

    run(main)


def test_a_cancel_overrides_a_drain_and_a_drain_no_cancel() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever)
            await settle()
            await sup.shutdown("drain")
            await sup.shutdown("cancel")
            await sup.shutdown("drain")
            assert (await handle.wait()).cause is Cause.SHUTDOWN

    run(main)


def test_a_draining_block_that_raises_cancels() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"^mine$"):
            async with open_sup() as sup:
                await sup.start(forever)
                await sup.shutdown("drain")
                raise ValueError("mine")

    run(main)


def test_after_the_last_job_is_gone_one_can_still_look() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            await sup.shutdown()
            await sup.drained.wait()
            await settle()
            assert (await sup.get("a")).state is JobState.CANCELLED
            assert len(await sup.list()) == 1
            assert not (await sup.statistics()).accepting
            async with sup.watch(since=0) as events:
                assert [event.type async for event in events][-1] == "job.finished"  # type: ignore[union-attr]

    run(main)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"mode": "now"}, "$.mode"),
        ({"mode": None}, "$.mode"),
        ({"grace": -1}, "$.grace"),
        ({"grace": float("inf")}, "$.grace"),
    ],
)
def test_a_bad_shutdown_is_refused(options: dict[str, object], path: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises(InvalidArguments) as caught:
                await sup.shutdown(**options)  # type: ignore[arg-type]
            assert caught.value.data["path"] == path
            assert sup.accepting

    run(main)


def test_a_user_who_joins_the_shutdown_is_on_the_certificate() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Script(leaving=3))
            await settle()
            await sup.shutdown()
            await settle()
            await handle.cancel(reason="for good")
            job = await handle.wait()
        assert job.cause is Cause.USER
        assert job.certificate is not None
        assert job.certificate.first_request.cause is Cause.SHUTDOWN

    run(main)


# --- exceptions -------------------------------------------------------------------------------


class Own(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        Own(),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(),
        StopAsyncIteration(),
        ExceptionGroup("mine", [ValueError()]),
        trio.TooSlowError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("busy", [False, True])
def test_what_the_block_raises_comes_out_as_it_is(error: BaseException, busy: bool) -> None:
    async def main() -> None:
        script = Script(leaving=3)
        with pytest.raises(BaseException) as caught:
            async with open_sup() as sup:
                if busy:
                    await sup.start(script)
                    await settle()
                raise error
        assert caught.value is error
        assert script.alive == 0

    run(main)


def test_a_block_cancelled_from_outside_ends_in_stages() -> None:
    async def main() -> None:
        script = Script(leaving=3)
        store = MemoryStore()
        with trio.move_on_after(10) as scope:
            async with open_sup(store=store) as sup:
                await sup.start(script, job_id="a")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_effective_deadline() > 0
        assert script.signals == ["TERM"]
        row = store.get("a")
        assert row is not None
        assert row.record.stop.cause is Cause.SHUTDOWN  # type: ignore[union-attr]

    run(main)


def test_a_shielded_block_that_is_cancelled_still_shuts_its_jobs_down() -> None:
    async def main() -> None:
        script = Script()
        with trio.CancelScope() as scope:
            async with open_sup() as sup:
                handle = await sup.start(script)
                await settle()
                scope.cancel()
                with trio.CancelScope(shield=True):
                    assert (await handle.wait()).cause is Cause.SHUTDOWN
                    with pytest.raises(ShuttingDown):
                        await sup.start(forever)
                    await trio.sleep(5)
                await trio.lowlevel.checkpoint()
                raise AssertionError
        assert scope.cancelled_caught

    run(main)


def test_a_block_that_turns_its_cancellation_into_an_error_keeps_the_error() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope, pytest.raises(ValueError, match="mine"):
            async with open_sup() as sup:
                await sup.start(forever)
                scope.cancel()
                with suppress(trio.Cancelled):
                    await trio.sleep_forever()
                raise ValueError("mine")

    run(main)


def test_a_block_that_swallows_its_cancellation_ends_normally() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_sup() as sup:
                handle = await sup.start(forever)
                await settle()
                scope.cancel()
                with suppress(trio.Cancelled):
                    await trio.sleep_forever()
            assert handle.state is JobState.CANCELLED

    run(main)


def test_a_block_entered_in_a_cancelled_scope_does_not_hang() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_sup() as sup:
                await sup.start(forever)
        assert scope.cancelled_caught

    run(main)


def test_a_block_whose_nursery_is_cancelled_ends() -> None:
    async def main() -> None:
        script = Script(leaving=3)

        async def embed(task_status: trio.TaskStatus[None]) -> None:
            async with open_sup() as sup:
                await sup.start(script)
                await settle()
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await nursery.start(embed)
            assert script.alive == 1
            nursery.cancel_scope.cancel()
        assert script.alive == 0

    run(main)


def test_a_failing_sibling_of_the_block_is_what_comes_out() -> None:
    async def main() -> None:
        script = Script(leaving=3)

        async def embed(task_status: trio.TaskStatus[None]) -> None:
            async with open_sup() as sup:
                await sup.start(script)
                await settle()
                task_status.started()
                await trio.sleep_forever()

        caught: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(embed)
                raise ValueError("sibling")
        except ExceptionGroup as group:
            caught += group.exceptions
        assert [str(each) for each in caught] == ["sibling"]
        assert script.alive == 0

    run(main)


def test_a_stubborn_job_delays_the_end_of_the_block_and_is_named() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        seen = []

        async def look() -> None:
            await trio.sleep(60)
            seen.append(await sup.get("a"))
            body.release()

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with open_sup() as sup:
                    await sup.start(body, job_id="a", grace=5)
                    await settle()
                    nursery.start_soon(look)
                    began = trio.current_time()
                    scope.cancel()
                    await trio.sleep_forever()
            assert trio.current_time() - began == 60
        assert seen[0].state is JobState.STUCK
        assert seen[0].where
        assert body.alive == 0

    run(main)


def test_a_cancellation_during_a_drain_at_the_end_of_the_block_cancels() -> None:
    async def main() -> None:
        script = Script()
        with trio.move_on_after(10):
            async with open_sup() as sup:
                await sup.start(script)
                await sup.shutdown("drain")
        assert script.signals == ["TERM"]
        assert script.alive == 0

    run(main)


def test_nothing_of_a_supervisor_is_left_after_its_block() -> None:
    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        async with open_sup(slots=3) as sup:
            for _ in range(20):
                await sup.start(forever, timeout=100)
            await sup.start(Script(obeys=False), grace=1)
        assert trio.lowlevel.current_statistics().tasks_living == before
        statistics = sup.statistics_nowait()
        assert (statistics.slots_used, statistics.watchers) == (0, 0)
        assert sum(statistics.jobs.values()) == statistics.jobs["cancelled"] == 21

    run(main)
