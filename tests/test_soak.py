"""What takes long or fills the machine: run with `-m soak`."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from supervisor import (
    CancelReply,
    JobFilter,
    JobHandle,
    JobRequest,
    JobState,
    open_supervisor,
)
from supervisor._collector import FEW

pytestmark = pytest.mark.soak

MANY = 100_000


async def idle() -> None:
    await trio.sleep_forever()


async def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("by", ["cancel_many", "leaving the block"])
def test_a_hundred_thousand_idle_jobs_are_cancelled_together(by: str) -> None:
    async def main() -> None:
        before = await tasks()
        async with open_supervisor() as sup:
            answers = await sup.start_many([JobRequest(idle)] * MANY)
            handles = [answer for answer in answers if isinstance(answer, JobHandle)]
            assert len(handles) == MANY
            await trio.testing.wait_all_tasks_blocked()
            assert sup.statistics_nowait().jobs["running"] == MANY
            if by == "cancel_many":
                replies = await sup.cancel_many(JobFilter(), wait="finished")
                assert len(replies) == MANY
                for reply in replies[:: MANY // 100]:
                    assert isinstance(reply, CancelReply) and reply.certificate is not None
                assert sup.statistics_nowait().slots_used == 0
        assert {handle.state for handle in handles} == {JobState.CANCELLED}
        assert await tasks() == before

    trio.run(main)
    assert gc.get_freeze_count() <= FEW


def test_memory_does_not_grow_with_jobs_that_are_over() -> None:
    async def over() -> None:
        pass

    async def main() -> None:
        async with open_supervisor() as sup:
            grown = []
            for _ in range(4):
                for _ in range(50):
                    await sup.start_many([JobRequest(over, timeout=3600.0)] * 1000)
                gc.collect()
                grown.append(len(gc.get_objects()))
            # The first round fills what is kept of finished jobs; the others replace it.
            assert grown[-1] < grown[1] * 1.05
            assert sum(sup.statistics_nowait().jobs.values()) <= 10_100

    trio.run(main)
