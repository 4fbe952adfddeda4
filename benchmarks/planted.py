"""How long each planted bug takes to be found, and its corrected twin to be exhausted.

The planted bugs are those of `tests/planted`. Seconds of CPU, the first search not counted: it
tries how Trio is to be driven.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._frame import print_table, quantity
from ._probe import clock

TESTS = Path(__file__).resolve().parent.parent / "tests"
LIMIT = 2.0
"""Seconds that each may take."""


def timed(search: Callable[..., Any], scenario: object) -> tuple[Any, float]:
    begun = clock()
    result = search(scenario)
    return result, clock() - begun


def main() -> int:
    sys.path.insert(0, str(TESTS))
    import planted  # type: ignore[import-not-found]
    from planted.finding import by_drawing, by_exploring  # type: ignore[import-not-found]

    from supervisor.testing import explore

    explore(planted.load(planted.NAMES[0]).right)
    head = ["planted bug", "found as", "explore", "runs", "schedules()", "runs", "twin", "runs"]
    lines, slowest, missed = [head], 0.0, 0
    for name in planted.NAMES:
        module = planted.load(name)
        explored, exploring = timed(by_exploring, module.broken)
        drawn, drawing = timed(by_drawing, module.broken)
        done, exhausting = timed(explore, module.right)
        slowest = max(slowest, exploring, drawing, exhausting)
        missed += (explored is None) + (drawn is None) + (not done.exhausted)
        lines.append([name, str(explored.schedule) if explored else "-"])
        for found, seconds in ((explored, exploring), (drawn, drawing), (done, exhausting)):
            lines[-1] += [quantity(seconds, "s"), str(found.runs) if found else "missed"]
    print_table(lines)
    print(f"the slowest took {quantity(slowest, 's')}; each may take {quantity(LIMIT, 's')}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
