"""Cancelling: the answer, the ladder, the proof; and the races that the design decides."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from fakes import Body, Script, forever, open_sup, run, settle
from turns import in_turn

import supervisor
from supervisor._errors import InvalidArguments, JobCancelled, JobNotFound
from supervisor._ledger import LOOKS
from supervisor._model import (
    CancelOutcome,
    CancelReply,
    Cause,
    How,
    JobFilter,
    JobRequest,
    JobState,
    Rung,
)

# --- before it begins -------------------------------------------------------------------------


def test_start_then_cancel_in_one_step_never_enters_the_body() -> None:
    async def main() -> None:
        entered = []

        async def body() -> None:  # no checkpoint: a scope alone would let it run to its end
            entered.append(1)

        async with open_sup() as sup:
            handle = sup.start_nowait(JobRequest(body, job_id="a"))
            reply = sup.cancel_nowait("a", reason="at once")
            assert reply.outcome is CancelOutcome.CANCELLING
            job = await handle.wait()
        assert entered == []
        assert (job.state, job.how, job.reason) == ("cancelled", "never_started", "at once")
        assert job.started_at is None
        assert job.certificate is not None

    run(main)


def test_a_body_without_a_checkpoint_is_not_entered_after_a_cancel_of_its_starter() -> None:
    async def main() -> None:
        entered = []

        async def body() -> None:
            entered.append(1)

        async with open_sup() as sup:
            with trio.CancelScope() as scope:
                scope.cancel()
                with pytest.raises(trio.Cancelled):
                    await sup.start(body, job_id="a")
            with pytest.raises(JobNotFound):
                await sup.get("a")
        assert entered == []

    run(main)


def test_a_starter_cancelled_on_the_way_holds_its_job() -> None:
    async def main() -> None:
        held = []
        async with open_sup() as sup:
            with trio.CancelScope() as scope:

                async def cancel_the_starter() -> None:
                    scope.cancel()
                    await trio.sleep_forever()

                held.append(await sup.start(cancel_the_starter, job_id="a"))
                await trio.sleep_forever()
            assert scope.cancelled_caught
            assert [handle.id for handle in held] == ["a"]
            assert (await sup.get("a")).state is JobState.RUNNING

    for _ in range(20):  # which of two tasks of one tick is first is up to Trio
        run(main)


def test_a_spawn_in_flight_is_waited_for_and_its_body_is_not_entered() -> None:
    async def main() -> None:
        script = Script(spawn=3.0)
        async with open_sup() as sup:
            handle = await sup.start(script, job_id="a")
            await trio.sleep(1)
            assert handle.state is JobState.STARTING
            reply = await sup.cancel("a", wait="finished")
            assert reply.outcome is CancelOutcome.CANCELLING
            assert reply.job is not None
            assert (reply.job.state, reply.job.how) == ("cancelled", "never_started")
            assert reply.certificate is not None
            assert reply.certificate.request_to_dead == 2.0
        assert script.entered == 0

    run(main)


def test_a_spawn_that_comes_through_after_the_cancel_is_ended() -> None:
    async def main() -> None:
        script = Script(spawn=3.0, enters=True)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=10)
            await trio.sleep(1)
            await handle.cancel()
            job = await handle.wait()
        assert (job.state, job.how, script.alive) == ("cancelled", "cooperative", 0)

    run(main)


def test_a_spawn_in_flight_for_too_long_is_stuck_then_killed() -> None:
    async def main() -> None:
        script = Script(spawn=60.0)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=1)
            await settle()
            reply = await handle.cancel(wait="finished")
            assert reply.job is not None
            assert reply.job.state is JobState.STUCK
            job = await handle.wait()
        assert (job.state, job.late, script.entered) == ("cancelled", True, 0)

    run(main)


def test_a_spawn_that_fails_after_a_cancel_is_cancelled_and_keeps_the_error() -> None:
    async def main() -> None:
        script = Script(spawn=3.0, spawn_error="no such file")
        async with open_sup() as sup:
            handle = await sup.start(script)
            await settle()
            await handle.cancel()
            job = await handle.wait()
        assert job.state is JobState.CANCELLED
        assert job.error is not None
        assert job.error.message == "no such file"

    run(main)


# --- the answer -------------------------------------------------------------------------------


def test_the_answers_in_their_order() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup() as sup:
            await sup.start(body, job_id="a", grace=10)
            await settle()
            outcomes = [
                (await sup.cancel("a", reason="first")).outcome,
                (await sup.cancel("a", reason="second")).outcome,
                (await sup.cancel("a", grace=60)).outcome,
                (await sup.cancel("a", grace=5)).outcome,
                (await sup.cancel("a", force=True)).outcome,
                (await sup.cancel("a", force=True)).outcome,
                (await sup.cancel("a", wait="finished")).outcome,
            ]
            await trio.sleep(100)
            outcomes.append((await sup.cancel("a")).outcome)
            body.release()
            await sup.wait("a")
            last = await sup.cancel("a")
            outcomes.append(last.outcome)
        assert outcomes == [
            "cancelling",
            "joined",
            "joined",
            "escalated",
            "escalated",
            "joined",
            "joined",
            "stuck",
            "already_cancelled",
        ]
        assert last.first_request is not None
        assert last.first_request.reason == "first"

    run(main)


@pytest.mark.parametrize(
    ("raises", "state"), [(None, "succeeded"), (ValueError(), "failed")], ids=repr
)
def test_a_job_that_has_finished_says_how(raises: Exception | None, state: str) -> None:
    async def main() -> None:
        body = Body(raises=raises)
        async with open_sup() as sup:
            await sup.start(body, job_id="a")
            body.release()
            before = await sup.wait("a")
            position = sup.head_seq
            reply = await sup.cancel("a", force=True, grace=0)
            assert reply.outcome is CancelOutcome.ALREADY_FINISHED
            assert reply.job == before
            assert before.state == state
            assert sup.head_seq == position

    run(main)


def test_an_unknown_id_is_an_error_that_names_similar_ids() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="build-1")
            with pytest.raises(JobNotFound, match="build-1") as caught:
                await sup.cancel("build")
            assert caught.value.data["similar"] == ["build-1"]

    run(main)


def test_another_attempt_is_left_alone() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            position = sup.head_seq
            reply = await sup.cancel("a", attempt=2, force=True, wait="finished")
            assert reply.outcome is CancelOutcome.STALE_ATTEMPT
            assert sup.head_seq == position
            assert (await sup.get("a")).state is JobState.RUNNING
            assert (await sup.cancel("a", attempt=1)).outcome is CancelOutcome.CANCELLING

    run(main)


def test_wait_finished_answers_with_the_certificate() -> None:
    async def main() -> CancelReply:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            return await sup.cancel("a", reason="enough", wait="finished")

    reply: CancelReply = run(main)
    assert reply.outcome is CancelOutcome.CANCELLING
    assert reply.job is not None
    assert reply.job.state is JobState.CANCELLED
    assert reply.certificate is not None
    assert reply.certificate.how is How.COOPERATIVE
    assert reply.certificate.first_request.reason == "enough"
    assert reply.certificate.proof.means == "task_exited"
    assert [step.rung for step in reply.certificate.rungs] == [Rung.CANCEL]


def test_wait_finished_answers_at_stuck() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup() as sup:
            await sup.start(body, job_id="a", grace=3)
            await settle()
            reply = await sup.cancel("a", wait="finished")
            assert reply.outcome is CancelOutcome.CANCELLING
            assert reply.job is not None
            assert reply.job.state is JobState.STUCK
            assert reply.certificate is None
            body.release()

    run(main)


def test_wait_finished_answers_at_its_timeout() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup() as sup:
            await sup.start(body, job_id="a", grace=30)
            await settle()
            began = trio.current_time()
            reply = await sup.cancel("a", wait="finished", timeout=2)
            assert trio.current_time() - began == 2
            assert reply.job is not None
            assert (reply.outcome, reply.job.state) == ("cancelling", "cancelling")
            body.release()

    run(main)


@pytest.mark.parametrize("wait", ["accepted", "finished"])
def test_every_answer_comes_after_a_checkpoint(wait: str) -> None:
    async def main() -> None:
        body = Body(shielded=True)
        script = Script(obeys=False, dies=False)
        async with open_sup() as sup:
            await sup.start(body, job_id="stuck", grace=1)
            await sup.start(script, job_id="killed", grace=1)
            await sup.start(Body(), job_id="gone")
            await settle()
            for job_id in ("stuck", "killed"):
                await sup.cancel(job_id, wait="finished")
            for job_id in ("stuck", "killed", "gone", "gone"):
                with trio.testing.assert_checkpoints():
                    await sup.cancel(job_id, wait=wait)
            with trio.testing.assert_checkpoints():
                await sup.cancel("nobody", if_unknown="remember", wait=wait)
            body.release()
            script.die()

    run(main)


def test_a_waiter_that_gives_up_takes_nothing_back() -> None:
    async def main() -> None:
        body = Body(shielded=True)
        async with open_sup() as sup:
            handle = await sup.start(body, grace=30)
            await settle()
            with trio.move_on_after(1):
                await handle.cancel(wait="finished")
            assert handle.state is JobState.CANCELLING
            body.release()
            assert (await handle.wait()).state is JobState.SUCCEEDED

    run(main)


# --- the ladder -------------------------------------------------------------------------------


def test_a_job_that_obeys_is_never_killed() -> None:
    async def main() -> None:
        script = Script(leaving=3.0)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=10)
            await settle()
            job = (await handle.cancel(wait="finished")).job
            assert job is not None
        assert script.signals == ["TERM"]
        assert (job.state, job.how, job.signal) == ("cancelled", "cooperative", 15)
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 3.0

    run(main)


def test_a_job_that_ignores_the_request_is_killed_after_its_grace() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=7)
            await settle()
            job = (await handle.cancel(wait="finished")).job
            assert job is not None
        assert script.signals == ["TERM", "KILL"]
        assert (job.state, job.how, job.signal) == ("cancelled", "forced", 9)
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 7.0
        assert [step.rung for step in job.certificate.rungs] == ["cancel", "force", "verify"]

    run(main)


def test_force_kills_at_once_without_asking() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            handle = await sup.start(script, grace=60, notice=60)
            await settle()
            job = (await handle.cancel(force=True, wait="finished")).job
            assert job is not None
        assert script.signals == ["KILL"]
        assert job.how is How.FORCED
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 0.0

    run(main)


def test_force_overtakes_a_long_grace() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=600)
            await settle()
            await handle.cancel()
            await trio.sleep(1)
            reply = await handle.cancel(force=True, wait="finished")
            assert reply.outcome is CancelOutcome.ESCALATED
            assert reply.certificate is not None
            assert reply.certificate.request_to_dead == 1.0
            assert [each.force for each in reply.certificate.later_requests] == [True]

    run(main)


def test_a_smaller_grace_moves_the_kill_earlier_and_a_larger_one_does_not_move_it() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=100)
            await settle()
            await handle.cancel()
            await trio.sleep(1)
            assert handle.record.kill_in == 99
            assert (await handle.cancel(grace=10)).outcome is CancelOutcome.ESCALATED
            assert handle.record.kill_in == 10
            assert (await handle.cancel(grace=50)).outcome is CancelOutcome.JOINED
            assert handle.record.kill_in == 10
            job = await handle.wait()
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 11.0

    run(main)


def test_ten_polite_cancels_are_one_polite_cancel() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=20)
            await settle()
            for _ in range(10):
                await handle.cancel(reason="please")
                await trio.sleep(1)
            assert script.signals == ["TERM"]
            job = await handle.wait()
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 20.0
        assert job.certificate.later_count == 9

    run(main)


def test_what_survives_the_kill_is_stuck_and_says_why_and_where() -> None:
    async def main() -> None:
        script = Script(obeys=False, dies=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=1)
            await settle()
            job = (await handle.cancel(wait="finished")).job
            assert job is not None
            assert (job.state, job.where) == ("stuck", ("pid 4242 sleeping",))
            assert job.why is not None
            assert "killed" in job.why
            assert job.stuck_since is not None
            script.die()
            final = await handle.wait()
        assert (final.state, final.late, final.how) == ("cancelled", True, "forced")

    run(main)


def test_force_sweeps_a_stuck_job_again() -> None:
    async def main() -> None:
        script = Script(obeys=False, dies=False)
        async with open_sup() as sup:
            handle = await sup.start(script, grace=1)
            await settle()
            await handle.cancel(wait="finished")
            assert script.signals == ["TERM", "KILL"]
            assert (await handle.cancel()).outcome is CancelOutcome.STUCK
            assert script.signals == ["TERM", "KILL"]
            script.dies = True
            assert (await handle.cancel(force=True)).outcome is CancelOutcome.STUCK
            assert script.signals == ["TERM", "KILL", "KILL"]
            job = await handle.wait()
        assert job.state is JobState.CANCELLED

    run(main)


def test_code_of_this_process_cannot_be_forced_and_is_stuck_by_name() -> None:
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    release = trio.Event()

    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(stubborn, grace=5)
            await settle()
            began = trio.current_time()
            job = (await handle.cancel(wait="finished")).job
            assert job is not None
            assert trio.current_time() - began == 5
            assert (job.state, job.can_force) == ("stuck", False)
            assert "stubborn" in job.where[0]
            assert __file__ in job.where[0]
            release.set()
            final = await handle.wait()
        assert (final.state, final.late) == ("cancelled", True)

    run(main)


def test_forcing_code_of_this_process_cancels_it_and_then_calls_it_stuck() -> None:
    async def main() -> None:
        body, polite = Body(shielded=True), Body()
        async with open_sup() as sup:
            handle = await sup.start(body, grace=60)
            other = await sup.start(polite, grace=60)
            await settle()
            job = (await handle.cancel(force=True, wait="finished")).job
            assert job is not None
            assert job.state is JobState.STUCK
            job = (await other.cancel(force=True, wait="finished")).job
            assert job is not None
            assert (job.state, job.late) == ("cancelled", False)
            body.release()

    run(main)


@pytest.mark.parametrize("grace", [0, 0.0])
def test_a_body_that_leaves_at_once_is_in_time_even_without_grace(grace: float) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever)
            await settle()
            job = (await handle.cancel(grace=grace, wait="finished")).job
            assert job is not None
            assert (job.state, job.late) == ("cancelled", False)

    for _ in range(20):  # which of two tasks of one tick is first is up to Trio
        in_turn(main)


# --- notice -----------------------------------------------------------------------------------


def test_notice_lets_the_body_finish_what_it_is_doing() -> None:
    async def main() -> None:
        async def body() -> str:
            job = supervisor.current_job()
            assert not job.cancel_requested
            await trio.sleep(5)
            assert (job.cancel_requested, job.reason) == (True, "deploy")
            return "saved"

        async with open_sup() as sup:
            handle = await sup.start(body, notice=30)
            await trio.sleep(0.5)
            await handle.cancel(reason="deploy")
            assert handle.record.rung is Rung.NOTICE
            job = await handle.wait()
            assert await handle.result() == "saved"
        assert (job.state, job.cancel_requested) == ("succeeded", True)
        assert job.certificate is not None
        assert job.certificate.how is How.RETURNED

    run(main)


def test_notice_wakes_a_body_that_waits_for_it() -> None:
    async def main() -> None:
        async def body(event: trio.Event) -> None:
            event.set()
            await supervisor.current_job().wait_cancel_requested()
            await supervisor.current_job().wait_cancel_requested()

        async with open_sup() as sup:
            ready = trio.Event()
            handle = await sup.start(body, ready, notice=30)
            await ready.wait()
            await handle.cancel()
            assert (await handle.wait()).state is JobState.SUCCEEDED

    run(main)


def test_after_notice_comes_cancel_after_its_grace_force() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, notice=30, grace=10)
            await settle()
            await handle.cancel()
            await trio.sleep(29)
            assert script.signals == []
            assert handle.record.kill_in == 11
            await trio.sleep(2)
            assert script.signals == ["TERM"]
            job = await handle.wait()
        assert job.certificate is not None
        assert job.certificate.request_to_dead == 40.0
        assert [step.rung for step in job.certificate.rungs] == list(Rung)

    run(main)


def test_a_smaller_grace_ends_notice() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever, notice=30)
            await settle()
            await handle.cancel()
            await trio.sleep(1)
            reply = await handle.cancel(grace=5, wait="finished")
            assert reply.outcome is CancelOutcome.ESCALATED
            assert reply.certificate is not None
            assert reply.certificate.request_to_dead == 1.0
            assert [step.rung for step in reply.certificate.rungs] == ["notice", "cancel"]

    run(main)


def test_force_ends_notice() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            handle = await sup.start(script, notice=30)
            await settle()
            await handle.cancel()
            await handle.cancel(force=True, wait="finished")
        assert script.signals == ["KILL"]

    run(main)


# --- deadlines --------------------------------------------------------------------------------


def test_a_job_that_passes_its_timeout_is_timed_out() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever, timeout=5)
            began = trio.current_time()
            job = await handle.wait()
            assert trio.current_time() - began == 5
        assert (job.state, job.cause, job.duration) == ("timed_out", "deadline", 5.0)
        assert job.certificate is not None
        assert job.certificate.first_request.requester == "supervisor"

    run(main)


def test_the_timeout_climbs_the_same_ladder() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, timeout=5, grace=3, notice=2)
            job = await handle.wait()
        assert script.signals == ["TERM", "KILL"]
        assert (job.state, job.duration) == ("timed_out", 10.0)

    run(main)


def test_the_timeout_counts_from_running() -> None:
    async def main() -> None:
        script = Script(spawn=20)
        async with open_sup() as sup:
            handle = await sup.start(script, timeout=5)
            began = trio.current_time()
            job = await handle.wait()
            assert trio.current_time() - began == 25
        assert job.state is JobState.TIMED_OUT

    run(main)


def test_a_cancel_that_joins_a_deadline_leaves_it_timed_out() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, timeout=5, grace=3)
            await trio.sleep(6)
            assert (await handle.cancel()).outcome is CancelOutcome.JOINED
            assert (await handle.wait()).state is JobState.TIMED_OUT

    run(main)


def test_a_deadline_that_passes_during_a_cancel_changes_nothing() -> None:
    async def main() -> None:
        script = Script(obeys=False)
        async with open_sup() as sup:
            handle = await sup.start(script, timeout=5, grace=10)
            await trio.sleep(4)
            await handle.cancel()
            job = await handle.wait()
        assert (job.state, job.cause) == ("cancelled", "user")
        assert job.certificate is not None
        assert job.certificate.later_count == 0
        assert job.certificate.request_to_dead == 10.0

    run(main)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"swallows": True, "returns": 1}, "succeeded"),
        ({"swallows": True, "raises": ValueError()}, "timed_out"),
        ({}, "timed_out"),
    ],
)
def test_what_a_body_makes_of_its_deadline(body: dict[str, object], state: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Body(**body), timeout=5)  # type: ignore[arg-type]
            assert (await handle.wait()).state == state

    run(main)


# --- cancel against completion ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({}, "cancelled"),
        ({"swallows": True, "returns": 7}, "succeeded"),
        ({"swallows": True, "raises": ValueError("late")}, "failed"),
    ],
)
def test_what_a_body_makes_of_a_cancel(body: dict[str, object], state: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(Body(**body))  # type: ignore[arg-type]
            await settle()
            job = (await handle.cancel(reason="why", wait="finished")).job
        assert job is not None
        assert (job.state, job.cancel_requested, job.cause) == (state, True, "user")
        assert job.certificate is not None

    run(main)


def test_a_body_that_returns_after_it_was_stuck_is_cancelled_late() -> None:
    async def main() -> None:
        body = Body(shielded=True, returns="too late")
        async with open_sup() as sup:
            handle = await sup.start(body, grace=1)
            await settle()
            await handle.cancel(wait="finished")
            body.release()
            job = await handle.wait()
            with pytest.raises(JobCancelled):
                await handle.result()
        assert (job.state, job.late) == ("cancelled", True)

    run(main)


def test_an_exit_that_comes_before_the_cancel_wins() -> None:
    async def main() -> None:
        script = Script()
        async with open_sup() as sup:
            handle = await sup.start(script)
            await settle()
            script.finish(0)  # it is gone, but nobody has said so yet
            reply = await handle.cancel(wait="finished")
        # The cancel was accepted while the job was on record as running; its exit code is kept.
        assert reply.outcome is CancelOutcome.CANCELLING
        assert reply.job is not None
        assert (reply.job.state, reply.job.exit_code) == ("cancelled", 0)

    run(main)


def test_a_job_may_cancel_itself() -> None:
    async def main() -> None:
        async with open_sup() as sup:

            async def body() -> None:
                reply = await sup.cancel(supervisor.current_job().id, wait="finished")
                raise AssertionError(reply)

            job = await (await sup.start(body)).wait()
        assert job.state is JobState.CANCELLED

    run(main)


# --- many -------------------------------------------------------------------------------------


def test_cancel_many_by_id_answers_each_in_turn() -> None:
    async def main() -> None:
        done = Body()
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await sup.start(done, job_id="b")
            done.release()
            await sup.wait("b")
            answers = await sup.cancel_many(
                JobFilter(job_ids=("a", "nobody", "b", "a")), wait="finished"
            )
        assert isinstance(answers[0], CancelReply)
        assert isinstance(answers[1], JobNotFound)
        assert isinstance(answers[2], CancelReply)
        assert [answers[0].outcome, answers[2].outcome] == ["cancelling", "already_finished"]
        assert len(answers) == 3
        assert answers[0].job is not None
        assert answers[0].job.state is JobState.CANCELLED

    run(main)


def test_cancel_many_by_description_means_live_jobs() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            for number in range(4):
                await sup.start(
                    forever, job_id=f"j{number}", name="odd" if number % 2 else "even",
                    labels={"n": str(number)},
                )  # fmt: skip
            await sup.cancel("j1", wait="finished")
            answers = await sup.cancel_many(JobFilter(name="odd"))
            assert [a.job_id for a in answers if isinstance(a, CancelReply)] == ["j3"]
            answers = await sup.cancel_many(JobFilter(labels={"n": "0"}))
            assert [a.job_id for a in answers if isinstance(a, CancelReply)] == ["j0"]
            answers = await sup.cancel_many(JobFilter(state=(JobState.CANCELLING,)))
            assert answers == [] or all(isinstance(a, CancelReply) for a in answers)
            answers = await sup.cancel_many(JobFilter(), wait="finished")
            assert [a.job_id for a in answers if isinstance(a, CancelReply)] == ["j2"]

    in_turn(main)


def test_a_bulk_cancel_pauses_also_where_no_job_is_meant() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            for _ in range(2 * LOOKS + 1):
                await sup.start(forever)
            assert [*sup.cancel_steps(JobFilter(name="another"))] == [None, None]
            assert not await sup.cancel_many(JobFilter(name="another"))
            await sup.cancel_many(JobFilter())

    run(main)


def test_a_long_filter_is_not_searched_for_every_job() -> None:
    class Searched(tuple[Any, ...]):
        def __contains__(self, item: object) -> bool:
            raise AssertionError("searched")

    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            states, ids = Searched([JobState.STUCK, JobState.RUNNING]), Searched(["b", "a"])
            await settle()
            filter = JobFilter(state=states, job_ids=ids)
            assert [job.id for job in await sup.list(filter)] == ["a"]
            (answer,) = await sup.cancel_many(filter)
            assert isinstance(answer, CancelReply)

    run(main)


def test_cancel_many_shares_one_timeout() -> None:
    async def main() -> None:
        bodies = [Body(shielded=True) for _ in range(3)]
        async with open_sup() as sup:
            for body in bodies:
                await sup.start(body, grace=60)
            await settle()
            began = trio.current_time()
            answers = await sup.cancel_many(JobFilter(), wait="finished", timeout=5)
            assert trio.current_time() - began == 5
            assert len(answers) == 3
            for body in bodies:
                body.release()

    run(main)


def test_cancelling_many_lets_others_run_between_chunks() -> None:
    async def main() -> None:
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await trio.lowlevel.checkpoint()

        async with open_sup() as sup:
            for _ in range(1000):
                await sup.start(forever)
            await settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                await trio.lowlevel.checkpoint()
                ticks = 0
                await sup.cancel_many(JobFilter())
                assert ticks >= 5
                nursery.cancel_scope.cancel()

    in_turn(main)


# --- bad input --------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"grace": -1}, "$.grace"),
        ({"grace": INF}, "$.grace"),
        ({"grace": NAN}, "$.grace"),
        ({"grace": "5"}, "$.grace"),
        ({"grace": True}, "$.grace"),
        ({"wait": "later"}, "$.wait"),
        ({"wait": None}, "$.wait"),
        ({"wait": []}, "$.wait"),
        ({"timeout": -1, "wait": "finished"}, "$.timeout"),
        ({"timeout": NAN}, "$.timeout"),
        ({"if_unknown": "invent"}, "$.if_unknown"),
        ({"reason": 5}, "$.reason"),
        ({"reason": "x" * 5000}, "$.reason"),
        ({"force": "yes"}, "$.force"),
        ({"force": None}, "$.force"),
        ({"attempt": "1"}, "$.attempt"),
        ({"attempt": 0}, "$.attempt"),
        ({"attempt": True}, "$.attempt"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_and_nothing_is_touched(
    options: dict[str, object], path: str
) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever, job_id="a")
            await settle()
            before = handle.record
            with pytest.raises(InvalidArguments) as caught:
                await sup.cancel("a", **options)  # type: ignore[arg-type]
            assert caught.value.data["path"] == path
            assert attrs.evolve(handle.record) == before

    run(main)


@pytest.mark.parametrize("job_id", ["", "-a", "a b", "ä", "a/b", "x" * 129, "a\n", "../a", "a\0"])
@pytest.mark.parametrize("if_unknown", ["error", "remember"])
def test_an_odd_id_is_refused_in_words(job_id: str, if_unknown: str) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            with pytest.raises((InvalidArguments, JobNotFound)):
                await sup.cancel(job_id, if_unknown=if_unknown)
            assert sup.tombstones() == ()

    run(main)


@pytest.mark.parametrize("job_id", [None, 5, ["a"], {}, b"a"])
def test_an_id_that_is_no_text_is_refused(job_id: object) -> None:
    async def main() -> None:
        async with open_sup() as sup:
            for ask in (sup.cancel, sup.get, sup.wait, sup.logs):
                with pytest.raises(InvalidArguments) as caught:
                    await ask(job_id)  # type: ignore[operator]
                assert caught.value.data["path"] == "$.job_id"

    run(main)


def test_a_cause_is_on_record() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            handle = await sup.start(forever)
            await settle()
            sup.cancel_nowait(handle.id, cause=Cause.CLIENT_GONE, requester="session 7")
            job = await handle.wait()
        assert job.cause is Cause.CLIENT_GONE
        assert job.certificate is not None
        assert job.certificate.first_request.requester == "session 7"

    run(main)


def test_who_waits_for_an_end_is_not_told_of_another_attempt() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            waiting = sup.when_gone(sup.cancel_nowait("a"))
            await settle()
            await sup.start(forever, job_id="a")
            gone = await waiting()
            assert gone.job is not None
            assert (gone.job.attempt, gone.job.state) == (1, JobState.CANCELLED)

    run(main)
