"""The requests that `cancel` sends, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio
from cli_records import job

from supervisor import (
    CancelOutcome,
    CancelReply,
    Job,
    JobFilter,
    JobNotFound,
    JobPage,
    JobState,
    SupervisorError,
)
from supervisor.cli import cancel_asking
from supervisor.cli.cancel_asking import Answers, Wanted, cancel_filter, cancel_ids
from supervisor.cli.cancel_report import code_of
from supervisor.cli.exits import Exit


class FakeControl:
    """Has these jobs; answers to bulk requests are short, as those of more than a thousand are."""

    def __init__(self, *jobs: Job, short: bool = False) -> None:
        self.jobs = {it.id: it for it in jobs}
        self.short = short
        self.asked: list[Any] = []

    async def get(self, job_id: str) -> Job:
        await trio.lowlevel.checkpoint()
        if job_id not in self.jobs:
            raise JobNotFound(f"no job {job_id}")
        return self.jobs[job_id]

    async def list(
        self, filter: JobFilter | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        await trio.lowlevel.checkpoint()
        states = None if filter is None else filter.state
        jobs = [it for it in self.jobs.values() if states is None or it.state in states]
        return JobPage(tuple(jobs), "i", 1)

    async def cancel(self, job_id: str, **options: Any) -> CancelReply:
        await trio.lowlevel.checkpoint()
        self.asked.append((job_id, options))
        return self._reply(job_id)

    async def cancel_many(self, filter: JobFilter, **options: Any) -> Answers:
        await trio.lowlevel.checkpoint()
        self.asked.append((filter, options))
        ids = filter.job_ids if filter.job_ids is not None else [*self.jobs]
        return [self._many(job_id, options["wait"] == "finished") for job_id in ids]

    def _many(self, job_id: str, waits: bool) -> CancelReply | SupervisorError:
        if job_id not in self.jobs:
            return JobNotFound(f"no job {job_id}")
        reply = self._reply(job_id)
        is_gone = reply.job is not None and reply.job.state.is_final
        return attrs.evolve(reply, job=None) if self.short and (is_gone or not waits) else reply

    def _reply(self, job_id: str) -> CancelReply:
        outcome = CancelOutcome.CANCELLING
        return CancelReply(outcome=outcome, job_id=job_id, seq=1, job=self.jobs.get(job_id))


def one(job_id: str, state: JobState = JobState.CANCELLED) -> Job:
    return attrs.evolve(job(state), id=job_id)


def asked(control: Any, texts: Sequence[str], **wanted: Any) -> Answers:
    return trio.run(cancel_ids, control, texts, Wanted(**wanted))


def names(answers: Answers) -> list[str]:
    return [it.job_id if isinstance(it, CancelReply) else type(it).__name__ for it in answers]


def test_several_ids_are_one_request_and_the_answers_stay_in_order() -> None:
    control = FakeControl(one("abc"), one("b"), one("c"))
    answers = asked(control, ["c", "nobody", "ab", "c", "abc"], reason="x")
    assert names(answers) == ["c", "JobNotFound", "abc"]
    ((filter, options),) = control.asked
    assert filter == JobFilter(job_ids=("c", "abc"))
    assert options["reason"] == "x" and options["wait"] == "finished"


def test_one_id_is_asked_for_as_such_and_so_are_ids_to_remember() -> None:
    control = FakeControl(one("a"))
    assert names(asked(control, ["a"])) == ["a"]
    assert names(asked(control, ["x", "y"], remember=True)) == ["x", "y"]
    assert [it[0] for it in control.asked] == ["a", "x", "y"]
    assert [it[1]["if_unknown"] for it in control.asked] == ["error", "remember", "remember"]


def test_nobody_that_is_known_is_no_request() -> None:
    control = FakeControl()
    assert names(asked(control, ["x", "y"])) == ["JobNotFound", "JobNotFound"]
    assert control.asked == []


def test_filter_is_one_request() -> None:
    control: Any = FakeControl(one("a"), one("b"))
    filter = JobFilter(name="x", state=(JobState.RUNNING,))
    answers = trio.run(cancel_filter, control, filter, Wanted(wait=False))
    assert names(answers) == ["a", "b"]
    ((given, options),) = control.asked
    assert given == filter and options["wait"] == "accepted"


def test_many_ids_go_in_parts_that_fit_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_asking, "IDS_AT_ONCE", 2)
    jobs = [one(f"j{number}") for number in range(5)]
    control: Any = FakeControl(*jobs)
    filter = JobFilter(job_ids=tuple(it.id for it in jobs))
    answers = trio.run(cancel_filter, control, filter, Wanted())
    assert names(answers) == [it.id for it in jobs]
    assert sorted(len(part.job_ids) for part, _ in control.asked) == [1, 2, 2]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (JobState.CANCELLED, Exit.DONE),
        (JobState.STUCK, Exit.FAILED),
        (JobState.CANCELLING, Exit.TOO_SLOW),
    ],
)
def test_short_answers_are_completed(state: JobState, code: Exit) -> None:
    control: Any = FakeControl(one("a"), one("b", state), short=True)
    answers = trio.run(cancel_filter, control, JobFilter(), Wanted())
    assert [it.job.state for it in answers if isinstance(it, CancelReply) and it.job] == [
        JobState.CANCELLED, state,
    ]  # fmt: skip
    assert code_of(answers, Wanted()) == code


def test_short_answers_of_who_did_not_wait_are_completed() -> None:
    control: Any = FakeControl(one("a"), one("b", JobState.CANCELLING), short=True)
    answers = trio.run(cancel_filter, control, JobFilter(), Wanted(wait=False))
    assert all(it.job is not None for it in answers if isinstance(it, CancelReply))


def test_a_job_that_has_the_id_of_one_that_is_gone_is_another() -> None:
    class Reused(FakeControl):
        def _many(self, job_id: str, waits: bool) -> CancelReply:
            return CancelReply(outcome=CancelOutcome.CANCELLING, job_id=job_id, seq=1)

    control: Any = Reused(one("a", JobState.RUNNING))
    (answer,) = trio.run(cancel_filter, control, JobFilter(job_ids=("a",)), Wanted())
    assert isinstance(answer, CancelReply) and answer.job is None
    assert code_of([answer], Wanted()) == Exit.DONE


def test_worst_of_many_decides() -> None:
    reply = CancelReply(outcome=CancelOutcome.CANCELLING, job_id="a", seq=1)
    stuck = attrs.evolve(reply, job=one("a", JobState.STUCK))
    gone = attrs.evolve(reply, job=one("a"))
    assert code_of([gone, stuck, gone], Wanted()) == Exit.FAILED
    assert code_of([gone, stuck, JobNotFound("x")], Wanted()) == Exit.NO_SUCH_JOB
    assert code_of([], Wanted()) == Exit.DONE
