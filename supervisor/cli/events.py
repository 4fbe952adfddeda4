"""`events`: what has happened to the jobs, and, with `--follow`, what happens.

A position is a number that every change of a job's state counts up; `--since` takes one.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from .._errors import AmbiguousJobId, JobNotFound, ReplayGone
from .._model import JobEvent, JobFilter
from .connection import Where, where_options
from .event_words import EventLines
from .exits import usage_error
from .jobs_given import parse_labels
from .output import is_terminal, say
from .verbs import ask_server, complete_id, complete_name, json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from ..abc import JobControl, JobWatch

__all__ = ["command"]

NOW = "now"


@attrs.frozen(kw_only=True)
class Wanted:
    """What is asked for.

    Args:
        since: the position to begin after; None is the oldest that is kept.
        now: begin now instead.
        filter: which jobs.
        logs: their lines, too.
        progress: their progress, too.
    """

    since: int | None
    now: bool
    filter: JobFilter
    logs: bool
    progress: bool


def _parse_since(ctx: click.Context, param: click.Parameter, text: str | None) -> int | str | None:
    if text is None or text == NOW:
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise click.BadParameter(f"{text!r} is neither a number nor {NOW!r}", ctx, param)
    return int(text)


@click.command("events")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until you leave.")
@click.option(
    "--since", metavar="SEQ", callback=_parse_since,
    help="Only what came after this position; `now`: only what comes. By default all that is kept.",
)  # fmt: skip
@click.option(
    "--job", "job_ids", multiple=True, metavar="ID", shell_complete=complete_id,
    help="Only this job; repeatable.",
)  # fmt: skip
@click.option("--name", metavar="NAME", shell_complete=complete_name, help="Jobs of this name.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Repeatable: all of them.")
@click.option("--logs", is_flag=True, help="The jobs' lines, too (with --follow).")
@click.option("--progress", is_flag=True, help="The jobs' progress, too (with --follow).")
@where_options
@json_option
def command(
    follow: bool, since: int | str | None, job_ids: tuple[str, ...], name: str | None,
    labels: tuple[str, ...], logs: bool, progress: bool, url: str | None,
    token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Show what has happened to the jobs.

    The server keeps the newest 10,000 events, for ten minutes. With --follow it goes on, also when
    the connection is lost and comes back; events that could not be had again are told of on
    stderr. Ctrl+C leaves; no job is touched. With --json: JSON Lines, each as the control channel
    has it.

    \b
      trio-supervisor events --name build
      trio-supervisor events -f --since now --logs
    """
    if (logs or progress) and not follow:
        raise usage_error("--logs and --progress need --follow; `logs ID` has what a job wrote")
    if since == NOW and not follow:
        raise usage_error("--since now needs --follow: nothing has come yet")
    filter = JobFilter(name=name, labels=parse_labels(labels) or None)
    wanted = Wanted(
        since=since if isinstance(since, int) else None,
        now=since == NOW,
        filter=filter,
        logs=logs,
        progress=progress,
    )

    async def ask(client: Client) -> int:
        ids = await _ids(client, job_ids, yet_to_come=follow)
        chosen = attrs.evolve(wanted, filter=attrs.evolve(filter, job_ids=ids))
        await (_follow if follow else _past)(client, chosen, as_json)
        return 0

    where = Where(url=url, token_file=token_file)
    if not follow:
        return ask_server(where, ask)
    return ask_server(where, ask, farewell=lambda: "no longer watching; the jobs go on")


async def _ids(
    control: JobControl, texts: Sequence[str], *, yet_to_come: bool
) -> tuple[str, ...] | None:
    """The ids that were meant; one that nobody knows may be that of a job that is yet to start."""
    from .ids import find_job

    ids = []
    for text in texts:
        try:
            ids.append((await find_job(control, text)).id)
        except AmbiguousJobId:
            raise
        except JobNotFound:
            if not yet_to_come:
                raise
            say(f"no job {text} is known yet")
            ids.append(text)
    return tuple(ids) or None


# --- what was ------------------------------------------------------------------------------------


async def _past(client: Client, wanted: Wanted, as_json: bool) -> None:
    from .streams import open_streams

    meant = await _meant(client, wanted.filter)
    page = await client.list(limit=1)
    head = page.seq
    # Nothing tells a filtered watch that it has seen all there was: this one is not filtered.
    everything = attrs.evolve(wanted, filter=JobFilter())
    watch = _open_watch(client, everything, head, instance=page.instance)
    async with open_streams() as streams, watch as events:
        lines = EventLines(streams, as_json)
        if events.from_seq >= head:
            return
        async for item in events:
            if not isinstance(item, JobEvent):
                lines.take(item)
                return  # what was lost cannot be had any more
            if meant is None or item.job_id in meant:
                lines.take(item)
                await streams.room()
            if item.seq >= head:
                return


async def _meant(control: JobControl, filter: JobFilter) -> Collection[str] | None:
    """The ids of the jobs that a filter means; None: all."""
    from .ids import all_jobs

    if filter == JobFilter():
        return None
    if filter == JobFilter(job_ids=filter.job_ids):
        return filter.job_ids
    return {job.id async for job in all_jobs(control, filter)}


# --- and what is ---------------------------------------------------------------------------------


async def _follow(client: Client, wanted: Wanted, as_json: bool) -> None:
    from .streams import open_streams

    page = await client.list(limit=1)
    watch = _open_watch(client, wanted, page.seq, instance=page.instance)
    async with open_streams() as streams, watch as events:
        if is_terminal(sys.stderr):
            say("watching; Ctrl+C leaves, and the jobs go on")
        lines = EventLines(streams, as_json)
        async for item in events:
            lines.take(item)
            await streams.room()


@asynccontextmanager
async def _open_watch(
    control: JobControl, wanted: Wanted, head: int, *, instance: str
) -> AsyncIterator[JobWatch]:
    """A watch from where it was wanted, or from the oldest event that is kept.

    Args:
        control: what has the events.
        wanted: which of them.
        head: the position of the newest event.
        instance: the history that these positions count in.

    Raises:
        CliError: that position is yet to come.
        ReplayGone: there is another history now, or what was kept is gone.
    """
    since = None if wanted.now else wanted.since or 0
    if since is not None and since > head:
        raise usage_error(f"--since {since}: the newest event is number {head}")
    async with AsyncExitStack() as stack:
        yield await _enter(stack, control, wanted, since, instance)


async def _enter(
    stack: AsyncExitStack,
    control: JobControl,
    wanted: Wanted,
    since: int | None,
    instance: str,
) -> JobWatch:
    while True:
        watch = control.watch(
            since,
            instance=instance,
            filter=wanted.filter,
            logs=wanted.logs,
            progress=wanted.progress,
        )
        try:
            return await stack.enter_async_context(watch)
        except ReplayGone as gone:
            oldest = gone.data.get("oldest_seq")
            if since is None or not isinstance(oldest, int) or oldest <= since + 1:
                raise
            if wanted.since is not None:
                say(f"events {since + 1} to {oldest - 1} are no longer kept")
            since = oldest - 1
