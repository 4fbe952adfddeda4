"""Our side of rows 1 to 6: the same jobs under a supervisor with the memory store."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from supervisor import JobFilter, JobHandle, JobRequest, JobState, Supervisor, open_supervisor

from ._case import Figures
from ._probe import Countdown, Stalls, clock, longest_stall, resident

Offer = Callable[[Supervisor, Countdown, int], Awaitable[JobHandle]]


async def offer_many(sup: Supervisor, jobs: Countdown, n: int) -> JobHandle:
    """Start `n` jobs with one call; the last one's handle."""
    handles = await sup.start_many([JobRequest(jobs.noop) for _ in range(n)])
    last = handles[-1]
    assert isinstance(last, JobHandle)
    return last


async def offer_each(sup: Supervisor, jobs: Countdown, n: int) -> JobHandle:
    """Start `n` jobs with a call each; the last one's handle."""
    for _ in range(n - 1):
        await sup.start(jobs.noop)
    return await sup.start(jobs.noop)


async def _noop(sup: Supervisor, offer: Offer, n: int) -> float:
    jobs = Countdown(n)
    begun = clock()
    last = await offer(sup, jobs, n)
    await jobs.all_out.wait()
    job = await last.wait()
    total = clock() - begun
    assert job.state is JobState.SUCCEEDED
    return total


def _per_job(offer: Offer, n: int) -> Figures:
    async def main() -> Figures:
        async with open_supervisor() as sup:
            await _noop(sup, offer, 200)
            batches = [await _noop(sup, offer, n) for _ in range(max(1, 10_000 // n))]
        return {"per_job": statistics.median(batches) / n}

    return trio.run(main)


def noop_many(n: int) -> Figures:
    """Seconds a job that does nothing, `n` started by one `start_many`."""
    return _per_job(offer_many, n)


def noop_each(n: int) -> Figures:
    """Seconds a job that does nothing, `n` started by a `start` each."""
    return _per_job(offer_each, n)


async def _start_idle(sup: Supervisor, n: int) -> tuple[Countdown, list[JobHandle]]:
    """`n` idle jobs, all of them in their bodies; handles of about 200 of them."""
    jobs = Countdown(n)
    answers = await sup.start_many([JobRequest(jobs.idle) for _ in range(n)])
    handles = [answer for answer in answers if isinstance(answer, JobHandle)]
    assert len(handles) == n
    await jobs.all_in.wait()
    return jobs, handles[:: max(1, n // 200)]


def idle(n: int) -> Figures:
    """Bytes an idle job; seconds from cancel to `finally`, one at a time, median of 200."""

    async def main() -> Figures:
        async with open_supervisor() as sup:
            await _noop(sup, offer_many, 200)
            before = resident()
            jobs, handles = await _start_idle(sup, n)
            figures = {"memory": (resident() - before) / n}
            latencies = []
            for handle in handles:
                begun = clock()
                await handle.cancel()
                await handle.wait()
                latencies.append(jobs.left_at - begun)
        return figures | {"cancel_to_finally": statistics.median(latencies)}

    return trio.run(main)


async def _cancel_all(n: int, stalls: Stalls | None = None) -> float:
    async with open_supervisor() as sup:
        jobs, _ = await _start_idle(sup, n)
        if stalls is not None:
            await stalls.reset()
        begun = clock()
        replies = await sup.cancel_many(JobFilter(), wait="finished")
        total = clock() - begun
        assert jobs.to_leave == 0
        assert len(replies) == n
    return total


async def _leave_block(n: int, stalls: Stalls | None = None) -> float:
    async with open_supervisor() as sup:
        jobs, _ = await _start_idle(sup, n)
        if stalls is not None:
            await stalls.reset()
        begun = clock()
    total = clock() - begun
    assert jobs.to_leave == 0
    return total


def cancel_all(n: int) -> Figures:
    """Seconds to cancel `n` idle jobs by `cancel_many`, each answered once it is gone."""
    return {"total": trio.run(_cancel_all, n)}


def cancel_all_stall(n: int) -> Figures:
    """The longest stall of the loop in that."""
    return longest_stall(partial(_cancel_all, n))


def leave_block(n: int) -> Figures:
    """Seconds from the end of the block to after it: the staged shutdown of `n` idle jobs."""
    return {"total": trio.run(_leave_block, n)}


def leave_block_stall(n: int) -> Figures:
    """The longest stall of the loop in that."""
    return longest_stall(partial(_leave_block, n))
