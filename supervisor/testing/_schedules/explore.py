"""`explore`: run a scenario under every schedule up to a bound, and tell the first that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NoReturn

from ..errors import BadOption, Deadlock, NeverEnds, NotDeterministic
from .choosing import ByDeviations, Deviations, Recorder
from .priorities import ByPriorities, guarantee
from .progress import Progress, open_progress
from .races import Explored, RaceFound
from .run import Ran, Scenario, attempt, session
from .running import ADVICE, fails, run_here
from .scenario import check_scenario, identity_of, name_of
from .schedule import Schedule
from .search import Answer, Child, search
from .shrink import shrink
from .telling import said, told
from .where import origin
from .workers import open_workers

MAX_RUNS = 20_000
MAX_STEPS = 20_000
SHRINK_RUNS = 500


def explore(
    async_fn: Scenario,
    *args: object,
    preemptions: int = 2,
    max_runs: int = MAX_RUNS,
    max_steps: int = MAX_STEPS,
    workers: int | None = None,
    search: str = "bounded",
    depth: int = 3,
    seed: int = 0,
    progress: bool | None = None,
) -> Explored:
    """Run a scenario under every schedule with up to `preemptions` preemptions.

    A plain function, to be called from a sync test; each run is a `trio.run` of its own, on a clock
    that jumps. The scenario must make everything anew that it changes, since it is run many times,
    and it checks with `assert`, or fails in any other way.

    Args:
        async_fn: the scenario, an async function.
        args: its arguments, the same ones in every run.
        preemptions: the bound; few suffice for most bugs, and each multiplies the runs.
        max_runs: the most schedules to run.
        max_steps: the most steps that one run may take.
        workers: over so many processes; the scenario must then be importable (picklable).
        search: "bounded" runs every schedule up to the bound, fewest preemptions first;
            "priorities" runs `max_runs` random ones, for bugs that lie deeper.
        depth: for "priorities", how many ordering constraints a bug is thought to have.
        seed: for "priorities", what the random numbers begin with.
        progress: whether to show on stderr how far it is; None: if that is a terminal.

    Returns:
        What was covered; `.exhausted` says whether that was everything within the bound.

    Raises:
        RaceFound: the scenario fails under some schedule; it has the smallest one found.
        BadScenario: this is no async function that takes these arguments.
        BadOption: an option has a value that it cannot have.
        KitError: the scenario cannot be driven (see `supervisor.testing.errors`).
    """
    __tracebackhide__ = True  # what follows is the kit's; the message has the scenario's lines
    check_scenario(async_fn, args, who="explore")
    _check_options(preemptions, max_runs, max_steps, workers, search, depth)
    began = time.monotonic()
    with session(), open_progress(name_of(async_fn), max_runs, progress) as shown:
        found = _Explorer(async_fn, args, max_steps, shown)
        if search == "priorities":
            runs, points = found.at_random(max_runs, depth, seed)
            least = guarantee(found.tasks, points, depth)
            return Explored(
                runs=runs,
                exhausted=False,
                preemptions=preemptions,
                choice_points=points,
                seconds=time.monotonic() - began,
                guarantee=least,
            )
        return found.bounded(preemptions, max_runs, workers, began)


def _check_options(
    preemptions: int, max_runs: int, max_steps: int, workers: int | None, search: str, depth: int
) -> None:
    for name, value, least in (
        ("preemptions", preemptions, 0),
        ("max_runs", max_runs, 1),
        ("max_steps", max_steps, 1),
        ("workers", 1 if workers is None else workers, 1),
        ("depth", depth, 1),
    ):
        if type(value) is not int or value < least:
            raise BadOption(f"{name} must be a whole number from {least} on, not {value!r}")
    if search not in ("bounded", "priorities"):
        raise BadOption(f'search must be "bounded" or "priorities", not {search!r}')
    if search == "priorities" and workers is not None:
        raise BadOption('workers go with search="bounded"; run other seeds side by side instead')


class _Explorer:
    """The runs of one search."""

    def __init__(
        self, async_fn: Scenario, args: Sequence[object], max_steps: int, shown: Progress
    ) -> None:
        self.tasks = 1
        self._async_fn = async_fn
        self._args = args
        self._max_steps = max_steps
        self._shown = shown

    def bounded(
        self, preemptions: int, max_runs: int, workers: int | None, began: float
    ) -> Explored:
        __tracebackhide__ = True
        pool: AbstractContextManager[Callable[[Iterable[Child]], Iterator[Answer]]]
        if workers is None or workers == 1:
            pool = nullcontext(partial(run_here, self._async_fn, self._args, self._max_steps))
        else:
            pool = open_workers(self._async_fn, self._args, self._max_steps, workers)
        with pool as run_all:
            found = search(
                run_all, preemptions=preemptions, max_runs=max_runs, on_run=self._shown.ran
            )
        if found.failing is not None:
            self._report(found.failing, found.runs)
        return Explored(
            runs=found.runs,
            exhausted=found.exhausted,
            preemptions=preemptions,
            choice_points=found.longest,
            seconds=time.monotonic() - began,
        )

    def at_random(self, max_runs: int, depth: int, seed: int) -> tuple[int, int]:
        """Runs and choice points; the first run is the plain one, which shows their number."""
        plain = self._attempt(())
        if fails(plain):
            self._report((), 1)
        longest = len(plain.options)
        self.tasks = max(plain.options, default=1)
        for number in range(1, max_runs):
            recorder = Recorder(ByPriorities(f"{seed}/{number}", depth, longest))
            ran = attempt(self._async_fn, self._args, recorder, max_steps=self._max_steps)
            self._shown.ran(number + 1, len(recorder.deviations))
            if fails(ran):
                small = shrink(recorder.deviations, self._still_fails, SHRINK_RUNS)
                self._report(small, number + 1)
            longest = max(longest, len(ran.options))
            self.tasks = max(self.tasks, *ran.options, 1)
        return max_runs, longest

    def _still_fails(self, deviations: Deviations) -> bool:
        return fails(self._attempt(deviations))

    def _attempt(self, deviations: Deviations) -> Ran:
        return attempt(
            self._async_fn, self._args, ByDeviations(deviations), max_steps=self._max_steps
        )

    def _report(self, deviations: Deviations, runs: int) -> NoReturn:
        __tracebackhide__ = True
        error = self._attempt(deviations).error
        name = name_of(self._async_fn)
        schedule = Schedule(deviations, identity_of(self._async_fn))
        if error is None:
            raise NotDeterministic(
                f"{name} failed under '{schedule}', but not when that was run again: {ADVICE}"
            )
        if deviations and fails(self._attempt(())):
            raise NotDeterministic(
                f"{name} fails now in the plainest order too, in which it did not fail before: "
                f"{ADVICE}"
            ) from error
        story = told(self._async_fn, self._args, deviations, str(schedule), self._max_steps)
        message = f"{_headline(name, schedule, error, runs)}\n{story}"
        raise RaceFound(message, schedule, story, runs) from error


def _headline(name: str, schedule: Schedule, error: BaseException, runs: int) -> str:
    match error:
        case Deadlock():
            what = "deadlocks"
        case NeverEnds():
            what = "does not end"
        case _:
            place = origin(error)
            what = f"fails: {said(error)}"
            what += f" ({place})" if place else ""
    count = schedule.preemptions
    if not count:
        under = "in the plainest order already: an ordinary run can fail like this"
    else:
        under = f"with {count} preemption{'s' * (count != 1)}"
    details = f"\n{error}" if isinstance(error, Deadlock | NeverEnds) else ""
    return f"{name} {what}\n{under}; found in {runs} run{'s' * (runs != 1)}{details}"
