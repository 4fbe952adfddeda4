"""Records for the tests of the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from supervisor import Job, JobState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def job(state: JobState, **fields: object) -> Job:
    return Job(
        id="j1", name="x", kind="command", state=state, attempt=1, version=1, seq=1,
        created_at=NOW, **fields,  # type: ignore[arg-type]
    )  # fmt: skip
