"""Our side of row 15: every schedule of the small scenario up to two preemptions."""

from __future__ import annotations

from supervisor.testing import explore

from ._case import Figures
from ._probe import clock
from .base_race import three_jobs


def explored(n: int) -> Figures:
    """Seconds a schedule of three jobs of `n` steps, search included."""
    scenario = three_jobs(n)
    explore(scenario, preemptions=0)
    begun = clock()
    done = explore(scenario)
    total = clock() - begun
    assert done.exhausted
    return {"per_run": total / done.runs, "runs": done.runs}
