"""`show`: all there is to know of a job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import CancelRequest, Certificate, Job, JobFilter
from ..abc import describe_failure
from .connection import Where, where_options
from .output import is_terminal, print_document, print_text
from .screen import Notice, open_screen
from .text import (
    clean,
    count_of,
    local_time,
    milliseconds,
    one_line,
    progress_words,
    proof_of,
    seconds,
)
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from .changes import Changes

__all__ = ["command"]

WIDTH = 12


@click.command("show")
@click.argument("job_id", metavar="ID", shell_complete=complete_id)
@click.option("-w", "--watch", is_flag=True, help="Show it again until the job has ended.")
@where_options
@json_option
def command(
    job_id: str, watch: bool, url: str | None, token_file: Path | None, as_json: bool
) -> int:
    """Show all there is to know of a job.

    Where it stands, who asked it to stop, the proof of its end. A unique beginning of its id will
    do. With --watch it is shown again whenever something changes, until the job has ended, as JSON
    Lines with --json; Ctrl+C leaves, and the job goes on.

    \b
      trio-supervisor show make-3f9a61c2 --watch
    """
    where = Where(url=url, token_file=token_file)
    if not watch:
        return ask_server(where, lambda client: _show(client, job_id, as_json))
    notice = Notice()
    return ask_server(
        where,
        lambda client: _watch(client, job_id, as_json, notice),
        farewell=lambda: f"job {job_id} goes on; trio-supervisor cancel {job_id} would end it",
        tell=notice.tell,
    )


async def _show(client: Client, text: str, as_json: bool) -> int:
    from .ids import find_job

    _print(await find_job(client, text), as_json)
    return 0


def _print(job: Job, as_json: bool) -> None:
    from .._wire_records import job_to_wire

    if as_json:
        print_document({"job": job_to_wire(job)})
    else:
        print_text(_text_of(job))


def _text_of(job: Job) -> str:
    return "\n".join(f"{name:<{WIDTH}} {value}" for name, value in lines_of(job))


async def _watch(client: Client, text: str, as_json: bool, notice: Notice) -> int:
    from .changes import open_changes
    from .ids import find_job

    job = await find_job(client, text, live=True)
    filter = JobFilter(job_ids=(job.id,))
    async with open_changes(client, filter, progress=True) as changes:
        if not as_json and is_terminal(sys.stdout):
            job = await _draw(client, job.id, changes, notice)
            print_text(_text_of(job))
            return 0
        while True:
            await changes.wait()
            job = await client.get(job.id)
            _print(job, as_json)
            if job.state.is_final:
                return 0
            if not as_json:
                print_text("")


async def _draw(client: Client, job_id: str, changes: Changes, notice: Notice) -> Job:
    """Show it until it has ended; the last picture is for the caller to print, in full."""
    with open_screen(notice, whole=True) as screen:
        while True:
            await changes.wait()
            job = await client.get(job_id)
            if job.state.is_final:
                return job
            screen.draw(_text_of(job))


def lines_of(job: Job) -> Iterator[tuple[str, str]]:
    """What to print, line by line."""
    yield "id", job.id
    yield "name", one_line(job.name)
    yield "state", str(job.state)
    yield from _work(job)
    yield from _times(job)
    yield from _stop(job)
    yield from _end(job)
    if job.certificate is not None:
        yield from _certificate(job.certificate)
    dropped = f" ({job.log_dropped} dropped)" if job.log_dropped else ""
    yield "log", f"{count_of(job.log_lines, 'line')}{dropped}"


def _work(job: Job) -> Iterator[tuple[str, str]]:
    if job.command is not None:
        yield "command", one_line(shlex.join(job.command), 1000)
    if job.labels:
        yield "labels", one_line(", ".join(f"{key}={value}" for key, value in job.labels.items()))
    yield "started by", one_line(job.requester)
    force = "can be killed" if job.can_force else "cannot be killed, only asked"
    yield "kind", f"{job.kind} ({force}; grace {job.grace:g} s)"
    if job.attempt > 1:
        yield "attempt", str(job.attempt)


def _times(job: Job) -> Iterator[tuple[str, str]]:
    yield "created", local_time(job.created_at)
    if job.started_at is not None:
        yield "started", local_time(job.started_at)
    if job.ended_at is not None:
        ran = "" if job.duration is None else f" (ran {seconds(job.duration)})"
        yield "ended", f"{local_time(job.ended_at)}{ran}"
    if job.timeout is not None:
        yield "timeout", f"{job.timeout:g} s"
    if job.progress is not None:
        yield "progress", progress_words(job.progress)


def _stop(job: Job) -> Iterator[tuple[str, str]]:
    if job.cause is not None and job.certificate is None:
        reason = f": {one_line(job.reason)}" if job.reason else ""
        yield "asked to stop", f"{job.cause}{reason}"
    if job.rung is not None:
        killed = "" if job.kill_in is None else f", killed in {seconds(max(0.0, job.kill_in))}"
        yield "rung", f"{job.rung}{killed}"
    if job.why is not None:
        yield "stuck", one_line(job.why)
        yield from (("alive", one_line(place)) for place in job.where)


def _end(job: Job) -> Iterator[tuple[str, str]]:
    if job.how is not None:
        yield "how", f"{job.how}{' (late)' if job.late else ''}"
    if job.exit_code is not None:
        yield "exit code", str(job.exit_code)
    if job.signal is not None:
        yield "signal", str(job.signal)
    if job.error is not None:
        yield "error", one_line(describe_failure(job), 1000)
        for line in clean(job.error.traceback or "").splitlines():
            yield "", line
    if job.result is not None:
        yield "result", one_line(repr(job.result), 1000)
    if job.result_error is not None:
        yield "result", one_line(job.result_error)


def _certificate(certificate: Certificate) -> Iterator[tuple[str, str]]:
    yield "requested", _request(certificate.first_request)
    for request in certificate.later_requests:
        yield "then", _request(request)
    more = certificate.later_count - len(certificate.later_requests)
    if more > 0:
        yield "then", count_of(more, "more request")
    for rung in certificate.rungs:
        after = (rung.at - certificate.first_request.at).total_seconds()
        yield str(rung.rung), f"{milliseconds(max(0.0, after))} after the request"
    yield "dead", f"{milliseconds(certificate.request_to_dead)} after the request"
    detail = f": {one_line(certificate.proof.detail)}" if certificate.proof.detail else ""
    yield "proof", f"{proof_of(certificate)}{detail}"


def _request(request: CancelRequest) -> str:
    how = "killed at once" if request.force else f"grace {request.grace:g} s"
    reason = f": {one_line(request.reason)}" if request.reason else ""
    who = f"by {one_line(request.requester)} ({request.cause}, {how})"
    return f"{local_time(request.at)} {who}{reason}"
