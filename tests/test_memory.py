"""What a server's memory grows by, whatever its clients read or do not read: bounded, and printed.

The server has a process of its own, new for each test; what is measured is the most it ever had
beside what it had before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hostile_kit import Arena, Assault, Machine, bounded, machine, need_many_sockets, open_arena

MI = 1024 * 1024

Report = Callable[..., None]


@pytest.fixture
def fresh() -> Iterator[Machine]:
    with machine() as processes:
        yield processes


@asynccontextmanager
async def measured(
    arena: Arena, report: Report, title: str, bound: int, name: str, **params: Any
) -> AsyncIterator[Assault]:
    """Others do as they please while the block runs; so much may memory grow meanwhile."""
    async with arena.attack(name, **params) as assault:
        yield assault
    await arena.settle()
    grown = arena.after["peak"] - arena.before["rss"]
    report("memory of the server (MiB)", **{"": title, "peak": _mi(grown), "bound": _mi(bound)})
    assert grown <= bound


def _mi(size: int) -> str:
    return f"{size / MI:.1f}"


async def start_and_finish(arena: Arena, jobs: int) -> None:
    """Many short jobs: four events each."""
    starts = [{"name": "nap", "args": {"seconds": 0}}] * 1000
    for _ in range(jobs // 1000):
        answer = await arena.bystander.peer.call("job.start_many", jobs=starts)
        last = answer["results"][-1]["result"]["job"]["id"]
        await arena.bystander.peer.call("job.wait", job_id=last)


@pytest.mark.parametrize("width", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_watchers_that_never_read_while_lines_are_logged(
    fresh: Machine, figures: Report, width: int
) -> None:
    """Each starts a job that logs 100,000 lines of 200 bytes, for all of them: 20 MB, 320 MB."""
    bound = (24 + 24 * width) * MI

    async def main() -> None:
        async with open_arena(fresh) as arena:
            await arena.bystander.rounds(5)
            title = f"{width} deaf watchers, {width * 100_000:,} lines"
            async with measured(
                arena, figures, title, bound, "deaf_watchers", width=width, lines=100_000, size=200
            ):
                await all_ended(arena, "chatter")

    bounded(main, patience=200)


async def all_ended(arena: Arena, name: str) -> None:
    """Wait for every job of this name."""
    page = await arena.bystander.peer.call("job.list", name=name, limit=1000)
    for job in page["jobs"]:
        ended = await arena.bystander.peer.call("job.wait", job_id=job["id"])
        assert ended["job"]["state"] == "succeeded", ended


@pytest.mark.soak
def test_a_watcher_that_never_reads_while_events_happen(fresh: Machine, figures: Report) -> None:
    async def main() -> None:
        async with open_arena(fresh) as arena:
            await start_and_finish(arena, 11_000)  # more than are kept: now nothing else is added
            title = "a deaf watcher, 100,000 events"
            async with measured(arena, figures, title, 32 * MI, "deaf_watchers"):
                await start_and_finish(arena, 25_000)

    bounded(main)


@pytest.mark.soak
def test_a_thousand_watchers_take_little_each(fresh: Machine, figures: Report) -> None:
    need_many_sockets()

    async def main() -> None:
        async with open_arena(fresh) as arena:
            await arena.bystander.rounds(5)
            title = "1,000 watchers"
            async with measured(
                arena, figures, title, 200 * MI, "many_watchers", count=1000
            ) as assault:
                await arena.bystander.rounds(5)
                await assault.seen("events", 1000 * 5 * 4)

    bounded(main)


async def run_command(arena: Arena, line: str) -> str:
    """Run a shell's line to its end; the job's id."""
    started = await arena.bystander.peer.call("job.start", command=["sh", "-c", line])
    job_id: str = started["job"]["id"]
    ended = await arena.bystander.peer.call("job.wait", job_id=job_id)
    assert ended["job"]["state"] == "succeeded", ended
    return job_id


@pytest.mark.parametrize("size", [32, pytest.param(1024, marks=pytest.mark.soak)])
def test_a_job_that_logs_very_much(fresh: Machine, figures: Report, size: int) -> None:
    """Through a real pipe, with one watcher who follows and one who never reads."""
    line = f"head -c {size}M /dev/zero | tr '\\0' x | fold -w 4000"

    async def main() -> None:
        async with open_arena(fresh, outbox_bytes=4 * MI) as arena:
            await run_command(arena, "true")  # what runs commands is started with the first
            title = f"a job that logs {size} MiB, two watchers"
            async with measured(
                arena, figures, title, 128 * MI, "one_reads_one_does_not"
            ) as assault:
                job_id = await run_command(arena, line)
                lines = await arena.bystander.peer.call("job.logs", job_id=job_id, limit=1)
                # Every line was seen, kept or not: their numbers go on to the end.
                assert lines["entries"][0]["n"] > 1
                await assault.seen("finished")
            assert assault.counts["lines"] > 0

    bounded(main, patience=200)
