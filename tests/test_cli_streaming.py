"""`logs` and `events`: what is taken of what comes, where a server would rarely get to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from cli_records import NOW, job

from supervisor import JobFilter, JobState, LogEntry, LogsLagged, ReplayGone
from supervisor.cli import events, logs
from supervisor.cli.exits import CliError


class Kept:
    """Streams that keep what is written."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.err: list[str] = []

    def listed(self, entry: LogEntry, before: str = "") -> None:
        self.out.append(entry.text)

    def say(self, text: str) -> None:
        self.err.append(text)


def line(n: int, stream: str = "stdout") -> LogEntry:
    return LogEntry(job_id="j1", attempt=1, n=n, time=NOW, stream=stream, text=str(n))


def shown(*items: LogEntry | LogsLagged, **wanted: Any) -> tuple[list[str], list[str]]:
    """What comes out of a job that had five lines when it was looked at."""
    kept: Any = Kept()
    lines = logs.Lines(
        kept, logs.Wanted(**wanted), attrs.evolve(job(JobState.RUNNING), log_lines=5)
    )
    for item in items:
        lines.take(item)
    return kept.out, kept.err


def test_last_lines_of_a_stream_come_as_soon_as_the_old_ones_are_over() -> None:
    wanted = {"last": 2, "stream": "stdout"}
    old = [line(1), line(2, "stderr"), line(3), line(4)]
    assert shown(*old, **wanted)[0] == []
    assert shown(*old, line(5, "stderr"), **wanted)[0] == ["3", "4"]
    # The last of the old lines is not kept any more.
    assert shown(*old, LogsLagged(job_id="j1", from_n=5, to_n=5), line(6), **wanted)[0] == [
        "3", "4", "6",
    ]  # fmt: skip


def test_lines_that_are_gone_are_told_unless_the_last_ones_were_asked_for() -> None:
    gone = LogsLagged(job_id="j1", from_n=1, to_n=3)
    assert shown(gone, line(4)) == (["4"], ["3 lines no longer kept: 1 to 3"])
    assert shown(attrs.evolve(gone, to_n=1))[1] == ["1 line no longer kept: 1"]
    assert shown(gone, line(4), line(5), last=1, stream="stdout") == (["5"], [])


class Ring:
    """A control that has the events from number 100 on."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    @asynccontextmanager
    async def watch(self, since: int | None, **_: Any) -> AsyncIterator[int | None]:
        await trio.lowlevel.checkpoint()
        self.asked.append(since)
        if since is not None and since < 99:
            raise ReplayGone("too old", oldest_seq=100, head_seq=200)
        yield since


@pytest.mark.parametrize(
    ("since", "now", "began", "told"),
    [
        (None, False, 99, ""),
        (5, False, 99, "events 6 to 99 are no longer kept"),
        (150, False, 150, ""),
        (None, True, None, ""),
    ],
)
def test_watch_begins_with_the_oldest_event_that_is_kept(
    since: int | None, now: bool, began: int | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    control: Any = Ring()

    async def main() -> Any:
        wanted = events.Wanted(
            since=since, now=now, filter=JobFilter(), logs=False, progress=False
        )
        async with events._open_watch(control, wanted, 200, instance="i") as opened:
            return opened

    assert trio.run(main) == began
    assert told in capsys.readouterr().err


def test_position_that_is_yet_to_come_is_refused() -> None:
    control: Any = Ring()

    async def main() -> None:
        wanted = events.Wanted(
            since=201, now=False, filter=JobFilter(), logs=False, progress=False
        )
        async with events._open_watch(control, wanted, 200, instance="i"):
            pass

    with pytest.raises(CliError, match="the newest event is number 200"):
        trio.run(main)
