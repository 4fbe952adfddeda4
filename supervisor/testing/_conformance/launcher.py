"""The suite for launchers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...abc import Launcher
from .launcher_attempts import ATTEMPT_RULES
from .launcher_bench import NOT_GIVEN, LauncherBench, LauncherWorks
from .launcher_stops import STOP_RULES
from .making import Maker, refuse_inside_trio
from .report import ConformanceReport
from .running import Suite, check_patience

__all__ = ["LauncherWorks", "check_launcher"]

LAUNCHER_RULES = (*ATTEMPT_RULES, *STOP_RULES)


def check_launcher(
    make: Callable[[], Launcher], *, works: LauncherWorks, patience: float = 30.0
) -> ConformanceReport:
    """Check that a launcher keeps the rules of `supervisor.abc.Launcher` and `RunningJob`.

    For whoever writes a launcher: a job is called gone when its launcher says so, and a cancel is
    only as good as the launcher's. The works are really run, in real time. Each rule is checked
    with a launcher of its own, in a Trio run and a thread of its own; one that hangs is told, not
    waited for. All rules are checked, and all that are broken are told together.

    Args:
        make: called without arguments for a fresh launcher, which this function opens.
        works: works for it to run. Rules about works that are not given are skipped.
        patience: seconds that one rule may take.

    Returns:
        The rules that were checked, and those that could not be.

    Raises:
        NotConforming: rules are broken.
        InsideTrio: it was called inside a Trio run.
        TypeError, ValueError: `make` or an option cannot be used; the message says why.
    """
    refuse_inside_trio("check_launcher")
    check_patience(patience)
    _check_works(works)
    maker: Maker[Launcher] = Maker(make, Launcher)  # type: ignore[type-abstract]
    bench = partial(LauncherBench, works)
    return Suite(maker, bench, "supervisor.abc.Launcher", patience).run(LAUNCHER_RULES)


def _check_works(works: object) -> None:
    if not isinstance(works, LauncherWorks):
        raise TypeError(f"works is a LauncherWorks(returns=..., sleeps=..., ...), not {works!r}")
    if not works.given():
        raise ValueError("works holds nothing to run; give at least `returns` and `sleeps`")
    if works.alive is not NOT_GIVEN and not callable(works.alive):
        raise TypeError(f"works.alive is a function of a work, not {works.alive!r}")
