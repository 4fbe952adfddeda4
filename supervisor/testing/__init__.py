"""The race kit: find, shrink and replay bad orderings, of any Trio code.

    from supervisor.testing import explore

    def test_cache() -> None:
        explore(two_readers_refill_once)

Nothing here is imported unless it is used: `schedules`, `histories` and `JobMachine` need
Hypothesis (`pip install trio-supervisor[testing]`), the rest needs nothing more than the package.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._cancelling import CancellationUnsafe as CancellationUnsafe
    from ._cancelling import CancelledAt as CancelledAt
    from ._cancelling import CancelledEverywhere as CancelledEverywhere
    from ._cancelling import NothingToCancel as NothingToCancel
    from ._cancelling import TooManyCheckpoints as TooManyCheckpoints
    from ._cancelling import cancel_everywhere as cancel_everywhere
    from ._conformance import ConformanceReport as ConformanceReport
    from ._conformance import LauncherWorks as LauncherWorks
    from ._conformance import NotConforming as NotConforming
    from ._conformance import check_launcher as check_launcher
    from ._conformance import check_store as check_store
    from ._histories.broken import HistoryBroken as HistoryBroken
    from ._histories.check import Played as Played
    from ._histories.check import check_history as check_history
    from ._histories.commands import History as History
    from ._histories.draw import histories as histories
    from ._histories.machine import JobMachine as JobMachine
    from ._linear import UNANSWERED as UNANSWERED
    from ._linear import Model as Model
    from ._linear import NotLinearizable as NotLinearizable
    from ._linear import Operation as Operation
    from ._linear import SearchTooLong as SearchTooLong
    from ._linear import check_linearizable as check_linearizable
    from ._schedules.explore import explore as explore
    from ._schedules.points import BadOrder as BadOrder
    from ._schedules.points import explore_points as explore_points
    from ._schedules.points import point as point
    from ._schedules.races import Explored as Explored
    from ._schedules.races import RaceFound as RaceFound
    from ._schedules.schedule import Schedule as Schedule
    from ._schedules.schedule import replay as replay
    from ._schedules.strategies import schedules as schedules
    from ._stub import Fails as Fails
    from ._stub import Hangs as Hangs
    from ._stub import NotScripted as NotScripted
    from ._stub import StubControl as StubControl
    from ._stub import StubJob as StubJob
    from ._stub import Succeeds as Succeeds
    from ._stub import stub_job as stub_job

_NAMES = {
    "_cancelling": "CancellationUnsafe CancelledAt CancelledEverywhere NothingToCancel "
    "TooManyCheckpoints cancel_everywhere",
    "_conformance": "ConformanceReport LauncherWorks NotConforming check_launcher check_store",
    "_histories.broken": "HistoryBroken",
    "_histories.check": "Played check_history",
    "_histories.commands": "History",
    "_histories.draw": "histories",
    "_histories.machine": "JobMachine",
    "_linear": "Model NotLinearizable Operation SearchTooLong UNANSWERED check_linearizable",
    "_schedules.explore": "explore",
    "_schedules.points": "BadOrder explore_points point",
    "_schedules.races": "Explored RaceFound",
    "_schedules.schedule": "Schedule replay",
    "_schedules.strategies": "schedules",
    "_stub": "Fails Hangs NotScripted StubControl StubJob Succeeds stub_job",
}
"""Where each public name lives; a test holds this and the imports above equal."""

_HOME = {name: home for home, names in _NAMES.items() for name in names.split()}

_DRAWING = ("JobMachine", "histories", "schedules")

# Without Hypothesis, `help` and `import *` would fail at these.
__all__ = sorted(set(_HOME) if find_spec("hypothesis") else set(_HOME).difference(_DRAWING))


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
    return sorted({*globals(), *__all__})
