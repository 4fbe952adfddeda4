"""Why the results of some jobs cannot be sent: found out once, not at every look.

Whether a result is too large for an answer is known when all of it was made into JSON. That is said
again at the next look. An attempt that has a result is over: it has no other one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from .._model import Job
from .._wire_records import RESULT_LIMIT, job_to_wire

__all__ = ["Verdicts"]

KEPT = 4096
"""So many are kept, of about a hundred bytes each and at most a thousand; the oldest goes first."""

Key = tuple[str, datetime, int, int]


class Verdicts:
    """Those of one server."""

    def __init__(self) -> None:
        self._why: dict[Key, str] = {}

    def __repr__(self) -> str:
        return f"<Verdicts on {len(self._why)} results>"

    def job_to_wire(self, job: Job, *, result_limit: int = RESULT_LIMIT) -> dict[str, Any]:
        """As `_wire_records.job_to_wire`, which see."""
        if job.result is None:
            return job_to_wire(job, result_limit=result_limit)
        key = (job.id, job.created_at, job.attempt, result_limit)
        why = self._why.get(key)
        if why is not None:
            return job_to_wire(attrs.evolve(job, result=None, result_error=why))
        wire = job_to_wire(job, result_limit=result_limit)
        if "result" not in wire:
            self._keep(key, wire["result_error"])
        return wire

    def _keep(self, key: Key, why: str) -> None:
        self._why[key] = why
        if len(self._why) > KEPT:
            del self._why[next(iter(self._why))]
