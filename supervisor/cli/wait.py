"""`wait`: until jobs have ended; it never touches them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import Job
from .connection import Where, where_options
from .exits import Exit, code_of_job
from .output import is_terminal, print_document, print_table, say
from .text import count_of, describe_end
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = ["command"]

AT_ONCE = 500
"""Waits under way at a time; a connection may have a thousand."""


@click.command("wait")
@click.argument("job_ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_id)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Wait so long at most.")
@where_options
@json_option
def command(
    job_ids: tuple[str, ...], timeout: float | None, url: str | None, token_file: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Wait for the end of jobs, and exit as they did.

    Exits 0 if all succeeded, 1 if one failed, 3 if one was cancelled, 5 if one has not ended after
    --timeout; of several, the first that holds of 5, 1, 3. Ctrl+C leaves; the jobs go on. A unique
    beginning of an id will do; jobs that have ended do not count where one has not.

    \b
      trio-supervisor wait make-3f9a61c2
      trio-supervisor wait build test --timeout 60
    """

    async def ask(client: Client) -> int:
        return await _wait(client, job_ids, timeout, as_json)

    named = f"job {job_ids[0]} goes" if len(job_ids) == 1 else f"{len(job_ids)} jobs go"
    return ask_server(
        Where(url=url, token_file=token_file),
        ask,
        farewell=lambda: f"{named} on; trio-supervisor cancel {' '.join(job_ids)} would end it",
    )


async def _wait(client: Client, texts: Sequence[str], timeout: float | None, as_json: bool) -> int:
    from .ids import find_job

    found = [await find_job(client, text, live=True) for text in texts]
    job_ids = list(dict.fromkeys(job.id for job in found))
    if is_terminal(sys.stderr):
        say(f"waiting for {_words(job_ids)}; Ctrl+C leaves {_them(job_ids)} alone")
    jobs = await _ended(client, job_ids, timeout)
    _print(jobs, as_json)
    for job in jobs:
        if not job.state.is_final:
            say(f"job {job.id} is still {job.state} after {timeout or 0:g} s")
    return max(map(_code, jobs), key=_weight)


def _words(job_ids: Sequence[str]) -> str:
    return f"job {job_ids[0]}" if len(job_ids) == 1 else count_of(len(job_ids), "job")


def _them(job_ids: Sequence[str]) -> str:
    return "it" if len(job_ids) == 1 else "them"


async def _ended(client: Client, job_ids: Sequence[str], timeout: float | None) -> Sequence[Job]:
    """The jobs when they have ended, or, when the time is over, as they are."""
    import trio

    from .progress import open_line, still

    jobs: dict[str, Job] = {}

    def left() -> list[str]:
        return [job_id for job_id in job_ids if job_id not in jobs]

    def tell() -> str:
        return f"{len(jobs)} of {count_of(len(job_ids), 'job')} ended; still: {still(left())}"

    async def wait(job_id: str) -> None:
        async with limit:
            jobs[job_id] = await client.wait(job_id)

    limit = trio.CapacityLimiter(AT_ONCE)
    with open_line(tell), trio.move_on_after(float("inf") if timeout is None else timeout):
        async with trio.open_nursery() as nursery:
            for job_id in job_ids:
                nursery.start_soon(wait, job_id)
    for job_id in left():
        jobs[job_id] = await client.get(job_id)
    return [jobs[job_id] for job_id in job_ids]


def _print(jobs: Sequence[Job], as_json: bool) -> None:
    if as_json:
        from .._wire_records import job_to_wire

        wire = [job_to_wire(job) for job in jobs]
        print_document({"job": wire[0]} if len(wire) == 1 else {"jobs": wire})
        return
    rows = [(job.id, str(job.state), describe_end(job)) for job in jobs if job.state.is_final]
    if rows:
        # How it ended says in which state, too.
        print_table(("ID", "STATE", "END"), rows, wrap=["END"], drop=["STATE"])


def _code(job: Job) -> Exit:
    return code_of_job(job) if job.state.is_final else Exit.TOO_SLOW


def _weight(code: Exit) -> int:
    """Which of several codes to leave with: that of what needs looking at first."""
    return (Exit.DONE, Exit.CANCELLED, Exit.FAILED, Exit.TOO_SLOW).index(code)
