"""The pytest plugin of the race kit, as pytest finds it: does nothing unless a test asks for it.

pytest loads this module in every run wherever the package is installed. So it imports nothing but
pytest; what a mark or fixture needs, Trio included, is imported when the first test asks for it.

The entry point has the name of this module: `-p` with that name, too, loads it once, not twice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from supervisor.testing._plugin import Race, Watch

RACE: pytest.StashKey[Race] = pytest.StashKey()
WATCH: pytest.StashKey[Watch] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--race-replay`."""
    parser.getgroup("race", "race kit of trio-supervisor").addoption(
        "--race-replay",
        metavar="TEXT",
        help="run the selected @pytest.mark.race test under this one schedule, as the failure "
        "printed it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark is known, also with --strict-markers."""
    config.addinivalue_line(
        "markers",
        "race(*, preemptions=2, max_runs=20000, workers=None, ...): run this async test under "
        "every schedule of its tasks up to a bound; the options are those of "
        "supervisor.testing.explore.",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """One schedule can be replayed by one test."""
    if session.config.getoption("race_replay") is not None:
        selected = [item for item in session.items if item.get_closest_marker("race")]
        if len(selected) != 1:
            raise pytest.UsageError(
                "--race-replay runs one schedule of one test; there are "
                f"{len(selected)} tests with @pytest.mark.race selected: name the one that failed"
            )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a wrong use of the mark before any fixture is set up."""
    if item.get_closest_marker("race"):
        from supervisor.testing import _plugin

        item.stash[RACE] = _plugin.prepare(item, item.config.getoption("race_replay"))


@pytest.hookimpl(wrapper=True, trylast=True)  # the innermost: after other plugins took the test
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Explore in the place of the test, and look what the test has left."""
    __tracebackhide__ = True
    race, watch = item.stash.get(RACE, None), item.stash.get(WATCH, None)
    if watch is not None:
        watch.begin()
    if race is None:
        yield
    else:
        with race.in_place_of_the_test():
            yield
    if watch is not None:
        watch.check()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The story of a race instead of a traceback."""
    report = yield
    race = item.stash.get(RACE, None)
    if race is not None and call.excinfo is not None:
        race.tell(report, call.excinfo)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Searches that ended at `max_runs` and found nothing; with -v the others too."""
    lines = [
        f"{report.nodeid}: {told}"
        for report in terminalreporter.stats.get("passed", ())
        for name, told in getattr(report, "user_properties", ())
        if name == "race.explored"
        and ("not all" in told or terminalreporter.config.option.verbose > 0)
    ]
    if lines:
        terminalreporter.section("explored schedules")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def no_orphans(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves tasks, threads or processes behind.

    What the test itself leaves is its failure; what fixtures leave that were set up after this one
    is an error of the teardown. What was there before is nobody's.
    """
    from supervisor.testing import _plugin

    watch = request.node.stash[WATCH] = _plugin.Watch(request.node.name)
    yield
    watch.check_fixtures()
