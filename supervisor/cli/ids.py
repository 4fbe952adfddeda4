"""Jobs by the beginning of their id, as far as it is unique."""

from __future__ import annotations

from collections.abc import AsyncIterator

from .._errors import AmbiguousJobId, JobNotFound
from .._model import Job, JobFilter
from .._policy import JOB_ID
from ..abc import JobControl
from .exits import usage_error

__all__ = ["all_jobs", "check_id", "find_job"]

PAGE = 1000
SHOWN = 10


def check_id(text: str) -> str:
    """The text, if it can be a job's id or the beginning of one.

    Raises:
        CliError: it cannot.
    """
    if not JOB_ID.fullmatch(text):
        raise usage_error(
            f"{text[:128]!r} cannot be a job id: 1 to 128 letters, digits and . _ : - "
            "that begin with a letter or digit"
        )
    return text


async def find_job(control: JobControl, text: str, *, live: bool = False) -> Job:
    """The job with this id, or the only one whose id begins so.

    Args:
        control: where to look.
        text: the id, or the beginning of one.
        live: prefer, among several, those that have not ended.

    Raises:
        JobNotFound: there is none.
        AmbiguousJobId: there are several.
        CliError: it cannot be an id.
    """
    try:
        return await control.get(check_id(text))
    except JobNotFound as exc:
        matches = [job async for job in all_jobs(control) if job.id.startswith(text)]
        if not matches:
            raise JobNotFound(
                f"no job {text!r} is known; `trio-supervisor list` shows those there are"
            ) from exc
    if live and len(matches) > 1:
        matches = [job for job in matches if not job.state.is_final] or matches
    if len(matches) == 1:
        return matches[0]
    ids = [job.id for job in matches]
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    raise AmbiguousJobId(
        f"{text!r} is the beginning of {len(ids)} ids: {', '.join(ids[:SHOWN])}{more}; "
        "give more of it",
        matches=ids[:SHOWN],
    )


async def all_jobs(control: JobControl, filter: JobFilter | None = None) -> AsyncIterator[Job]:
    """Every job that the filter means, in order of acceptance."""
    cursor: str | None = None
    while True:
        page = await control.list(filter, limit=PAGE, cursor=cursor)
        for job in page.jobs:
            yield job
        cursor = page.next_cursor
        if cursor is None:
            return
