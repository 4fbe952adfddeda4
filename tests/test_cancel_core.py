"""A supervisor that is cancelled at any of its checkpoints leaves nothing."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from cancel_programs import Program
from fakes import open_sup

import supervisor
from supervisor._supervisor import Supervisor
from supervisor.testing._cancelling import (
    cancel_everywhere,
)


async def short() -> int:
    await trio.sleep(2)
    return 3


async def careful() -> None:
    supervisor.current_job().log("working")
    try:
        await trio.sleep(100)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)


async def two_jobs() -> None:
    async with open_sup() as sup:
        await sup.start(short, job_id="a")
        await sup.start(careful, job_id="b")
        await trio.sleep(1)
        await sup.cancel("b", reason="enough", wait="finished")
        await sup.wait("a")


async def jobs_that_are_watched() -> None:
    async with open_sup(slots=1) as sup, sup.watch(logs=True) as events:
        await sup.start(short, job_id="a", timeout=1)
        await sup.start(careful, job_id="b")
        async for event in events:
            if getattr(event, "job_id", None) == "b":
                break
        await sup.shutdown("drain")


async def parent() -> None:
    job = supervisor.current_job()
    child = await job.start(careful)
    await trio.sleep(1)
    await child.cancel()
    await job.start(short)


async def jobs_with_children() -> None:
    async with open_sup() as sup:
        await sup.start(parent, job_id="p")
        await trio.sleep(2)
        await sup.cancel("p", force=True)
        await sup.wait("p", timeout=60)


async def job_that_is_replaced() -> None:
    async with open_sup() as sup:
        await sup.start(careful, job_id="a")
        await sup.start(short, job_id="a", id_conflict_policy="replace")
        await sup.cancel("z", if_unknown="remember")
        await sup.start(short, job_id="z")
        await sup.wait("a")


@pytest.mark.parametrize(
    "program", [two_jobs, jobs_that_are_watched, jobs_with_children, job_that_is_replaced]
)
def test_a_supervisor_that_is_cancelled_anywhere_leaves_nothing(program: Program) -> None:
    report = cancel_everywhere(program)
    assert {each.ended for each in report.steps} <= {"cancelled", "returned"}
    assert report.checkpoints > 10


def test_the_records_of_a_supervisor_are_final_wherever_it_is_cancelled() -> None:
    async def program(seen: list[Supervisor]) -> None:
        async with open_sup() as sup:
            seen.append(sup)
            await sup.start(short, job_id="a")
            await sup.start(careful, job_id="b")
            await trio.sleep(1)

    def check(seen: list[Supervisor]) -> None:
        for sup in seen:
            assert all(job.state.is_final for job in sup.list_nowait().jobs)
            assert sup.statistics_nowait().slots_used == 0

    assert cancel_everywhere(program, make=list, check=check).checkpoints > 10
