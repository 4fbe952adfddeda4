"""`top`: what runs, what hangs and where, on a screen that follows what happens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .._model import Job, JobFilter, JobState, Statistics
from .connection import Where, where_options
from .list import CUT, note_of, ran
from .output import draw_table, is_terminal, print_document, print_table, print_text
from .screen import Notice
from .text import count_of, one_line, own_places
from .verbs import ask_server, json_option, silently

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = ["command", "heading", "in_order"]

TICK = 0.5
"""Seconds between two pictures of the same jobs: they show how long these run."""
LIMIT = 1000
"""Live jobs that are looked at; more than a screen has lines."""

LIVE = tuple(state for state in JobState if not state.is_final)
FIRST = (JobState.STUCK, JobState.CANCELLING, JobState.RUNNING, JobState.STARTING)
"""What needs looking at comes first."""


@click.command("top")
@where_options
@json_option
def command(url: str | None, token_file: Path | None, as_json: bool) -> int:
    """Watch the live jobs, with what they wait for.

    Shows counters, slots, how far jobs say they are, and why and where those hang that do not end.
    Ctrl+C leaves; no job is touched. Without a terminal it prints once how things are; with --json
    it prints a line for each time something has changed, until Ctrl+C.
    """
    notice = Notice()

    async def ask(client: Client) -> int:
        if as_json:
            return await _print_changes(client)
        if is_terminal(sys.stdout):
            return await _draw(client, notice)
        _print(await _look(client))
        return 0

    where = Where(url=url, token_file=token_file)
    return ask_server(where, ask, farewell=silently, tell=notice.tell)


@attrs.frozen
class Seen:
    """How things are: the counters, and the live jobs, those first that need looking at."""

    statistics: Statistics
    jobs: Sequence[Job]
    server: str

    def document(self) -> dict[str, Any]:
        """With the names of the wire."""
        from .._wire_records import RESULT_LIMIT_IN_LISTS, job_to_wire, to_wire

        jobs = [job_to_wire(job, result_limit=RESULT_LIMIT_IN_LISTS) for job in self.jobs]
        return {"statistics": to_wire(self.statistics), "jobs": jobs}


async def _look(client: Client) -> Seen:
    page = await client.list(JobFilter(state=LIVE), limit=LIMIT)
    info = await client.server_info()
    return Seen(info.statistics, in_order(page.jobs), info.server)


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Those first that need looking at; of the same state the oldest."""
    rank = {state: place for place, state in enumerate(FIRST)}
    return sorted(jobs, key=lambda job: rank.get(job.state, len(FIRST)))


async def _print_changes(client: Client) -> int:
    from .changes import open_changes

    async with open_changes(client, progress=True) as changes:
        while True:
            await changes.wait()
            print_document((await _look(client)).document())


async def _draw(client: Client, notice: Notice) -> int:
    from .changes import open_changes
    from .screen import open_screen

    seen: Seen | None = None
    async with open_changes(client, progress=True) as changes:
        with open_screen(notice, whole=True) as screen:
            while True:
                if await changes.wait(TICK) or seen is None:
                    seen = await _look(client)
                screen.draw(picture(seen, screen.width, screen.height - 1))


# --- the picture ---------------------------------------------------------------------------------

COLUMNS = ("ID", "NAME", "STATE", "RAN", "NOTE")
DROPPED = ("NAME", "RAN", "NOTE")
TABLE_HEAD = 2


def picture(seen: Seen, width: int, height: int) -> str:
    """All of it, in so many columns and lines."""
    head = [line[:width] for line in heading(seen, datetime.now(UTC))]
    room = height - len(head) - TABLE_HEAD
    shown: list[Job] = []
    for job in seen.jobs:
        room -= 1 + len(_hanging(job))
        if room < 1:  # one line is for how many more there are
            break
        shown.append(job)
    lines = [*head, *_table_lines(shown, width)] if shown else [*head, "no job is live"]
    live = sum(seen.statistics.jobs.get(str(state), 0) for state in LIVE)
    if live > len(shown) and seen.jobs:
        lines.append(f"{live - len(shown)} more"[:width])
    return "\n".join(lines)


def heading(seen: Seen, now: datetime) -> list[str]:
    """The counters, in lines."""
    statistics = seen.statistics
    slots = "any number" if statistics.slots is None else str(statistics.slots)
    jobs = ", ".join(f"{number} {state}" for state, number in _states(statistics.jobs))
    first = [f"{now.astimezone():%H:%M:%S}", f"slots {statistics.slots_used} of {slots}"]
    first.append(one_line(seen.server))
    if not statistics.accepting:
        first.insert(1, "takes no new jobs")
    more = [
        count_of(statistics.watchers, "watcher"),
        f"{statistics.log_bytes / 1e6:.1f} MB of log",
        f"event {statistics.seq}",
    ]
    if statistics.tombstones:
        more.append(f"{count_of(statistics.tombstones, 'cancel')} of jobs yet to start")
    return [", ".join(first), f"jobs: {jobs or 'none'}", ", ".join(more), ""]


def _states(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(str(state), counts[state]) for state in JobState if counts.get(state)]


def _table_lines(jobs: Sequence[Job], width: int) -> list[str]:
    """The table, with the places where a job hangs below its row."""
    now = datetime.now(UTC)
    cells = [(job.id, job.name, str(job.state), ran(job, now), _note(job)) for job in jobs]
    table = draw_table(COLUMNS, cells, cut=CUT, drop=DROPPED)
    head, rule, *rows = table.split("\n")
    lines = [head, rule]
    for job, row in zip(jobs, rows, strict=True):
        lines += [row, *(line[:width] for line in _hanging(job))]
    return lines


def _note(job: Job) -> str:
    return job.why or "" if job.state is JobState.STUCK else note_of(job)


def _hanging(job: Job) -> list[str]:
    """Where a stuck job hangs."""
    if job.state is not JobState.STUCK:
        return []
    return [f"    alive: {one_line(place)}" for place in own_places(job.where)[:PLACES]]


PLACES = 3


def _print(seen: Seen) -> None:
    print_text("\n".join(heading(seen, datetime.now(UTC))[:-1]))
    now = datetime.now(UTC)
    rows = [(job.id, job.name, str(job.state), ran(job, now), note_of(job)) for job in seen.jobs]
    print_table(COLUMNS, rows)
