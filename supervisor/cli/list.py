"""`list`: the jobs there are, oldest first."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .._model import Job, JobFilter, JobState
from .connection import Where, where_options
from .jobs_given import parse_labels
from .output import draw_table, is_terminal, print_document, print_table, print_text, say
from .screen import Notice
from .text import age, count_of, describe_end, own_places, progress_words, seconds
from .verbs import ask_server, complete_name, json_option, silently

if TYPE_CHECKING:
    from .._client.client import Client
    from .changes import Changes

__all__ = ["CUT", "command", "note_of", "ran"]

STATES = [str(state) for state in JobState]
TICK = 1.0
"""Seconds between two pictures of the same jobs: they show how long these run."""


@click.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Repeatable.")
@click.option("--name", metavar="NAME", shell_complete=complete_name, help="Jobs of this name.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Repeatable: all of them.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N",
    help="At most so many, the newest.",
)  # fmt: skip
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever something changes.")
@where_options
@json_option
def command(
    states: tuple[str, ...], name: str | None, labels: tuple[str, ...], limit: int,
    watch: bool, url: str | None, token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """List jobs, oldest first (also: ls).

    With --watch the table stays on the screen and follows what happens, until Ctrl+C; with --json
    it is a line for each time something has changed.

    \b
      trio-supervisor list --state running --state stuck
      trio-supervisor ls --label branch=main --watch
    """
    filter = JobFilter(
        state=tuple(map(JobState, states)) or None,
        name=name,
        labels=parse_labels(labels) or None,
    )
    where = Where(url=url, token_file=token_file)
    if not watch:
        return ask_server(where, lambda client: _list(client, filter, limit, as_json))
    notice = Notice()
    return ask_server(
        where,
        lambda client: _watch(client, filter, limit, as_json, notice),
        farewell=silently,
        tell=notice.tell,
    )


@attrs.frozen
class Listed:
    """The newest jobs, and how many there are in all."""

    jobs: Sequence[Job]
    total: int
    instance: str
    seq: int

    def document(self) -> dict[str, Any]:
        """As `job.list` has it."""
        from .._wire_records import RESULT_LIMIT_IN_LISTS, job_to_wire

        jobs = [job_to_wire(job, result_limit=RESULT_LIMIT_IN_LISTS) for job in self.jobs]
        return {"jobs": jobs, "instance": self.instance, "seq": self.seq}


async def _list(client: Client, filter: JobFilter, limit: int, as_json: bool) -> int:
    listed = await _newest(client, filter, limit)
    if as_json:
        print_document(listed.document())
        return 0
    now = datetime.now(UTC)
    print_table(COLUMNS, [_row(job, now) for job in listed.jobs], cut=CUT, drop=DROPPED)
    if listed.total > len(listed.jobs):
        older = count_of(listed.total - len(listed.jobs), "older job")
        say(f"{older} not shown; --limit shows more")
    return 0


async def _newest(client: Client, filter: JobFilter, limit: int) -> Listed:
    newest: deque[Job] = deque(maxlen=limit)
    total, cursor = 0, None
    while True:
        page = await client.list(filter, limit=1000, cursor=cursor)
        newest.extend(page.jobs)
        total += len(page.jobs)
        cursor = page.next_cursor
        if cursor is None:
            return Listed([*newest], total, page.instance, page.seq)


# --- again and again -----------------------------------------------------------------------------


async def _watch(
    client: Client, filter: JobFilter, limit: int, as_json: bool, notice: Notice
) -> int:
    # A watch does not look at states: a job that leaves one of them changes the list, too.
    from .changes import open_changes

    watched = attrs.evolve(filter, state=None)
    async with open_changes(client, watched, progress=True) as changes:
        if not as_json and is_terminal(sys.stdout):
            await _draw(client, filter, limit, changes, notice)
        while True:
            await changes.wait()
            listed = await _newest(client, filter, limit)
            if as_json:
                print_document(listed.document())
            else:
                now = datetime.now(UTC)
                print_table(COLUMNS, [_row(job, now) for job in listed.jobs])
                print_text("")


async def _draw(
    client: Client, filter: JobFilter, limit: int, changes: Changes, notice: Notice
) -> None:
    from .screen import open_screen

    listed: Listed | None = None
    with open_screen(notice, whole=False) as screen:
        while True:
            if await changes.wait(TICK) or listed is None:
                listed = await _newest(client, filter, limit)
            screen.draw(_picture(listed, max(1, screen.height - HEAD)))


HEAD = 4
"""Lines around the table: its head, how many more there are, and where the cursor stays."""


def _picture(listed: Listed, rows: int) -> str:
    shown = listed.jobs[-rows:]
    now = datetime.now(UTC)
    table = draw_table(COLUMNS, [_row(job, now) for job in shown], cut=CUT, drop=DROPPED)
    older = listed.total - len(shown)
    return table if not older else f"{table}\n{count_of(older, 'older job')} not shown"


# --- the table -----------------------------------------------------------------------------------

COLUMNS = ("ID", "NAME", "STATE", "CREATED", "RAN", "NOTE")
CUT = ("NOTE", "NAME")
DROPPED = ("CREATED", "NAME", "RAN", "NOTE")


def _row(job: Job, now: datetime) -> tuple[str, ...]:
    return (
        job.id,
        job.name,
        str(job.state),
        age(job.created_at, now),
        ran(job, now),
        note_of(job),
    )


def ran(job: Job, now: datetime) -> str:
    """How long a job has run."""
    if job.duration is not None:
        return seconds(job.duration)
    if job.started_at is None:
        return ""
    return seconds(max(0.0, (now - job.started_at).total_seconds()))


def note_of(job: Job) -> str:
    """What there is to say of a job: how far it is, where it hangs, how it ended."""
    if job.state.is_final and job.state is not JobState.SUCCEEDED:
        return describe_end(job)
    if job.state is JobState.STUCK:
        return f"{job.why}; {'; '.join(own_places(job.where))}"
    if job.state is JobState.CANCELLING:
        killed = "" if job.kill_in is None else f", killed in {seconds(max(0.0, job.kill_in))}"
        return f"{job.cause}: {job.reason or 'no reason given'} ({job.rung}{killed})"
    return "" if job.progress is None else progress_words(job.progress)
