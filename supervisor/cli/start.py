"""`start`: a job in the background of a server; its id is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from .connection import Where, connected, require_target, where_options
from .jobs_given import Given, JobCommand, Place, job_options, request_of
from .output import print_document, print_text
from .verbs import json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from .._model import JobRequest

__all__ = ["command"]


@click.command("start", cls=JobCommand)
@job_options
@where_options
@json_option
def command(given: Given, url: str | None, token_file: Path | None, as_json: bool) -> int:
    """Start a job in the server and print its id.

    A command's stdin is the null device.

    \b
      trio-supervisor start -- make -j8
      trio-supervisor start fetch url=https://example.org times=3
    """
    import trio

    target = require_target(Where(url=url, token_file=token_file))
    request = request_of(given, Place.HERE if target.local else Place.THERE, on_disconnect="keep")

    async def start() -> int:
        async with connected(target) as client:
            return await _start(client, request, as_json)

    return trio.run(start)


async def _start(client: Client, request: JobRequest, as_json: bool) -> int:
    from .._errors import UnknownJobName
    from .._model import How
    from .._wire_records import job_to_wire
    from .exits import usage_error
    from .output import say

    options = attrs.asdict(
        request, recurse=False, filter=lambda field, _: field.name not in ("work", "arguments")
    )
    try:
        handle = await client.start(request.work, **options)
    except UnknownJobName as exc:
        raise usage_error(f"{exc}; to run a program: start -- {request.work}") from exc
    job = handle.record
    if handle.created and job.how is How.NEVER_STARTED:
        why = job.reason or job.cause
        say(f"job {job.id} was cancelled before it started, and never runs: {why}")
    if as_json:
        print_document({"job": job_to_wire(job), "created": handle.created, "seq": job.seq})
        return 0
    if not handle.created:
        say(f"job {handle.id} was there already: it is {handle.state}")
    print_text(handle.id)
    return 0
