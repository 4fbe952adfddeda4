"""Slots: how many jobs may run at a time, who waits, and who is next."""

from __future__ import annotations

import trio
from fakes import Body, Script, forever, open_sup, run, settle

from supervisor._model import CancelOutcome, JobFilter, JobRequest


def test_jobs_wait_for_a_slot_and_come_in_their_order() -> None:
    async def main() -> None:
        entered = []

        async def body(number: int) -> None:
            entered.append(number)
            await trio.sleep(1)

        async with open_sup(slots=2) as sup:
            handles = [await sup.start(body, number) for number in range(6)]
            assert [handle.state for handle in handles[2:]] == ["pending"] * 4
            for handle in handles:
                await handle.wait()
        assert sorted(entered[:2]) == [0, 1]
        assert sorted(entered[2:4]) == [2, 3]
        assert sorted(entered[4:]) == [4, 5]

    run(main)


def test_the_next_job_starts_in_the_same_step_in_which_the_one_before_died() -> None:
    async def main() -> None:
        async with open_sup(slots=1) as sup:
            first = await sup.start(forever)
            second = await sup.start(forever)
            await settle()
            reply = await first.cancel(wait="finished")
            assert reply.job is not None
            assert second.state in ("starting", "running")

    run(main)


def test_a_job_that_is_dying_or_stuck_keeps_its_slot() -> None:
    async def main() -> None:
        script = Script(obeys=False, dies=False)
        async with open_sup(slots=1) as sup:
            first = await sup.start(script, grace=1)
            second = await sup.start(forever)
            await settle()
            await first.cancel()
            assert (first.state, second.state) == ("cancelling", "pending")
            await trio.sleep(60)
            assert (first.state, second.state) == ("stuck", "pending")
            assert sup.statistics_nowait().slots_used == 1
            script.die()
            await settle()
            assert (first.state, second.state) == ("cancelled", "running")

    run(main)


def test_a_cancelled_pending_job_is_final_at_once_and_is_passed_over() -> None:
    async def main() -> None:
        never = Body()
        async with open_sup(slots=1) as sup:
            first = await sup.start(forever)
            second = await sup.start(never, job_id="b", timeout=5)
            third = await sup.start(forever)
            reply = sup.cancel_nowait("b")
            assert reply.outcome is CancelOutcome.CANCELLED
            assert reply.job is not None
            assert reply.job.state == second.state == "cancelled"
            await settle()
            await first.cancel(wait="finished")
            await settle()
            assert third.state == "running"
            again = await sup.start(never, job_id="b", id_reuse_policy="allow")
            assert (again.created, again.state) == (True, "pending")
        assert never.entered == 0

    run(main)


def test_every_way_to_end_gives_the_slot_back() -> None:
    async def main() -> None:
        async with open_sup(slots=1) as sup:
            ways = [
                Script(crash=RuntimeError()),
                Script(spawn=1, spawn_error="no"),
                Script(),
                Script(obeys=False),
            ]
            for script in ways:
                handle = await sup.start(script, timeout=1, grace=1)
                await handle.wait()
                assert sup.statistics_nowait().slots_used == 0
            for body in (Body(raises=ValueError()), Body(raises=SystemExit()), Body()):
                handle = await sup.start(body)
                body.release()
                await handle.wait()
                assert sup.statistics_nowait().slots_used == 0
            sup.start_nowait(JobRequest(forever, job_id="a"))
            sup.cancel_nowait("a")
            await sup.wait("a")
            assert sup.statistics_nowait().slots_used == 0

    run(main)


def test_rapid_cancels_of_running_and_waiting_jobs_leave_nothing() -> None:
    async def main() -> None:
        async with open_sup(slots=7) as sup:
            for number in range(300):
                await sup.start(forever, job_id=f"j{number}")
                if number % 3 == 0:
                    await sup.cancel(f"j{number // 2}")
            await sup.cancel_many(JobFilter(), wait="finished")
            statistics = sup.statistics_nowait()
            assert statistics.slots_used == 0
            assert statistics.jobs["cancelled"] == 300

    run(main)


def test_a_shutdown_launches_no_job_that_was_waiting() -> None:
    async def main() -> None:
        bodies = [Body() for _ in range(300)]
        async with open_sup(slots=60) as sup:
            for body in bodies:
                await sup.start(body)
            await settle()
            assert sum(body.entered for body in bodies) == 60
        assert sum(body.entered for body in bodies) == 60

    run(main)


def test_a_drain_runs_what_was_waiting() -> None:
    async def main() -> None:
        done = []

        async def body(number: int) -> None:
            await trio.sleep(1)
            done.append(number)

        async with open_sup(slots=1) as sup:
            for number in range(4):
                await sup.start(body, number)
            await sup.shutdown("drain")
        assert done == [0, 1, 2, 3]

    run(main)
