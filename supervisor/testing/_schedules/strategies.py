"""Schedules as a Hypothesis strategy."""

from __future__ import annotations

from hypothesis import strategies as st

from ..errors import BadOption
from .schedule import Schedule

OPTIONS = 6

NEAR = (4, 16)


def schedules(max_preemptions: int = 5, max_gap: int = 60) -> st.SearchStrategy[Schedule]:
    """Schedules for `@given`; they shrink to few, early preemptions.

    A schedule is drawn as a whole, before the run: a draw inside Trio's loop could end it in the
    middle. Hypothesis' database, `@example` and `@reproduce_failure` work as ever.

    Args:
        max_preemptions: the most preemptions of one schedule.
        max_gap: the most choice points between two of them.

    Raises:
        BadOption: one of these is not a whole number, or too small.
    """
    for name, value in (("max_preemptions", max_preemptions), ("max_gap", max_gap)):
        if type(value) is not int or value < 0:
            raise BadOption(f"{name} must be a whole number from 0 on, not {value!r}")
    near = [st.integers(0, gap) for gap in NEAR if gap < max_gap]  # most races need no long wait
    one = st.tuples(st.one_of(*near, st.integers(0, max_gap)), st.integers(1, OPTIONS))
    return _schedules(st.lists(one, max_size=max_preemptions))


@st.composite
def _schedules(
    draw: st.DrawFn, deviations: st.SearchStrategy[list[tuple[int, int]]]
) -> Schedule:
    """Composite, so that Hypothesis prints the schedule itself, and not how it was made."""
    return Schedule(tuple(draw(deviations)))
