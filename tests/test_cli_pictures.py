"""What stays on the screen: looked at when something changes, and drawn at any size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from cli_records import NOW, job

from supervisor import (
    CancelOutcome,
    CancelReply,
    Job,
    JobEvent,
    JobState,
    Progress,
    ReplayGone,
    Statistics,
)
from supervisor.cli.cancel_report import summary
from supervisor.cli.changes import PAUSE, Changes, open_changes
from supervisor.cli.progress import _take, progress_of, still
from supervisor.cli.top import Seen, in_order, picture
from supervisor.testing import Schedule

# --- changes -------------------------------------------------------------------------------------


class Watched:
    """A control whose watches give what is sent; an exception ends one of them."""

    def __init__(self) -> None:
        self.opened = 0
        self.send, self._receive = trio.open_memory_channel[Any](1000)

    @asynccontextmanager
    async def watch(self, **_: Any) -> AsyncIterator[AsyncIterator[Any]]:
        self.opened += 1
        yield self._items()

    async def _items(self) -> AsyncIterator[Any]:
        async for item in self._receive:
            if isinstance(item, Exception):
                raise item
            yield item


EVENT = JobEvent(
    instance="i", seq=1, time=NOW, type="job.started", job_id="j1", attempt=1,
    state=JobState.RUNNING,
)  # fmt: skip


def looks(*items: Any, seconds: float) -> tuple[int, Watched]:
    """How often somebody looks in that time, and who was watched; all comes after the first."""
    watched = Watched()

    async def count(changes: Changes) -> int:
        looked = 0
        with trio.move_on_after(seconds):
            while True:
                await changes.wait()
                looked += 1
                for item in items if looked == 1 else ():
                    watched.send.send_nowait(item)
        return looked

    async def main() -> int:
        control: Any = watched
        async with open_changes(control) as changes:
            return await count(changes)

    return Schedule().run(main), watched


def test_nothing_is_looked_at_again_unless_something_changes() -> None:
    assert looks(seconds=1000)[0] == 1
    assert looks(EVENT, seconds=1000)[0] == 2


def test_changes_that_come_at_once_are_looked_at_together() -> None:
    assert looks(*[EVENT] * 500, seconds=1000)[0] == 2


def test_looks_are_bounded_however_much_happens() -> None:
    async def main() -> int:
        changes = Changes()
        looked = 0
        with trio.move_on_after(PAUSE * 10.5):
            while True:
                changes.tell()
                await changes.wait()
                looked += 1
        return looked

    assert Schedule().run(main) == 11


def test_watch_that_fell_behind_is_opened_anew() -> None:
    count, watched = looks(ReplayGone("too far behind"), EVENT, seconds=1000)
    assert watched.opened == 2
    assert count >= 2


def test_clock_ticks_without_changes() -> None:
    async def main() -> None:
        changes = Changes()
        assert await changes.wait(1)
        assert not await changes.wait(1)
        changes.tell()
        assert await changes.wait(1)

    Schedule().run(main)


# --- top -----------------------------------------------------------------------------------------


def seen(*jobs: Job) -> Seen:
    counts = {str(state): sum(it.state is state for it in jobs) for state in JobState}
    statistics = Statistics(
        instance="i", seq=7, jobs=counts, slots=4, slots_used=2, tombstones=1, watchers=1,
        log_bytes=1_500_000, accepting=False,
    )  # fmt: skip
    return Seen(statistics, in_order(jobs), "server/1\x1b[31m")


HANGING = attrs.evolve(
    job(JobState.STUCK), id="hangs", why="does not leave", where=("stay (app.py:9)",)
)
RUNNING = attrs.evolve(
    job(JobState.RUNNING), id="runs", started_at=NOW - timedelta(seconds=5),
    progress=Progress(1, 3, "one\x1b[31m"),
)  # fmt: skip


@pytest.mark.parametrize("width", [1, 20, 40, 80, 150])
@pytest.mark.parametrize("height", [1, 5, 8, 24])
def test_picture_is_drawn_at_any_size(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = picture(seen(RUNNING, HANGING), width, height).split("\n")
    assert len(lines) <= max(height, len("head") + 2)
    assert "\x1b" not in "".join(lines)


def test_picture_shows_first_what_hangs_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    text = picture(seen(RUNNING, HANGING), 150, 24)
    lines = text.split("\n")
    assert "takes no new jobs" in lines[0] and "slots 2 of 4" in lines[0]
    assert lines[1] == "jobs: 1 running, 1 stuck"
    assert "1 cancel of jobs yet to start" in lines[2] and "1.5 MB of log" in lines[2]
    (place,) = [number for number, line in enumerate(lines) if line.startswith("hangs")]
    assert "does not leave" in lines[place]
    assert lines[place + 1] == "    alive: stay (app.py:9)"
    assert lines[place + 2].startswith("runs") and "1 of 3 one" in lines[place + 2]


def test_picture_says_how_many_jobs_it_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    jobs = [attrs.evolve(RUNNING, id=f"j{number}") for number in range(30)]
    lines = picture(seen(*jobs), 80, 20).split("\n")
    assert len(lines) == 20
    shown = sum(line.startswith("j") and not line.startswith("jobs") for line in lines)
    assert lines[-1] == f"{30 - shown} more"
    assert picture(seen(), 80, 20).split("\n")[-1] == "no job is live"


# --- bulk ----------------------------------------------------------------------------------------


def test_summary_counts_those_that_went_the_same_way() -> None:
    gone = CancelReply(
        outcome=CancelOutcome.CANCELLING, job_id="a", seq=1, job=job(JobState.CANCELLED)
    )
    hangs = CancelReply(outcome=CancelOutcome.CANCELLING, job_id="b", seq=1, job=HANGING)
    assert summary([hangs, gone, gone]) == [
        ("2", "cancelling", "cancelled", "", "", ""),
        ("1", "cancelling", "stuck", "", "", ""),
    ]


def test_progress_is_about_the_jobs_that_were_meant() -> None:
    stages = {"j1": "asked"}

    async def main() -> None:
        watched = Watched()
        for job_id in ("j1", "other"):
            watched.send.send_nowait(attrs.evolve(EVENT, job_id=job_id))
        watched.send.close()
        events: Any = watched._items()
        await _take(events, stages)

    trio.run(main)
    assert stages == {"j1": "running"}


def test_progress_names_what_is_left() -> None:
    assert progress_of({"a": "cancel"}) == "job a: cancel"
    stages = dict.fromkeys("abcdef", "cancel") | {"a": "gone", "b": "force"}
    assert progress_of(stages) == "1 of 6 jobs gone; 1 force, 4 cancel; still: b, c, d and 2 more"
    assert progress_of(dict.fromkeys("ab", "gone")) == "2 of 2 jobs gone"
    assert still("abc") == "a, b, c"
