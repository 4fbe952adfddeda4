"""`cancel`: ask jobs to stop, and wait until they are gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .._errors import JobNotFound, SupervisorError
from .._model import CancelOutcome, CancelReply, JobState
from .connection import Where, where_options
from .exits import Exit, explain
from .output import print_document, print_table, say
from .text import milliseconds, own_places, proof_of, strength_of
from .verbs import ask_server, complete_id, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to become of the jobs."""

    reason: str | None
    grace: float | None
    force: bool
    wait: bool
    timeout: float | None
    remember: bool


@click.command("cancel")
@click.argument("job_ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_id)
@click.option("--reason", metavar="TEXT", help="Goes on the job's record.")
@click.option("--grace", type=float, metavar="S", help="Seconds before it is killed.")
@click.option("--force", is_flag=True, help="Kill it at once.")
@click.option("--wait/--no-wait", default=True, help="Until it is gone (default), or only ask.")
@click.option("--timeout", type=float, metavar="S", help="Wait so long at most.")
@click.option(
    "--if-unknown", type=click.Choice(["error", "remember"]), default="error", show_default=True,
    help="remember: a job that starts with this id within ten minutes never begins.",
)  # fmt: skip
@where_options
@json_option
def command(
    job_ids: tuple[str, ...], reason: str | None, grace: float | None, force: bool, wait: bool,
    timeout: float | None, if_unknown: str, url: str | None, token_file: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Cancel jobs, wait until they are gone, and print the proof.

    Exits 0 if all of them are gone (or were already), 4 if one is not known, 5 if the wait timed
    out, 1 if one is stuck. A unique beginning of an id will do; jobs that have ended do not count
    where one has not.
    """
    wanted = Wanted(
        reason=reason,
        grace=grace,
        force=force,
        wait=wait,
        timeout=timeout,
        remember=if_unknown == "remember",
    )

    async def ask(client: Client) -> int:
        answers = await _cancel_all(client, job_ids, wanted)
        _print(job_ids, answers, as_json)
        return max((_code(answer, wanted) for answer in answers), key=_weight)

    try:
        return ask_server(Where(url=url, token_file=token_file), ask)
    except KeyboardInterrupt:
        say("what was asked for goes on; trio-supervisor list shows how far it is")
        return Exit.INTERRUPTED


Answer = CancelReply | SupervisorError


async def _cancel_all(
    client: Client, texts: Sequence[str], wanted: Wanted
) -> Sequence[Answer]:
    import trio

    from .cancel_progress import showing

    ids: list[str | SupervisorError] = [await _id_of(client, text, wanted) for text in texts]
    answers: dict[int, Answer] = {}

    async def cancel(place: int, job_id: str) -> None:
        try:
            answers[place] = await client.cancel(
                job_id,
                reason=wanted.reason,
                grace=wanted.grace,
                force=wanted.force,
                wait="finished" if wanted.wait else "accepted",
                timeout=wanted.timeout if wanted.wait else None,
                if_unknown="remember" if wanted.remember else "error",
            )
        except JobNotFound as exc:
            answers[place] = exc

    known = [job_id for job_id in ids if isinstance(job_id, str)]
    async with showing(client, known if wanted.wait else ()), trio.open_nursery() as nursery:
        for place, job_id in enumerate(ids):
            if isinstance(job_id, str):
                nursery.start_soon(cancel, place, job_id)
            else:
                answers[place] = job_id
    return [answers[place] for place in range(len(ids))]


async def _id_of(client: Client, text: str, wanted: Wanted) -> str | SupervisorError:
    from .ids import check_id, find_job

    try:
        # What has yet to start is named in full.
        return check_id(text) if wanted.remember else (await find_job(client, text, live=True)).id
    except JobNotFound as exc:
        return exc


# --- what is printed -----------------------------------------------------------------------------

COLUMNS = ("ID", "OUTCOME", "STATE", "HOW", "DEAD AFTER", "PROOF")


def _print(texts: Sequence[str], answers: Sequence[Answer], as_json: bool) -> None:
    if as_json:
        from .._wire_records import entry_to_wire, to_wire

        # The shapes of job.cancel and job.cancel_many.
        alone = answers[0] if len(answers) == 1 else None
        if isinstance(alone, CancelReply):
            print_document(to_wire(alone))
        else:
            print_document({"results": [entry_to_wire(answer) for answer in answers]})
    else:
        rows = [_row(answer) for answer in answers if isinstance(answer, CancelReply)]
        if rows:
            print_table(COLUMNS, rows, shorten={"PROOF": strength_of})
    for answer in answers:
        if isinstance(answer, SupervisorError):
            say(str(answer))
        elif answer.job is not None and answer.job.state is JobState.STUCK:
            where = "; ".join(own_places(answer.job.where)) or "it is not known where"
            say(f"job {answer.job_id} is stuck: {answer.job.why}: {where}")


def _row(reply: CancelReply) -> tuple[str, ...]:
    job, certificate = reply.job, reply.certificate
    how = "" if job is None or job.how is None else str(job.how)
    dead = proof = ""
    if certificate is not None:
        dead, proof = milliseconds(certificate.request_to_dead), proof_of(certificate)
    state = "" if job is None else str(job.state)
    return reply.job_id, str(reply.outcome), state, how, dead, proof


def _code(answer: Answer, wanted: Wanted) -> int:
    if isinstance(answer, SupervisorError):
        told = explain(answer)
        return Exit.FAILED if told is None else told.code
    if not wanted.wait or answer.outcome is CancelOutcome.RECORDED or answer.job is None:
        return Exit.DONE
    if answer.job.state is JobState.STUCK:
        return Exit.FAILED
    return Exit.DONE if answer.job.state.is_final else Exit.TOO_SLOW


def _weight(code: Any) -> int:
    """Which of several codes to leave with: that of what needs looking at first."""
    return (Exit.DONE, Exit.TOO_SLOW, Exit.FAILED, Exit.NO_SUCH_JOB).index(code)
