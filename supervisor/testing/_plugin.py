"""What the pytest plugin does once a test asks for it.

`_trio_supervisor_pytest`, which pytest loads, only calls this.
"""

from __future__ import annotations

import difflib
import gc
import inspect
import os
import shlex
import unittest
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import pytest
import trio

from ._cancelling.leaks import Leak, Snapshot, left_since, snapshot
from ._schedules.explore import MAX_STEPS, explore
from ._schedules.races import RaceFound
from ._schedules.schedule import replay
from ._schedules.where import where
from .errors import KitError

__all__ = ["Race", "Watch", "prepare"]

OPTIONS = tuple(
    name
    for name, parameter in inspect.signature(explore).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)
"""What the mark takes: all but the scenario."""

LINES_SHOWN = 50
"""Lines that are shown of what the runs of a search have printed."""


# --- @pytest.mark.race ----------------------------------------------------------------------------


class Race:
    """A test that is explored instead of being run once.

    Args:
        item: the test.
        options: for `explore`.
        replay_text: the one schedule to run instead.
    """

    def __init__(
        self, item: pytest.Function, options: dict[str, Any], replay_text: str | None
    ) -> None:
        self._item = item
        self._test: Callable[..., Awaitable[Any]] = item.obj
        self._options = options
        self._replay_text = replay_text

    @contextmanager
    def in_place_of_the_test(self) -> Iterator[None]:
        """Whoever runs the test meanwhile runs the search."""
        self._item.obj = self._explore
        try:
            yield
        finally:
            self._item.obj = self._test  # not what another plugin put there: it may be run again

    def _explore(self, **arguments: Any) -> None:
        for name, value in arguments.items():
            if isinstance(value, trio.abc.Clock):
                _refuse(
                    self._item,
                    f"it asks for the clock {name!r}; leave that out: each schedule runs on a "
                    "clock of its own, which jumps when every task waits",
                )
        scenario = partial(self._test, **arguments) if arguments else self._test
        if self._replay_text is not None:
            steps = self._options.get("max_steps", MAX_STEPS)
            replay(self._replay_text, scenario, max_steps=steps)
        else:
            explored = explore(scenario, **self._options)
            self._item.user_properties.append(("race.explored", str(explored)))

    def tell(self, report: pytest.TestReport, error: pytest.ExceptionInfo[BaseException]) -> None:
        """Make the report of a failure tell the story, which says more than the traceback."""
        if self._item.config.getoption("fulltrace"):
            return
        if isinstance(error.value, RaceFound | KitError):
            told = error.getrepr(style="value", chain=False)
            if told.reprcrash is not None:  # the line of the summary, without our module's name
                told.reprcrash.message = f"{type(error.value).__name__}: {error.value}"
            report.longrepr = told
        if isinstance(error.value, RaceFound):
            report.sections = [_end_of(*section) for section in report.sections]
            command = _command(self._item, str(error.value.schedule))
            report.sections.append(("run this schedule again", command))


def _command(item: pytest.Item, replay_text: str) -> str:
    """Runs one schedule of one test; to be pasted where this pytest was called."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    name = item.nodeid.partition("::")[2]
    return f"pytest {shlex.quote(f'{path}::{name}')} --race-replay {shlex.quote(replay_text)}"


def _end_of(title: str, text: str) -> tuple[str, str]:
    """Of what very many runs have printed the end, which is from the schedule that is told."""
    lines = text.splitlines(keepends=True)
    if not title.startswith("Captured ") or len(lines) <= LINES_SHOWN:
        return title, text
    return f"{title}, the last {LINES_SHOWN} lines", "".join(lines[-LINES_SHOWN:])


def prepare(item: pytest.Item, replay_text: str | None) -> Race:
    """Check that a test can be explored; fails it, saying what to do, if it cannot."""
    options = _options_of(item)
    if not isinstance(item, pytest.Function) or _is_unittest(item):
        _refuse(item, "the mark is for test functions, and for methods of plain classes")
    test = item.obj
    if hasattr(test, "hypothesis") or getattr(test, "is_hypothesis_test", False):
        _refuse(
            item,
            "it is a Hypothesis test too; draw the schedule there: @given(schedules()) on a "
            "plain function that calls schedule.run(...)",
        )
    if inspect.isasyncgenfunction(test):
        _refuse(item, "it has a `yield`, and a test is an async function without one")
    if not inspect.iscoroutinefunction(test):
        _refuse(item, "it is not async; only what awaits has schedules: write `async def`")
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        if _needs_a_loop(definitions[-1].func):
            _refuse(
                item,
                f"its fixture {name!r} is async; fixtures are set up once, outside of the runs, "
                "and each schedule is a run of its own: make it an async context manager that "
                "the test enters",
            )
    return Race(item, options, replay_text)


def _options_of(item: pytest.Item) -> dict[str, Any]:
    """The options of all marks of a test; those on the function go before those on its class."""
    options: dict[str, Any] = {}
    for mark in item.iter_markers("race"):
        if mark.args:
            _refuse(item, f"options are given by name, such as preemptions=3, not as {mark.args}")
        for name, value in mark.kwargs.items():
            if name not in OPTIONS:
                like = difflib.get_close_matches(name, OPTIONS, 1)
                hint = f"did you mean {like[0]!r}? " if like else ""
                listed = ", ".join(OPTIONS)
                _refuse(item, f"there is no option {name!r}; {hint}There are {listed}")
            options.setdefault(name, value)
    return options


def _is_unittest(item: pytest.Function) -> bool:
    cls: object = item.cls
    return isinstance(cls, type) and issubclass(cls, unittest.TestCase)


def _needs_a_loop(function: Callable[..., Any]) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or getattr(function, "_force_trio_fixture", False)  # those of pytest-trio itself
    )


def _refuse(item: pytest.Item, why: str) -> NoReturn:
    pytest.fail(f"{item.name} cannot be run with @pytest.mark.race: {why}", pytrace=False)


# --- no_orphans -----------------------------------------------------------------------------------


class Watch:
    """Looks what a test leaves behind.

    Args:
        name: of the test.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._before_fixtures = Look()
        self._before = self._before_fixtures
        self._told = False

    def begin(self) -> None:
        """All fixtures are set up; what they have started is not the test's."""
        self._before = Look()

    def check(self) -> None:
        """Fail if the test has left something."""
        self._fail(self._before, "End, or wait for, everything that the test starts.")

    def check_fixtures(self) -> None:
        """Fail if something is left after the teardown of the fixtures that came later."""
        if not self._told:
            self._fail(self._before_fixtures, "It, or a fixture of it, started that.")

    def _fail(self, before: Look, advice: str) -> None:
        left = before.left()
        if left:
            self._told = True
            listed = "\n".join(f"  {leak}" for leak in left)
            pytest.fail(f"{self._name} leaves behind:\n{listed}\n{advice}", pytrace=False)


class Look:
    """What there is at one moment.

    Of Trio's tasks a `trio.run` leaves none. There are some after a test if a run goes on: in
    another thread, or as a guest of another loop.
    """

    def __init__(self) -> None:
        self._things: Snapshot = snapshot(descriptors=False)
        self._tasks = _tasks()

    def left(self) -> tuple[Leak, ...]:
        """What is there now, and was not there then."""
        things = left_since(self._things)
        if not _tasks() - self._tasks:
            return things
        gc.collect()  # a run that was dropped is no longer going on
        left = _tasks() - self._tasks
        return (*sorted((_told(task) for task in left), key=str), *things)


def _tasks() -> set[trio.lowlevel.Task]:
    """All tasks that have not ended; Trio itself can list only those of the present run."""
    return {
        thing
        for thing in gc.get_objects()
        if type(thing) is trio.lowlevel.Task and getattr(thing.coro, "cr_frame", None) is not None
    }


def _told(task: trio.lowlevel.Task) -> Leak:
    place = where(task)
    return Leak("task", f"{task.name!r}{f' at {place}' if place else ''}")
