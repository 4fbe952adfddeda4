"""`cancel`: ask jobs to stop, and wait until they are gone.

Jobs are named by their ids, or described by a filter; what a filter means is shown and asked for
first, where somebody can answer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import JobFilter, JobState
from .cancel_asking import Answers, Wanted, cancel_filter, cancel_ids, live_jobs
from .cancel_report import code_of, print_answers
from .connection import Where, where_options
from .exits import Exit, usage_error
from .jobs_given import parse_labels
from .output import is_terminal, print_document, say
from .text import count_of, one_line
from .verbs import ask_server, complete_id, complete_name, json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from .._model import Job

__all__ = ["command"]

LIVE = [str(state) for state in JobState if not state.is_final]
FAREWELL = (
    "a cancel that has reached the server goes on; trio-supervisor list shows which jobs are "
    "cancelling, and which are not"
)
"""For whoever leaves early: perhaps before the request was on its way."""
SHOWN = 5
"""Jobs that are shown before it is asked whether all of them are meant."""


@click.command("cancel")
@click.argument("job_ids", nargs=-1, metavar="[ID...]", shell_complete=complete_id)
@click.option(
    "--label", "labels", multiple=True, metavar="K=V", help="Jobs with this label; repeatable."
)
@click.option("--name", metavar="NAME", shell_complete=complete_name, help="Jobs of this name.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(LIVE), metavar="STATE",
    help=f"Jobs in this state; repeatable ({', '.join(LIVE)}).",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="All of them; needed without a filter.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether all of them are meant.")
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
    job_ids: tuple[str, ...], labels: tuple[str, ...], name: str | None, states: tuple[str, ...],
    everything: bool, yes: bool, reason: str | None, grace: float | None, force: bool,
    wait: bool, timeout: float | None, if_unknown: str, url: str | None,
    token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Cancel jobs, wait until they are gone, and print the proof.

    Jobs are given by their ids, or by --label, --name and --state together. Those that a filter
    means are shown first, and on a terminal you are asked; elsewhere --yes has to say that all of
    them are meant.

    Exits 0 if all of them are gone (or were already), 4 if one is not known, 5 if the wait timed
    out, 1 if one is stuck, 130 if you said no. A unique beginning of an id will do; jobs that have
    ended do not count where one has not.

    \b
      trio-supervisor cancel make-3f9a61c2
      trio-supervisor cancel --label branch=old --reason "merged"
      trio-supervisor cancel --all --yes --timeout 30
    """
    filter = JobFilter(
        state=tuple(map(JobState, states)) or None, name=name, labels=parse_labels(labels) or None
    )
    remember = if_unknown == "remember"
    _check_words(job_ids, filter, everything, remember)
    wanted = Wanted(
        reason=reason, grace=grace, force=force, wait=wait, timeout=timeout, remember=remember
    )
    where = Where(url=url, token_file=token_file)
    if not job_ids:
        meant = _choose(where, filter, yes, as_json)
        if isinstance(meant, Exit):
            return meant
        filter = meant

    async def ask(client: Client) -> int:
        answers: Answers
        if job_ids:
            answers = await cancel_ids(client, job_ids, wanted)
        else:
            answers = await cancel_filter(client, filter, wanted)
        print_answers(answers, as_json, bulk=not job_ids)
        return code_of(answers, wanted)

    return ask_server(where, ask, farewell=lambda: FAREWELL)


def _check_words(
    job_ids: tuple[str, ...], filter: JobFilter, everything: bool, remember: bool
) -> None:
    described = filter != JobFilter()
    if job_ids and (described or everything):
        raise usage_error("give either ids, or --label, --name, --state, --all, not both")
    if not (job_ids or described or everything):
        raise usage_error(
            "say which jobs: ids, or --label K=V, --name NAME, --state STATE, or --all"
        )
    if remember and not job_ids:
        raise usage_error("--if-unknown remember is for an id, not for jobs that there are")


# --- which jobs ----------------------------------------------------------------------------------


def _choose(where: Where, filter: JobFilter, yes: bool, as_json: bool) -> JobFilter | Exit:
    """Those that are meant, or the code to leave with.

    Asked between two connections: while somebody thinks, nobody would answer the server.
    """
    can_ask = is_terminal(sys.stdin) and is_terminal(sys.stderr)
    found: list[Job] = []

    async def look(client: Client) -> int:
        found.extend(await live_jobs(client, filter))
        return 0

    ask_server(where, look)
    if not found:
        say("no live job is meant")
        if as_json:
            print_document({"results": []})
        return Exit.DONE
    if yes:
        return filter
    say(f"this would cancel {count_of(len(found), 'job')}:")
    for job in found[:SHOWN]:
        say(f"  {job.id}  {one_line(job.name, 40)}  {job.state}")
    if len(found) > SHOWN:
        say(f"  and {len(found) - SHOWN} more")
    if not can_ask:
        raise usage_error("nobody is here to be asked; add --yes to cancel them")
    if not click.confirm("cancel them?", err=True):
        say("nothing was cancelled")
        return Exit.INTERRUPTED
    # What was shown, and nothing that has come since.
    return JobFilter(job_ids=tuple(job.id for job in found))
