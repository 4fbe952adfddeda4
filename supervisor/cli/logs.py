"""`logs`: the lines a job has written, and, with `--follow`, those it writes until its end."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .._model import Job, LogEntry, LogsLagged
from .connection import Where, where_options
from .output import print_document, say, to_json
from .text import count_of, local_time
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from ..abc import JobControl
    from .streams import Streams

__all__ = ["command"]

STREAMS = ["stdout", "stderr", "log"]


@attrs.frozen(kw_only=True)
class Wanted:
    """Which lines, and how they are to look.

    Args:
        since: only lines numbered above this.
        last: only so many of those that are there already, the newest.
        stream: only lines of this stream.
        timestamps: whether each line begins with its time.
        as_json: whether each line is an object.
    """

    since: int = 0
    last: int | None = None
    stream: str | None = None
    timestamps: bool = False
    as_json: bool = False

    def begin(self, job: Job) -> int:
        """The line to begin after."""
        if self.last is None or self.stream is not None:
            return self.since
        return max(self.since, job.log_lines - self.last)


@click.command("logs")
@click.argument("job_id", metavar="ID", shell_complete=complete_id)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option(
    "--since", type=click.IntRange(min=0), default=0, metavar="N", help="Only lines after number N."
)
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Begin N lines back.")
@click.option("--stream", type=click.Choice(STREAMS), help="Only this one; by default all of them.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time.")
@where_options
@json_option
def command(
    job_id: str, follow: bool, since: int, lines: int | None, stream: str | None,
    timestamps: bool, url: str | None, token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Show the lines a job has written.

    All of them go to stdout. The server keeps the last 10,000 lines or 4 MiB of a job; how many of
    those asked for are gone is told on stderr. With --follow, Ctrl+C leaves and the job goes on.
    With --json: one document {entries, next, eof}, or JSON Lines with --follow. A unique beginning
    of the id will do.

    \b
      trio-supervisor logs make-3f9a61c2 -n 20 -f
      trio-supervisor logs make-3f9a61c2 --stream stderr --timestamps
    """
    wanted = Wanted(
        since=since, last=lines, stream=stream, timestamps=timestamps, as_json=as_json
    )
    where = Where(url=url, token_file=token_file)
    if not follow:
        return ask_server(where, lambda client: _show(client, job_id, wanted))
    return ask_server(
        where,
        lambda client: _follow(client, job_id, wanted),
        farewell=lambda: f"job {job_id} goes on; trio-supervisor cancel {job_id} would end it",
    )


async def _show(client: Client, text: str, wanted: Wanted) -> int:
    from .ids import find_job
    from .streams import open_streams

    job = await find_job(client, text)
    if wanted.as_json:
        print_document(await _document(client, job, wanted))
        return 0
    async with open_streams() as streams:
        lines = Lines(streams, wanted, job)
        async for item in _kept(client, job, wanted.begin(job)):
            lines.take(item)
        lines.end()
    return 0


async def _follow(client: Client, text: str, wanted: Wanted) -> int:
    from .ids import find_job
    from .streams import open_streams

    job = await find_job(client, text, live=True)
    async with (
        open_streams() as streams,
        client.follow_logs(job.id, since=wanted.begin(job)) as items,
    ):
        lines = Lines(streams, wanted, job)
        async for item in items:
            lines.take(item)
            await streams.room()
        lines.end()
    return 0


async def _kept(
    control: JobControl, job: Job, since: int
) -> AsyncIterator[LogEntry | LogsLagged]:
    """The lines that the job had written when it was looked at, as far as they are kept."""
    while since < job.log_lines:
        page = await control.logs(job.id, since=since)
        for entry in page.entries:
            if entry.n > since + 1:
                yield LogsLagged(job_id=job.id, from_n=since + 1, to_n=entry.n - 1)
            yield entry
            since = entry.n
        if not page.entries:
            return


async def _document(control: JobControl, job: Job, wanted: Wanted) -> dict[str, Any]:
    """The answer of `job.logs`, were its pages one."""
    from .._wire_records import to_wire

    since = wanted.begin(job)
    entries: deque[LogEntry] = deque(maxlen=wanted.last)
    while True:
        page = await control.logs(job.id, since=since)
        for entry in page.entries:
            if entry.n > since + 1:
                _say_lost(since + 1, entry.n - 1)
            if wanted.stream in (None, entry.stream):
                entries.append(entry)
            since = entry.n
        if page.eof or page.next >= job.log_lines or not page.entries:
            return {"entries": to_wire([*entries]), "next": page.next, "eof": page.eof}


class Lines:
    """Shows lines as they come.

    Args:
        streams: where they go.
        wanted: which of them.
        job: the job as it was when the first was asked for.
    """

    def __init__(self, streams: Streams, wanted: Wanted, job: Job) -> None:
        self._streams = streams
        self._wanted = wanted
        self._old = job.log_lines
        # Of one stream it is not known how far back its last lines are: all old ones are looked at.
        held = wanted.last if wanted.stream is not None else None
        self._held: deque[LogEntry] | None = None if held is None else deque(maxlen=held)

    def take(self, item: LogEntry | LogsLagged) -> None:
        """The next line, or word of a gap."""
        if isinstance(item, LogsLagged):
            if self._held is None:
                self._lost(item)
            return
        if item.n > self._old:
            self.end()
        if self._wanted.stream not in (None, item.stream):
            pass
        elif self._held is not None:
            self._held.append(item)
        else:
            self._line(item)
        if item.n == self._old:
            self.end()

    def end(self) -> None:
        """The old lines are over."""
        held, self._held = self._held, None
        for entry in held or ():
            self._line(entry)

    def _line(self, entry: LogEntry) -> None:
        if self._wanted.as_json:
            self._item(entry)
        else:
            before = f"{local_time(entry.time)} " if self._wanted.timestamps else ""
            self._streams.listed(entry, before)

    def _lost(self, lag: LogsLagged) -> None:
        if self._wanted.as_json:
            self._item(lag)
        self._streams.say(_lost_words(lag.from_n, lag.to_n))

    def _item(self, item: LogEntry | LogsLagged) -> None:
        from .._wire_records import item_to_wire

        method, params = item_to_wire(item)
        self._streams.data(to_json({"method": method, "params": params}))


def _say_lost(from_n: int, to_n: int) -> None:
    say(_lost_words(from_n, to_n))


def _lost_words(from_n: int, to_n: int) -> str:
    count = count_of(to_n - from_n + 1, "line")
    which = f"{from_n}" if from_n == to_n else f"{from_n} to {to_n}"
    return f"{count} no longer kept: {which}"
