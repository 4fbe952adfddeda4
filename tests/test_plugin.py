"""The pytest plugin, used as its users do: files of tests, run by pytest."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest

from supervisor.testing import _plugin

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "_trio_supervisor_pytest"

MODES = {
    "pytest-trio": [],
    "trio_mode": ["-o", "trio_mode=true"],
    "alone": ["-p", "no:trio"],
}

CACHE = """
    import pytest, trio

    class Cache:
        def __init__(self):
            self.value, self.loads = None, 0

        async def get(self):
            if self.value is None:
                await trio.lowlevel.checkpoint()
                self.loads += 1
                self.value = 1

    async def both(function):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)
            nursery.start_soon(function)
"""

Tests = Callable[..., pytest.RunResult]


@pytest.fixture
def tests(pytester: pytest.Pytester) -> Tests:
    """`tests(source, *options)` runs a file of tests, with the plugin, in this process."""

    def run(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=dedent(CACHE) + dedent(source))
        return pytester.runpytest_inprocess("-p", PLUGIN, "--strict-markers", *options)

    return run


def of_test(result: pytest.RunResult, name: str) -> str:
    """What is told of one test that did not pass."""
    text = result.stdout.str()
    match = re.search(rf"^_+ .*{re.escape(name)} _+\n(.*?)^[_=]{{3,}}", text, re.M | re.S)
    assert match, text
    return match[1]


# --- @pytest.mark.race ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_the_mark_explores(tests: Tests, mode: str) -> None:
    result = tests(
        """
        runs = []

        @pytest.mark.race
        async def test_found():
            cache = Cache()
            await both(cache.get)
            assert cache.loads == 1

        @pytest.mark.race
        async def test_none():
            runs.append(1)
            await both(trio.lowlevel.checkpoint)

        def test_that_it_was_run_more_than_once():
            assert len(runs) >= 5

        @pytest.mark.race
        async def test_deadlock():
            await trio.sleep_forever()

        @pytest.mark.race
        async def test_skipped():
            pytest.skip("not here")

        @pytest.mark.race
        @pytest.mark.xfail(reason="known", strict=True)
        async def test_known():
            cache = Cache()
            await both(cache.get)
            assert cache.loads == 1
        """,
        *MODES[mode],
    )
    result.assert_outcomes(passed=2, failed=2, skipped=1, xfailed=1)
    story = of_test(result, "test_found")
    assert story.startswith("test_found fails: AssertionError: assert 2 == 1")
    assert re.search(r"get was put off at test_it.py:\d+ in get; get#2 went on", story)
    assert "Traceback" not in story
    assert len(story.splitlines()) < 30
    assert of_test(result, "test_deadlock").startswith("test_deadlock deadlocks")
    result.stdout.fnmatch_lines("FAILED test_it.py::test_found - RaceFound: test_found fails*")


@pytest.mark.parametrize("mode", MODES)
def test_fixtures_parameters_and_methods_work(tests: Tests, mode: str) -> None:
    result = tests(
        """
        @pytest.fixture
        def two():
            return 2

        @pytest.fixture(params=[3, 4])
        def number(request, two):
            yield request.param + two

        @pytest.mark.race(preemptions=1)
        @pytest.mark.parametrize("limit", [6, 7])
        async def test_function(number, limit, tmp_path):
            await both(trio.lowlevel.checkpoint)
            assert tmp_path.exists()
            assert number < limit

        class Base:
            @pytest.mark.race(preemptions=1)
            async def test_method(self, two):
                await both(trio.lowlevel.checkpoint)
                assert (self.set_up, two) == ("yes", 2)

        @pytest.mark.race(max_runs=1, preemptions=2)
        class TestOne(Base):
            def setup_method(self):
                self.set_up = "yes"

        class TestTwo(Base):
            set_up = "no"
        """,
        "-v",
        *MODES[mode],
    )
    result.assert_outcomes(passed=4, failed=2)
    told = result.stdout.str()
    assert "FAILED test_it.py::test_function[4-6] - RaceFound" in told
    assert "FAILED test_it.py::TestTwo::test_method - RaceFound: Base.test_method" in told
    (one,) = re.findall(r"^test_it.py::TestOne::test_method: .*", told, re.M)
    assert "1 runs (not all schedules with up to 1 preemption;" in one  # both marks count


@pytest.mark.parametrize("mode", ["trio_mode", "alone"])
def test_a_wrong_use_is_told_before_any_fixture_is_set_up(tests: Tests, mode: str) -> None:
    result = tests(
        """
        import unittest
        from hypothesis import given, strategies as st

        @pytest.fixture
        def never():
            raise AssertionError("was set up")

        @pytest.fixture
        async def loop_needed():
            yield 1

        @pytest.fixture
        def builds_on_it(loop_needed):
            return loop_needed

        @pytest.mark.race
        def test_sync(never): pass

        @pytest.mark.race
        async def test_generator(never): yield

        @pytest.mark.race(preemption=1)
        async def test_option(never): pass

        @pytest.mark.race(args=(1,))
        async def test_args(): pass

        @pytest.mark.race(3)
        async def test_position(never): pass

        @pytest.mark.race
        async def test_async_fixture(never, builds_on_it): pass

        @pytest.mark.race
        @given(st.integers())
        async def test_given(number): pass

        class TestCase(unittest.IsolatedAsyncioTestCase):
            @pytest.mark.race
            async def test_unittest(self): pass
        """,
        *MODES[mode],
    )
    result.assert_outcomes(errors=8)
    says = {
        "test_sync": "it is not async",
        "test_generator": "it has a `yield`",
        "test_option": "there is no option 'preemption'; did you mean 'preemptions'?",
        "test_args": "there is no option 'args'",
        "test_position": "options are given by name, such as preemptions=3, not as (3,)",
        "test_async_fixture": "its fixture 'loop_needed' is async",
        "test_given": "it is a Hypothesis test too; draw the schedule there",
        "test_unittest": "the mark is for test functions",
    }
    for name, reason in says.items():
        told = of_test(result, name)
        assert told.startswith(f"{name} cannot be run with @pytest.mark.race: ")
        assert reason in told
        assert len(told.splitlines()) == 1


def test_what_only_the_run_shows_is_told_in_a_line(tests: Tests) -> None:
    result = tests(
        """
        @pytest.mark.race(preemptions=-1)
        async def test_value(): pass

        @pytest.mark.race
        async def test_clock(autojump_clock): pass

        @pytest.mark.race
        async def test_nursery(nursery): pass

        @pytest.mark.race
        async def test_thread():
            await trio.to_thread.run_sync(len, "")
        """
    )
    result.assert_outcomes(failed=3, errors=1)
    assert "preemptions must be a whole number from 0 on, not -1" in of_test(result, "test_value")
    assert "asks for the clock 'autojump_clock'; leave" in of_test(result, "test_clock")
    assert "its fixture 'nursery' is async" in of_test(result, "test_nursery")
    assert "waits for a thread" in of_test(result, "test_thread")
    for name in ("test_value", "test_clock", "test_nursery", "test_thread"):
        assert len(of_test(result, name).splitlines()) == 1


def test_other_plugins_keep_their_tests_and_ours_its(
    tests: Tests, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        import inspect
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):  # as other plugins for async tests do
            if pyfuncitem.get_closest_marker("other"):
                if inspect.iscoroutinefunction(pyfuncitem.obj):
                    pyfuncitem.obj().close()
                    pytest.fail("taken by the other plugin")

        @pytest.fixture(autouse=True)
        def sees_the_test_as_it_is(request):
            yield
            if request.node.get_closest_marker("race"):
                assert inspect.iscoroutinefunction(request.node.obj)
        """
    )
    result = tests(
        """
        @pytest.mark.race
        @pytest.mark.other
        async def test_race(): pass

        @pytest.mark.race
        @pytest.mark.trio
        async def test_race_too(): pass

        @pytest.mark.other
        async def test_other(): pass

        @pytest.fixture
        async def value():
            return 3

        @pytest.mark.trio
        async def test_trio(value, nursery, autojump_clock):
            nursery.start_soon(trio.sleep, 1000)
            await trio.sleep(100)
            assert value == 3
        """,
        "-o",
        "markers=other",
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines("FAILED test_it.py::test_other - Failed: taken by the other plugin")


def test_the_search_takes_the_place_of_what_any_other_plugin_put_there(
    pytester: pytest.Pytester,
) -> None:
    """Plugins that are loaded earlier are further inside, if nothing else is said."""
    pytester.makepyfile(
        early="""
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_call(item):
            item.obj = lambda: pytest.fail("run by another plugin")
            return (yield)
        """,
        test_it="""
        import pytest

        @pytest.mark.race
        async def test_race(): pass

        async def test_other(): pass
        """,
    )
    pytester.syspathinsert()
    result = pytester.runpytest_inprocess("-p", "early", "-p", PLUGIN)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("FAILED test_it.py::test_other - Failed: run by another plugin")


def test_the_mark_spreads_over_processes(tests: Tests) -> None:
    result = tests(
        """
        @pytest.mark.race(workers=2)
        @pytest.mark.parametrize("loads", [1])
        async def test_found(loads):
            cache = Cache()
            await both(cache.get)
            assert cache.loads == loads
        """
    )
    result.assert_outcomes(failed=1)
    assert "get was put off at test_it.py" in of_test(result, "test_found[1]")


def test_searches_that_were_cut_short_are_named(tests: Tests) -> None:
    source = """
        @pytest.mark.race(max_runs=2)
        async def test_short():
            await both(trio.lowlevel.checkpoint)

        @pytest.mark.race
        async def test_whole():
            await both(trio.lowlevel.checkpoint)
        """
    told = tests(source).stdout.str()
    assert "test_it.py::test_short: 2 runs (not all schedules with up to 2 preemptions" in told
    assert "test_it.py::test_whole" not in told
    assert "test_it.py::test_whole: " in tests(source, "-v").stdout.str()
    assert "explored schedules" not in tests("def test_other(): pass", "-v").stdout.str()


def test_of_what_many_runs_print_the_end_is_shown(tests: Tests) -> None:
    result = tests(
        """
        @pytest.mark.race
        async def test_found():
            cache = Cache()
            for number in range(30):
                print("line", number)
            await both(cache.get)
            assert cache.loads == 1
        """
    )
    told = of_test(result, "test_found")
    assert "Captured stdout call, the last 50 lines" in told
    assert told.count("line 29\n") == 2


def test_the_whole_traceback_can_be_had(tests: Tests) -> None:
    result = tests(
        """
        @pytest.mark.race
        async def test_deadlock():
            await trio.sleep_forever()
        """,
        "--full-trace",
    )
    assert "def explore(" in result.stdout.str()


# --- --race-replay --------------------------------------------------------------------------------

RACY = """
    @pytest.mark.race
    @pytest.mark.parametrize("loads", [1, 2])
    async def test_found(loads):
        print("a run")
        cache = Cache()
        await both(cache.get)
        assert cache.loads == loads

    @pytest.mark.race
    async def test_other(): pass

    def test_plain(): pass
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_prints_the_command_that_repeats_it(
    tests: Tests, pytester: pytest.Pytester, mode: str
) -> None:
    found = of_test(tests(RACY, *MODES[mode]), "test_found[1]")
    command = re.search(r"^pytest (.*--race-replay.*)$", found, re.M)
    assert command, found
    arguments = shlex.split(command[1])
    again = pytester.runpytest_inprocess("-p", PLUGIN, *MODES[mode], *arguments)
    again.assert_outcomes(failed=1)
    told = of_test(again, "test_found[1]")
    assert ">       assert cache.loads == loads" in told  # where it is, as of any other test
    assert "get was put off at" in told


def test_a_replay_has_the_bound_of_the_mark(tests: Tests) -> None:
    result = tests(
        """
        @pytest.mark.race(max_steps=50)
        async def test_long():
            for _ in range(100):
                await trio.lowlevel.checkpoint()
        """,
        "--race-replay",
        "race1 test_it.test_long",
    )
    assert "NeverEnds" in result.stdout.str()
    result.assert_outcomes(failed=1)


def test_a_replay_is_of_one_test(tests: Tests) -> None:
    result = tests(RACY, "--race-replay", "race1 test_it.test_found 1+1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*there are 3 tests with @pytest.mark.race selected: name the one*")
    result = tests(RACY, "--race-replay", "race1 test_it.test_found 1+1", "-k", "plain")
    result.stderr.fnmatch_lines("*there are 0 tests with @pytest.mark.race selected*")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("race1 test_it.test_found 1+1", "is a schedule of test_it.test_found, not of"),
        ("race1 test_it.test_other 9+9", "does not fit test_it.test_other as it is now"),
        ("1+1", "'1+1' is no replay text"),
        ("", "'' is no replay text"),
    ],
)
def test_a_replay_of_something_else_is_refused(tests: Tests, text: str, says: str) -> None:
    result = tests(RACY, f"--race-replay={text}", "-k", "other")
    result.assert_outcomes(failed=1, deselected=3)
    told = of_test(result, "test_other")
    assert says in told
    assert len(told.splitlines()) == 1


# --- no_orphans -----------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that will not end are not waited for as long."""
    monkeypatch.setattr(_plugin, "left_since", partial(_plugin.left_since, patience=0.1))


@pytest.mark.usefixtures("impatient")
def test_orphans_fail_the_test_that_leaves_them(tests: Tests) -> None:
    result = tests(
        """
        import queue, subprocess, sys, threading

        go = threading.Event()

        def test_thread(no_orphans):
            threading.Thread(target=go.wait, name="worker", daemon=True).start()

        def test_process(no_orphans):
            global process
            process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

        ready, done = queue.SimpleQueue(), []

        def test_task(no_orphans):
            async def guest():
                global token
                token = trio.lowlevel.current_trio_token()
                with trio.CancelScope() as guest.scope:
                    await trio.sleep_forever()

            trio.lowlevel.start_guest_run(
                guest, run_sync_soon_threadsafe=ready.put, done_callback=done.append
            )
            while not hasattr(guest, "scope"):
                ready.get()()
            token.run_sync_soon(lambda: go.wait() and guest.scope.cancel())

        def test_what_was_there_before_is_nobodys(no_orphans): pass

        def test_all_of_it_ends(no_orphans):
            go.set()
            while not done:
                ready.get()()
            process.communicate(b"\\n")

        @pytest.mark.trio
        async def test_async(no_orphans, nursery):
            nursery.start_soon(trio.sleep_forever)
            await trio.to_thread.run_sync(len, "")

        @pytest.mark.race
        async def test_race(no_orphans):
            await both(trio.lowlevel.checkpoint)

        def test_failing(no_orphans):
            raise ValueError("its own")
        """
    )
    result.assert_outcomes(passed=4, failed=4)
    assert "leaves behind:\n  thread 'worker'\nEnd, or wait" in of_test(result, "test_thread")
    assert "leaves behind:\n  process " in of_test(result, "test_process")
    task = of_test(result, "test_task")
    assert re.search(r"\n  task '.*guest' at test_it.py:\d+ in guest\n", task), task
    assert "test_it.py:" in of_test(result, "test_failing")


@pytest.mark.usefixtures("impatient")
def test_what_fixtures_hold_is_not_the_tests(tests: Tests) -> None:
    result = tests(
        """
        import threading

        left = []

        def held(ends):
            go = threading.Event()
            thread = threading.Thread(target=go.wait, name="server", daemon=True)
            thread.start()
            yield
            if ends:
                go.set()
                thread.join()
            else:
                left.append(go)

        @pytest.fixture
        def server():
            yield from held(True)

        @pytest.fixture
        def leaky():
            yield from held(False)

        def test_before(server, no_orphans): pass
        def test_after(no_orphans, server): pass
        def test_leaky(no_orphans, leaky): pass
        def test_at_last(): left[0].set()
        """
    )
    result.assert_outcomes(passed=4, errors=1)
    told = of_test(result, "ERROR at teardown of test_leaky")
    assert "thread 'server'" in told
    assert "It, or a fixture of it, started that." in told


# --- the plugin itself ----------------------------------------------------------------------------


def test_the_entry_point_and_the_option_load_it_once(pytester: pytest.Pytester) -> None:
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    ((name, module),) = entry_points["pytest11"].items()
    assert (name, module) == (PLUGIN, PLUGIN)
    info = pytester.mkdir("installed") / "as_installed-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: as-installed\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")
    pytester.syspathinsert(info.parent)
    pytester.makepyfile("def test_uses_it(no_orphans): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-p", PLUGIN).assert_outcomes(passed=1)
    pytester.runpytest_inprocess("-p", f"no:{PLUGIN}").assert_outcomes(errors=1)


def test_the_mark_is_listed(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest_inprocess("-p", PLUGIN, "--markers").stdout.str()
    assert "@pytest.mark.race(*, preemptions=2, max_runs=20000" in told


def test_nothing_heavy_is_imported_unless_a_test_asks(pytester: pytest.Pytester) -> None:
    """In a process of its own, and on the command line as users have it."""
    pytester.makepyfile(
        test_it="""
        import sys
        import pytest

        def test_first():
            heavy = {"trio", "supervisor", "hypothesis", "attrs", "msgspec", "unittest.mock"}
            assert not heavy & sys.modules.keys()

        @pytest.mark.race
        async def test_second():
            assert {"trio", "supervisor"} <= sys.modules.keys()
            assert "hypothesis" not in sys.modules
        """
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:trio", "-p", "no:hypothesispytest",
         "-p", "no:cacheprovider", "-q"],
        cwd=pytester.path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr
