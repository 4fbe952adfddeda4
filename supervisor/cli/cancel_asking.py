"""The requests that `cancel` sends: one for all jobs, whether a filter or their ids say which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from .._errors import JobNotFound, SupervisorError
from .._model import CancelReply, Job, JobFilter, JobState

if TYPE_CHECKING:
    from ..abc import JobControl

__all__ = ["Answers", "Wanted", "cancel_filter", "cancel_ids", "live_jobs"]

LIVE = tuple(state for state in JobState if not state.is_final)
IDS_AT_ONCE = 5000
"""In one request: so many of the longest ids are 640 KiB, and a message may have 1 MiB."""
IDS_WATCHED = 500
"""Above so many, everything is watched instead: a filter is looked through for each event."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to become of the jobs."""

    reason: str | None = None
    grace: float | None = None
    force: bool = False
    wait: bool = True
    timeout: float | None = None
    remember: bool = False

    def options(self) -> dict[str, Any]:
        """As `cancel` and `cancel_many` take them."""
        return {
            "reason": self.reason,
            "grace": self.grace,
            "force": self.force,
            "wait": "finished" if self.wait else "accepted",
            "timeout": self.timeout if self.wait else None,
        }


Answer = CancelReply | SupervisorError
Answers = Sequence[Answer]


async def live_jobs(control: JobControl, filter: JobFilter) -> list[Job]:
    """The jobs that a filter means and that have not ended, in order of acceptance."""
    from .ids import all_jobs

    live = attrs.evolve(filter, state=filter.state or LIVE)
    return [job async for job in all_jobs(control, live)]


# --- by id ---------------------------------------------------------------------------------------


async def cancel_ids(client: JobControl, texts: Sequence[str], wanted: Wanted) -> Answers:
    """Cancel the jobs with these ids, or beginnings of ids; one answer each, in their order."""
    found = [await _id_of(client, text, wanted) for text in dict.fromkeys(texts)]
    ids = list(dict.fromkeys(job_id for job_id in found if isinstance(job_id, str)))
    if wanted.remember or len(ids) == 1:
        answers = await _one_by_one(client, ids, wanted)
    else:
        answers = await _in_bulk(client, JobFilter(job_ids=tuple(ids)), ids, wanted)
    by_id = dict(zip(ids, answers, strict=True))
    return [
        by_id.pop(it) if isinstance(it, str) else it
        for it in found
        if not isinstance(it, str) or it in by_id
    ]


async def _id_of(control: JobControl, text: str, wanted: Wanted) -> str | SupervisorError:
    from .ids import check_id, find_job

    try:
        # What has yet to start is named in full.
        return check_id(text) if wanted.remember else (await find_job(control, text, live=True)).id
    except JobNotFound as exc:
        return exc


async def _one_by_one(control: JobControl, ids: Sequence[str], wanted: Wanted) -> Answers:
    from .progress import showing

    if_unknown = "remember" if wanted.remember else "error"
    answers: list[Answer] = []
    async with showing(control, ids if wanted.wait else ()):
        for job_id in ids:
            try:
                answers.append(
                    await control.cancel(job_id, if_unknown=if_unknown, **wanted.options())
                )
            except JobNotFound as exc:
                answers.append(exc)
    return answers


# --- in bulk -------------------------------------------------------------------------------------


async def cancel_filter(control: JobControl, filter: JobFilter, wanted: Wanted) -> Answers:
    """Cancel all live jobs that the filter means, or all that it names."""
    if filter.job_ids is not None:
        return await _in_bulk(control, filter, filter.job_ids, wanted)
    live = [job.id for job in await live_jobs(control, filter)] if wanted.wait else []
    return await _in_bulk(control, filter, live, wanted)


async def _in_bulk(
    control: JobControl, filter: JobFilter, ids: Sequence[str], wanted: Wanted
) -> Answers:
    import trio

    from .progress import showing

    parts = _parts_of(filter)
    answers: dict[int, Answers] = {}

    async def cancel(place: int, part: JobFilter) -> None:
        answers[place] = await control.cancel_many(part, **wanted.options())

    watched = attrs.evolve(filter, state=None, job_ids=None) if len(ids) > IDS_WATCHED else None
    async with (
        showing(control, ids if wanted.wait else (), watched),
        trio.open_nursery() as nursery,
    ):
        for place, part in enumerate(parts):
            nursery.start_soon(cancel, place, part)
    found = [answer for place in range(len(parts)) for answer in answers[place]]
    return await _completed(control, found, waited=wanted.wait)


def _parts_of(filter: JobFilter) -> Sequence[JobFilter]:
    """The filter, in parts that fit into a message each."""
    ids = filter.job_ids
    if ids is None:
        return [filter]
    return [
        JobFilter(job_ids=ids[first : first + IDS_AT_ONCE])
        for first in range(0, len(ids), IDS_AT_ONCE)
    ]


async def _completed(control: JobControl, answers: Answers, *, waited: bool) -> Answers:
    """The answers with their jobs: of a bulk request beyond a thousand the wire leaves them out.

    Of one that waited, it leaves out those that are gone: a live job of the same id is another one.
    """
    from .ids import all_jobs

    if not any(_is_short(answer) for answer in answers):
        return answers
    jobs = {job.id: job async for job in all_jobs(control) if job.state.is_final or not waited}
    return [_with_job(answer, jobs) for answer in answers]


def _is_short(answer: Answer) -> bool:
    return isinstance(answer, CancelReply) and answer.job is None


def _with_job(answer: Answer, jobs: Mapping[str, Job]) -> Answer:
    job = jobs.get(answer.job_id) if isinstance(answer, CancelReply) else None
    if not isinstance(answer, CancelReply) or answer.job is not None or job is None:
        return answer
    return attrs.evolve(answer, job=job, certificate=job.certificate)
