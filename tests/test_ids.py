"""Ids: retries, replacements, further attempts, and cancels that come before their jobs."""

from __future__ import annotations

import pytest
import trio
from fakes import EPOCH, Body, Script, forever, open_sup, run, settle

from supervisor._errors import (
    InvalidArguments,
    JobCancelled,
    JobIdConflict,
    JobNotFound,
    Overloaded,
)
from supervisor._model import CancelOutcome, Cause, JobRequest, JobState
from supervisor._registry import Registry
from supervisor.stores.memory import MemoryStore

# --- while it lives ---------------------------------------------------------------------------


def test_a_retried_start_answers_the_live_job() -> None:
    async def main() -> None:
        body = Body(returns=1)
        async with open_sup() as sup:
            first = await sup.start(body, job_id="a")
            again = await sup.start(body, job_id="a")
            assert (first.created, again.created) == (True, False)
            body.release()
            assert await again.result() == 1
        assert body.entered == 1

    run(main)


@pytest.mark.parametrize("policy", ["use_existing", "fail"])
@pytest.mark.parametrize("state", ["pending", "running", "cancelling", "stuck"])
def test_other_work_under_a_live_id_is_a_conflict(policy: str, state: str) -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup(slots=1) as sup:
            await sup.start(forever, job_id="first")
            if state != "pending":
                await sup.cancel("first", wait="finished")
            await sup.start(body, job_id="a", grace=1)
            await settle()
            if state in ("cancelling", "stuck"):
                await sup.cancel("a")
                await trio.sleep(0 if state == "cancelling" else 5)
            with pytest.raises(JobIdConflict, match=state) as caught:
                await sup.start(forever, job_id="a", id_conflict_policy=policy)
            assert caught.value.data == {"job_id": "a", "state": state}
            body.release()

    run(main)


def test_fail_refuses_even_a_retry() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            with pytest.raises(JobIdConflict):
                await sup.start(forever, job_id="a", id_conflict_policy="fail")

    run(main)


def test_the_same_function_with_other_arguments_is_other_work() -> None:
    async def work(value: object) -> None:
        await trio.sleep_forever()

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("cannot be compared")

        __hash__ = None  # type: ignore[assignment]

    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(work, 1, job_id="a")
            assert not (await sup.start(work, 1, job_id="a")).created
            for other in (2, Odd()):
                with pytest.raises(JobIdConflict):
                    await sup.start(work, other, job_id="a")

    run(main)


def test_a_registered_job_is_equal_by_name_and_arguments() -> None:
    registry = Registry()

    @registry.job
    async def work(n: int = 1) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with open_sup(registry=registry) as sup:
            await sup.start("work", args={"n": 1}, job_id="a")
            assert not (await sup.start("work", args={"n": 1}, job_id="a")).created
            with pytest.raises(JobIdConflict, match="other work or arguments"):
                await sup.start("work", args={"n": 2}, job_id="a")
            with pytest.raises(JobIdConflict) as caught:
                await sup.start("work", args={"n": 1}, job_id="a", id_conflict_policy="fail")
            assert "other work" not in str(caught.value)

    run(main)


def test_options_do_not_make_it_other_work() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a", grace=3)
            again = await sup.start(forever, job_id="a", grace=9, labels={"x": "y"})
            assert (again.created, again.record.grace) == (False, 3)

    run(main)


def test_concurrent_starts_of_one_id_make_one_job() -> None:
    async def main() -> None:
        created = []
        async with open_sup() as sup:

            async def start() -> None:
                created.append((await sup.start(forever, job_id="a")).created)

            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(start)
            assert len(await sup.list()) == 1
        assert sorted(created) == [False] * 29 + [True]

    run(main)


# --- replace ----------------------------------------------------------------------------------


def test_a_replacement_starts_only_after_confirmed_death() -> None:
    async def main() -> None:
        old, new = Script(leaving=3.0), Script()
        async with open_sup() as sup:
            first = await sup.start(old, job_id="a")
            await settle()
            second = await sup.start(new, job_id="a", id_conflict_policy="replace")
            assert second.created
            assert first.record.has_successor
            await trio.sleep(2)
            assert (old.alive, new.alive) == (1, 0)
            ended = await first.wait()
            await settle()
            assert (old.alive, new.alive) == (0, 1)
            assert (ended.state, ended.cause, ended.attempt) == ("cancelled", Cause.REPLACED, 1)
            live = await sup.get("a")
            assert (live.state, live.attempt) == ("running", 2)

    run(main)


def test_the_handle_of_a_replacement_is_the_replacement() -> None:
    async def main() -> None:
        body = Body(returns="new")
        async with open_sup() as sup:
            await sup.start(Script(leaving=3.0), job_id="a")
            await settle()
            handle = await sup.start(body, job_id="a", id_conflict_policy="replace")
            body.release()
            assert await handle.result() == "new"
            assert handle.record.attempt == 2

    run(main)


def test_cancelling_the_handle_of_a_replacement_cancels_the_replacement() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            handle = await sup.start(Body(), job_id="a", id_conflict_policy="replace")
            await settle()
            assert handle.record.attempt == 2
            reply = await handle.cancel(wait="finished")
            assert reply.outcome is CancelOutcome.CANCELLING
            assert reply.job is not None
            assert reply.job.attempt == 2

    run(main)


def test_waiting_for_a_replacement_has_one_timeout_for_both_ends() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(Script(leaving=3.0), job_id="a")
            await settle()
            handle = await sup.start(forever, job_id="a", id_conflict_policy="replace")
            began = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await handle.wait(timeout=5)
            assert trio.current_time() - began == 5

    run(main)


def test_a_pending_job_is_replaced_at_once() -> None:
    async def main() -> None:
        old, new = Body(), Body()
        async with open_sup(slots=1) as sup:
            await sup.start(forever, job_id="first")
            first = await sup.start(old, job_id="a")
            second = await sup.start(new, job_id="a", id_conflict_policy="replace")
            assert (first.state, second.state) == ("cancelled", "pending")
            assert second.record.attempt == 2
            await sup.cancel("first", wait="finished")
            await settle()
            assert (old.entered, new.entered) == (0, 1)

    run(main)


def test_a_second_replacement_overwrites_the_first() -> None:
    async def main() -> None:
        never, new = Script(), Script()
        async with open_sup() as sup:
            await sup.start(Script(leaving=3.0), job_id="a")
            await settle()
            dropped = await sup.start(never, job_id="a", id_conflict_policy="replace")
            await sup.start(new, job_id="a", id_conflict_policy="replace")
            await trio.sleep(4)
            assert (never.entered, new.entered) == (0, 1)
            assert (await dropped.wait()).attempt == 1
            assert dropped.state is JobState.CANCELLED

    run(main)


def test_a_cancel_that_comes_between_drops_the_replacement_and_says_so() -> None:
    async def main() -> None:
        never = Script()
        async with open_sup() as sup:
            await sup.start(Script(leaving=3.0), job_id="a")
            await settle()
            handle = await sup.start(never, job_id="a", id_conflict_policy="replace")
            reply = await sup.cancel("a")
            assert (reply.outcome, reply.successor_dropped) == ("joined", True)
            assert not (await sup.cancel("a")).successor_dropped
            await trio.sleep(4)
            assert never.entered == 0
            assert (await sup.get("a")).attempt == 1
            with pytest.raises(JobCancelled):
                await handle.result()

    run(main)


def test_a_cancel_without_a_replacement_drops_none() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            assert not (await sup.cancel("a")).successor_dropped
            await sup.wait("a")
            assert not (await sup.cancel("a")).successor_dropped

    run(main)


def test_a_stuck_job_holds_its_replacement_back() -> None:
    async def main() -> None:
        old, new = Script(obeys=False, dies=False), Script()
        async with open_sup() as sup:
            await sup.start(old, job_id="a", grace=1)
            await settle()
            await sup.start(new, job_id="a", id_conflict_policy="replace")
            await trio.sleep(60)
            assert ((await sup.get("a")).state, new.entered) == ("stuck", 0)
            old.die()
            await settle()
            assert new.entered == 1

    run(main)


def test_a_shutdown_drops_the_replacement() -> None:
    async def main() -> None:
        new = Script()
        async with open_sup() as sup:
            await sup.start(Script(leaving=3.0), job_id="a")
            await settle()
            await sup.start(new, job_id="a", id_conflict_policy="replace")
        assert new.entered == 0

    run(main)


def test_a_replacement_keeps_its_slot_and_no_more_than_one() -> None:
    async def main() -> None:
        async with open_sup(slots=1) as sup:
            await sup.start(forever, job_id="a")
            await settle()
            await sup.start(Body(), job_id="a", id_conflict_policy="replace")
            waiting = await sup.start(forever)
            await settle()
            states = sorted([waiting.state, (await sup.get("a")).state])
            assert states == ["pending", "running"]
            assert sup.statistics_nowait().slots_used == 1

    run(main)


# --- after its end ----------------------------------------------------------------------------


async def ended_job(sup: object, job_id: str, state: str, body: Body) -> None:
    handle = await sup.start(body, job_id=job_id)  # type: ignore[attr-defined]
    await settle()
    if state == "cancelled":
        await handle.cancel()
    else:
        body.release()
    assert (await handle.wait()).state == state


REUSE = [
    # policy, state, same work; then the answer
    ("use_existing", "succeeded", True, "existing"),
    ("use_existing", "failed", True, "existing"),
    ("use_existing", "cancelled", True, "existing"),
    ("use_existing", "succeeded", False, "conflict"),
    ("allow", "succeeded", True, "attempt 2"),
    ("allow", "failed", False, "attempt 2"),
    ("allow_failed_only", "succeeded", True, "conflict"),
    ("allow_failed_only", "failed", True, "attempt 2"),
    ("allow_failed_only", "cancelled", False, "attempt 2"),
    ("reject", "failed", True, "conflict"),
    ("reject", "succeeded", False, "conflict"),
]


@pytest.mark.parametrize(("policy", "state", "same", "answer"), REUSE)
def test_an_id_that_has_ended(policy: str, state: str, same: bool, answer: str) -> None:
    async def main() -> None:
        body = Body(raises=ValueError() if state == "failed" else None, returns=5)
        async with open_sup() as sup:
            await ended_job(sup, "a", state, body)
            before = await sup.get("a")
            work = body if same else Body()
            request = JobRequest(work, job_id="a", id_reuse_policy=policy)
            if answer == "conflict":
                with pytest.raises(JobIdConflict, match=state):
                    sup.start_nowait(request)
                return
            handle = sup.start_nowait(request)
            if answer == "existing":
                assert not handle.created
                assert await handle.wait() == before
                assert body.entered == 1
            else:
                assert (handle.created, handle.record.attempt) == (True, 2)
                await settle()
                assert len(await sup.list()) == 1
                body.release()

    run(main)


def test_a_retry_of_an_ended_job_gets_its_result() -> None:
    async def main() -> None:
        body = Body(returns=5)
        async with open_sup() as sup:
            await ended_job(sup, "a", "succeeded", body)
            handle = await sup.start(body, job_id="a")
            assert (handle.created, await handle.result()) == (False, 5)
        assert body.entered == 1

    run(main)


def test_an_old_handle_stays_with_its_attempt() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            body = Body(returns=1)
            first = await sup.start(body, job_id="a")
            body.release()
            await first.wait()
            second = await sup.start(Body(), job_id="a", id_reuse_policy="allow")
            await settle()
            reply = await first.cancel(force=True)
            assert reply.outcome in (CancelOutcome.ALREADY_FINISHED, CancelOutcome.STALE_ATTEMPT)
            assert (first.state, second.state) == ("succeeded", "running")
            assert (await first.wait()).attempt == 1

    run(main)


def test_the_log_goes_on_over_attempts_and_the_lines_tell_theirs() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            for policy in ("use_existing", "allow"):
                handle = await sup.start(script, job_id="a", id_reuse_policy=policy)
                await settle()
                script.say("hello")
                script.finish()
                await handle.wait()
            page = await sup.logs("a")
        assert [(line.n, line.attempt) for line in page.entries] == [(1, 1), (2, 2)]

    run(main)


# --- before it begins -------------------------------------------------------------------------


def test_a_remembered_cancel_buries_the_start() -> None:
    async def main() -> None:
        body = Body()
        async with open_sup() as sup:
            reply = await sup.cancel("a", reason="never mind", if_unknown="remember")
            assert (reply.outcome, reply.job) == ("recorded", None)
            await trio.sleep(5)
            handle = await sup.start(body, job_id="a")
            assert handle.created
            job = await handle.wait()
            assert job == await sup.get("a")
            assert sup.tombstones() == ()
        assert body.entered == 0
        assert (job.state, job.how, job.reason) == ("cancelled", "never_started", "never mind")
        assert job.certificate is not None
        assert job.certificate.first_request.at.timestamp() == EPOCH
        assert job.ended_at is not None
        assert job.ended_at >= job.created_at
        assert job.certificate.request_to_dead >= 0

    run(main)


def test_a_tombstone_serves_once() -> None:
    async def main() -> None:
        body = Body()
        async with open_sup() as sup:
            await sup.cancel("a", if_unknown="remember")
            await sup.start(body, job_id="a")
            again = await sup.start(body, job_id="a", id_reuse_policy="allow")
            await settle()
            assert (again.state, again.record.attempt) == ("running", 2)

    run(main)


def test_a_buried_job_takes_no_slot_and_is_told_in_one_event() -> None:
    async def main() -> None:
        async with open_sup(slots=1) as sup:
            await sup.cancel("a", if_unknown="remember")
            async with sup.watch() as events:
                await sup.start(Body(), job_id="a")
                event = await events.__anext__()
                assert (event.type, event.state) == (  # type: ignore[union-attr]
                    "job.finished",
                    "cancelled",
                )
                assert sup.head_seq == event.seq  # type: ignore[union-attr]
            assert sup.statistics_nowait().slots_used == 0

    run(main)


def test_a_repeat_keeps_the_first_reason_and_refreshes_the_time() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.cancel("a", reason="first", if_unknown="remember")
            await trio.sleep(400)
            reply = await sup.cancel("a", reason="second", if_unknown="remember")
            assert reply.outcome is CancelOutcome.RECORDED
            await trio.sleep(400)
            [tombstone] = sup.tombstones()
            assert tombstone.reason == "first"
            job = await (await sup.start(Body(), job_id="a")).wait()
            assert job.reason == "first"

    run(main)


def test_a_tombstone_lasts_ten_minutes() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.cancel("a", if_unknown="remember")
            await trio.sleep(599)
            assert len(sup.tombstones()) == sup.statistics_nowait().tombstones == 1
            await trio.sleep(1)
            assert sup.tombstones() == ()
            handle = await sup.start(Body(), job_id="a")
            await settle()
            assert handle.state is JobState.RUNNING

    run(main)


def test_tombstones_are_capped_and_a_full_house_says_when_to_come_back() -> None:
    async def main() -> None:
        async with open_sup(store=MemoryStore(tombstones_kept=2)) as sup:
            await sup.cancel("a", if_unknown="remember")
            await trio.sleep(100)
            await sup.cancel("b", if_unknown="remember")
            with pytest.raises(Overloaded) as caught:
                await sup.cancel("c", if_unknown="remember")
            assert caught.value.data["retry_after"] == 500
            await sup.cancel("b", if_unknown="remember")
            await trio.sleep(500)
            await sup.cancel("c", if_unknown="remember")
            assert [each.job_id for each in sup.tombstones()] == ["b", "c"]

    run(main)


def test_run_drops_the_tombstone_and_runs() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.cancel("a", if_unknown="remember")
            handle = await sup.start(Body(), job_id="a", if_remembered="run")
            await settle()
            assert handle.state is JobState.RUNNING
            assert sup.tombstones() == ()

    run(main)


def test_remember_touches_a_known_job_like_any_cancel() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            reply = await sup.cancel("a", if_unknown="remember", wait="finished")
            assert reply.outcome is CancelOutcome.CANCELLING
            reply = await sup.cancel("a", if_unknown="remember")
            assert reply.outcome is CancelOutcome.ALREADY_CANCELLED
            assert sup.tombstones() == ()

    run(main)


def test_a_start_that_is_refused_does_not_use_the_tombstone_up() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.cancel("a", if_unknown="remember")
            with pytest.raises(InvalidArguments):
                await sup.start(forever, job_id="a", grace=-1)
            with pytest.raises(InvalidArguments):
                await sup.start(forever, job_id="a", id_reuse_policy="maybe")
            assert len(sup.tombstones()) == 1

    run(main)


# --- finished jobs are kept up to a bound -----------------------------------------------------


def test_the_oldest_finished_jobs_are_forgotten_first_and_live_ones_never() -> None:
    async def main() -> None:
        async with open_sup(store=MemoryStore(finished_kept=3)) as sup:
            await sup.start(forever, job_id="live")
            for number in range(6):
                body = Body()
                handle = await sup.start(body, job_id=f"j{number}")
                body.release()
                await handle.wait()
            assert [job.id for job in await sup.list()] == ["live", "j3", "j4", "j5"]
            with pytest.raises(JobNotFound):
                await sup.get("j2")
            await settle()
            assert (await sup.cancel("live")).outcome is CancelOutcome.CANCELLING

    run(main)


def test_a_handle_outlives_the_record_in_the_store() -> None:
    async def main() -> None:
        async with open_sup(store=MemoryStore(finished_kept=1)) as sup:
            handles = []
            for number in range(3):
                body = Body(returns=number)
                handles.append(await sup.start(body))
                body.release()
                await handles[-1].wait()
            assert [await handle.result() for handle in handles] == [0, 1, 2]
            assert (await handles[0].cancel()).outcome is CancelOutcome.ALREADY_FINISHED

    run(main)
