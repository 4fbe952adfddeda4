"""Our side of rows 11 and 12: a command job cancelled by force, and the proof awaited."""

from __future__ import annotations

import statistics
import time

import trio

from supervisor import Command, JobState, open_supervisor

from ._case import Figures
from .base_tree import TREES, Tree, planted


async def _kill(tree: Tree) -> float:
    async with open_supervisor() as sup:
        handle = await sup.start(Command(tree.argv))
        await trio.to_thread.run_sync(tree.wait_until_ready)
        begun = time.perf_counter()
        reply = await handle.cancel(force=True, wait="finished")
        gone = time.perf_counter() - begun
        assert reply.job is not None
        assert reply.job.state is JobState.CANCELLED, reply.job
    return gone


def kill(n: int) -> Figures:
    """Seconds from the request to the certificate that the whole tree is gone, median of a few."""
    taken = []
    for _ in range(TREES):
        with planted(n) as tree:
            taken.append(trio.run(_kill, tree))
            assert not tree.processes()
    return {"gone": statistics.median(taken)}


def survivors(n: int) -> Figures:
    """How many of `n` processes outlive it, two of them in sessions of their own."""
    with planted(n, setsid=2) as tree:
        trio.run(_kill, tree)
        return {"left": len(tree.processes())}
