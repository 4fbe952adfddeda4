"""The race kit: find, shrink and replay bad orderings, of any Trio code.

    from supervisor.testing import explore

    def test_cache() -> None:
        explore(two_readers_refill_once)

Nothing here is imported unless it is used: `schedules`, `histories` and `JobMachine` need
Hypothesis (`pip install trio-supervisor[testing]`), the rest needs nothing more than the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._schedules.explore import explore as explore
    from ._schedules.points import BadOrder as BadOrder
    from ._schedules.points import explore_points as explore_points
    from ._schedules.points import point as point
    from ._schedules.races import Explored as Explored
    from ._schedules.races import RaceFound as RaceFound
    from ._schedules.schedule import Schedule as Schedule
    from ._schedules.schedule import replay as replay
    from ._schedules.strategies import schedules as schedules

_HOME = {
    "BadOrder": "_schedules.points",
    "explore": "_schedules.explore",
    "explore_points": "_schedules.points",
    "point": "_schedules.points",
    "Explored": "_schedules.races",
    "RaceFound": "_schedules.races",
    "Schedule": "_schedules.schedule",
    "replay": "_schedules.schedule",
    "schedules": "_schedules.strategies",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "hypothesis":
            raise
        raise ModuleNotFoundError(
            f"supervisor.testing.{name} needs Hypothesis: pip install 'trio-supervisor[testing]'",
            name=exc.name,
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
