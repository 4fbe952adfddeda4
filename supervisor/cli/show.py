"""`show`: all there is to know of a job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import CancelRequest, Certificate, Job
from ..abc import describe_failure
from .connection import Where, where_options
from .output import print_document, print_text
from .text import clean, count_of, milliseconds, one_line, proof_of, seconds
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]

WIDTH = 12


@click.command("show")
@click.argument("job_id", metavar="ID", shell_complete=complete_id)
@where_options
@json_option
def command(job_id: str, url: str | None, token_file: Path | None, as_json: bool) -> int:
    """Show all there is to know of a job.

    Where it stands, who asked it to stop, the proof of its end. A unique beginning of its id will
    do.
    """

    async def ask(client: Client) -> int:
        from .._wire_records import job_to_wire
        from .ids import find_job

        job = await find_job(client, job_id)
        if as_json:
            print_document({"job": job_to_wire(job)})
        else:
            print_text("\n".join(f"{name:<{WIDTH}} {value}" for name, value in lines_of(job)))
        return 0

    return ask_server(Where(url=url, token_file=token_file), ask)


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
    yield "created", _time(job.created_at)
    if job.started_at is not None:
        yield "started", _time(job.started_at)
    if job.ended_at is not None:
        ran = "" if job.duration is None else f" (ran {seconds(job.duration)})"
        yield "ended", f"{_time(job.ended_at)}{ran}"
    if job.timeout is not None:
        yield "timeout", f"{job.timeout:g} s"
    if job.progress is not None:
        total = "" if job.progress.total is None else f" of {job.progress.total:g}"
        yield "progress", one_line(f"{job.progress.done:g}{total} {job.progress.message or ''}")


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
    return f"{_time(request.at)} by {one_line(request.requester)} ({request.cause}, {how}){reason}"


def _time(at: datetime) -> str:
    return at.astimezone().isoformat(sep=" ", timespec="milliseconds")
