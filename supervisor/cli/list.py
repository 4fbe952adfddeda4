"""`list`: the jobs there are, oldest first."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import Job, JobFilter, JobState
from .connection import Where, where_options
from .jobs_given import parse_labels
from .output import print_document, print_table, say
from .text import age, count_of, describe_end, one_line, own_places, seconds
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]

STATES = [str(state) for state in JobState]


@click.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Repeatable.")
@click.option("--name", metavar="NAME", help="Only jobs of this name.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Repeatable: all of them.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N",
    help="At most so many, the newest.",
)  # fmt: skip
@where_options
@json_option
def command(
    states: tuple[str, ...], name: str | None, labels: tuple[str, ...], limit: int,
    url: str | None, token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """List jobs, oldest first (also: ls)."""
    filter = JobFilter(
        state=tuple(map(JobState, states)) or None,
        name=name,
        labels=parse_labels(labels) or None,
    )

    async def ask(client: Client) -> int:
        return await _list(client, filter, limit, as_json)

    return ask_server(Where(url=url, token_file=token_file), ask)


async def _list(client: Client, filter: JobFilter, limit: int, as_json: bool) -> int:
    from .._wire_records import RESULT_LIMIT_IN_LISTS, job_to_wire

    newest: deque[Job] = deque(maxlen=limit)
    total, seq, cursor = 0, 0, None
    while True:
        page = await client.list(filter, limit=1000, cursor=cursor)
        newest.extend(page.jobs)
        total += len(page.jobs)
        seq, cursor = page.seq, page.next_cursor
        if cursor is None:
            break
    if as_json:
        jobs = [job_to_wire(job, result_limit=RESULT_LIMIT_IN_LISTS) for job in newest]
        print_document({"jobs": jobs, "instance": client.instance, "seq": seq})
        return 0
    now = datetime.now(UTC)
    print_table(COLUMNS, [_row(job, now) for job in newest], cut=["NOTE", "NAME"])
    if total > len(newest):
        say(f"{count_of(total - len(newest), 'older job')} not shown; --limit shows more")
    return 0


COLUMNS = ("ID", "NAME", "STATE", "CREATED", "RAN", "NOTE")


def _row(job: Job, now: datetime) -> tuple[str, ...]:
    return (
        job.id,
        job.name,
        str(job.state),
        age(job.created_at, now),
        _ran(job, now),
        _note(job),
    )


def _ran(job: Job, now: datetime) -> str:
    if job.duration is not None:
        return seconds(job.duration)
    if job.started_at is None:
        return ""
    return seconds(max(0.0, (now - job.started_at).total_seconds()))


def _note(job: Job) -> str:
    if job.state.is_final and job.state is not JobState.SUCCEEDED:
        return describe_end(job)
    if job.state is JobState.STUCK:
        return f"{job.why}; {'; '.join(own_places(job.where))}"
    if job.state is JobState.CANCELLING:
        killed = "" if job.kill_in is None else f", killed in {seconds(max(0.0, job.kill_in))}"
        return f"{job.cause}: {job.reason or 'no reason given'} ({job.rung}{killed})"
    progress = job.progress
    if progress is None:
        return ""
    total = "" if progress.total is None else f" of {progress.total:g}"
    return one_line(f"{progress.done:g}{total} {progress.message or ''}")
