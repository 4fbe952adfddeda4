"""`wait`: until a job has ended; it never touches the job."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .connection import Where, where_options
from .exits import CliError, Exit, code_of_job
from .output import is_terminal, print_document, print_table, say
from .text import describe_end
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]


@click.command("wait")
@click.argument("job_id", metavar="ID", shell_complete=complete_id)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Wait so long at most.")
@where_options
@json_option
def command(
    job_id: str, timeout: float | None, url: str | None, token_file: Path | None, as_json: bool
) -> int:
    """Wait for a job's end, and exit as the job did.

    Exits 0 if it succeeded, 1 if it failed, 3 if it was cancelled, 5 if it has not ended after
    --timeout. Ctrl+C leaves; the job goes on. A unique beginning of its id will do; jobs that have
    ended do not count where one has not.
    """

    async def ask(client: Client) -> int:
        return await _wait(client, job_id, timeout, as_json)

    try:
        return ask_server(Where(url=url, token_file=token_file), ask)
    except KeyboardInterrupt:
        say(f"job {job_id} goes on; trio-supervisor cancel {job_id} would end it")
        return Exit.INTERRUPTED


async def _wait(client: Client, text: str, timeout: float | None, as_json: bool) -> int:
    import trio

    from .._wire_records import job_to_wire
    from .ids import find_job

    job_id = (await find_job(client, text, live=True)).id
    if is_terminal(sys.stderr):
        say(f"waiting for job {job_id}; Ctrl+C leaves it alone")
    job = None
    with suppress(trio.TooSlowError):
        job = await client.wait(job_id, timeout)
    if job is None:
        job = await client.get(job_id)
    if as_json:
        print_document({"job": job_to_wire(job)})
    if not job.state.is_final:
        raise CliError(f"job {job_id} is still {job.state} after {timeout:g} s", Exit.TOO_SLOW)
    if not as_json:
        row = (job.id, str(job.state), describe_end(job))
        print_table(("ID", "STATE", "END"), [row], wrap=["END"])
    return code_of_job(job)
