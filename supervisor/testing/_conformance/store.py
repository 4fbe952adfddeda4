"""The suite for stores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...abc import Store
from ..errors import BadOption
from .making import Maker, refuse_inside_trio
from .report import ConformanceReport
from .running import Suite, check_patience, is_count
from .store_bench import StoreBench
from .store_jobs import JOB_RULES
from .store_lines import LINE_RULES
from .store_tombstones import TOMBSTONE_RULES

__all__ = ["check_store"]

REACH = 12_000
STORE_RULES = (*JOB_RULES, *LINE_RULES, *TOMBSTONE_RULES)


def check_store(
    make: Callable[[], Store], *, reach: int = REACH, patience: float = 30.0
) -> ConformanceReport:
    """Check that a store keeps the rules of `supervisor.abc.Store`.

    For whoever writes a store: the supervisor relies on these rules, and breaks in odd ways where
    one does not hold. Each rule is checked on a store of its own, in a Trio run and a thread of its
    own. All rules are checked, and all that are broken are told together.

    Args:
        make: called without arguments for a fresh, empty store, which this function opens. It has
            to have room for 50 of everything.
        reach: how many jobs, events, lines and cancels to try until a bound of the store is met;
            rules about a bound that is farther away cannot be checked, and are skipped.
        patience: seconds that one rule may take.

    Returns:
        The rules that were checked, and those that could not be.

    Raises:
        NotConforming: rules are broken.
        InsideTrio: it was called inside a Trio run.
        TypeError, ValueError: `make` or an option cannot be used; the message says why.
    """
    refuse_inside_trio("check_store")
    check_patience(patience)
    if not is_count(reach):
        raise BadOption(f"reach is a whole number, 1 or more, not {reach!r}")
    maker: Maker[Store] = Maker(make, Store)  # type: ignore[type-abstract]
    suite = Suite(maker, partial(StoreBench, maker, reach), "supervisor.abc.Store", patience)
    return suite.run(STORE_RULES)
