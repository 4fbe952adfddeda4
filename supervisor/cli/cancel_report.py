"""What came of a cancel: a row a job, or, for many jobs, a row for each way they went."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from .._errors import SupervisorError
from .._model import CancelOutcome, CancelReply, JobState
from .cancel_asking import Answer, Answers, Wanted
from .exits import Exit, explain
from .output import is_terminal, print_document, print_table, say
from .text import milliseconds, own_places, proof_of, strength_of

__all__ = ["code_of", "print_answers", "summary"]

COLUMNS = ("ID", "OUTCOME", "STATE", "HOW", "DEAD AFTER", "PROOF")
DROPPED = ("DEAD AFTER", "OUTCOME", "HOW", "PROOF")
SUMMARY = ("JOBS", "OUTCOME", "STATE", "HOW", "SLOWEST", "PROOF")
IN_FULL = 20
"""Jobs that have a row each on a terminal; of more, a summary is shown."""
NAMED = 10
"""Jobs of many that are named because they are stuck."""


def print_answers(answers: Answers, as_json: bool, *, bulk: bool = False) -> None:
    """Print them; with `bulk` as the answer to `job.cancel_many`, however many they are."""
    if as_json:
        _print_json(answers, bulk)
    else:
        _print_table([answer for answer in answers if isinstance(answer, CancelReply)])
    stuck = [answer for answer in answers if _is_stuck(answer)]
    for answer in answers:
        if isinstance(answer, SupervisorError):
            say(str(answer))
    for answer in stuck[:NAMED]:
        _say_stuck(answer)
    if len(stuck) > NAMED:
        say(f"{len(stuck) - NAMED} more are stuck; trio-supervisor list --state stuck names them")


def _print_json(answers: Answers, bulk: bool) -> None:
    from .._wire_records import entry_to_wire, to_wire

    # The shapes of job.cancel and job.cancel_many.
    alone = answers[0] if len(answers) == 1 and not bulk else None
    if isinstance(alone, CancelReply):
        print_document(to_wire(alone))
    else:
        print_document({"results": [entry_to_wire(answer) for answer in answers]})


def _print_table(replies: Sequence[CancelReply]) -> None:
    if not replies:
        return
    if len(replies) > IN_FULL and is_terminal(sys.stdout):
        rows = summary(replies)
        print_table(SUMMARY, rows, shorten={"PROOF": strength_of}, drop=["PROOF", "HOW"])
        return
    rows = [_row(reply) for reply in replies]
    print_table(COLUMNS, rows, shorten={"PROOF": strength_of}, drop=DROPPED)


def _row(reply: CancelReply) -> tuple[str, ...]:
    dead = "" if reply.certificate is None else milliseconds(reply.certificate.request_to_dead)
    outcome, state, how, proof = _way(reply)
    return reply.job_id, outcome, state, how, dead, proof


def _way(reply: CancelReply) -> tuple[str, str, str, str]:
    job = reply.job
    how = "" if job is None or job.how is None else str(job.how)
    proof = "" if reply.certificate is None else proof_of(reply.certificate)
    return str(reply.outcome), "" if job is None else str(job.state), how, proof


def summary(replies: Iterable[CancelReply]) -> list[tuple[str, ...]]:
    """How many jobs went which way, the most frequent first, with the time of the slowest."""
    ways: dict[tuple[str, str, str, str], list[float]] = {}
    for reply in replies:
        certificate = reply.certificate
        dead = -1.0 if certificate is None else certificate.request_to_dead
        ways.setdefault(_way(reply), []).append(dead)
    rows: list[tuple[str, ...]] = []
    for (outcome, state, how, proof), times in sorted(ways.items(), key=lambda it: -len(it[1])):
        slowest = milliseconds(max(times)) if max(times) >= 0 else ""
        rows.append((str(len(times)), outcome, state, how, slowest, proof))
    return rows


def _is_stuck(answer: Answer) -> bool:
    job = answer.job if isinstance(answer, CancelReply) else None
    return job is not None and job.state is JobState.STUCK


def _say_stuck(answer: Answer) -> None:
    assert isinstance(answer, CancelReply) and answer.job is not None
    where = "; ".join(own_places(answer.job.where)) or "it is not known where"
    say(f"job {answer.job_id} is stuck: {answer.job.why}: {where}")


# --- the exit code -------------------------------------------------------------------------------


def code_of(answers: Answers, wanted: Wanted) -> int:
    """The code to leave with: that of what needs looking at first."""
    return max((_code(answer, wanted) for answer in answers), key=_weight, default=Exit.DONE)


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
    order = (Exit.DONE, Exit.TOO_SLOW, Exit.FAILED, Exit.NO_SUCH_JOB)
    return order.index(code) if code in order else len(order)
