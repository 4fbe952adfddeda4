"""The conformance suites: ours pass them; what is wrong is told with the call that showed it."""

from __future__ import annotations

import math
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import attrs
import pytest
import trio
from conformance_works import Ends, command_works, fake_works, function_works
from fakes import FakeLauncher, Script
from launching import both

from supervisor._records import Exit
from supervisor.abc import Launcher, Store
from supervisor.launchers.command import CommandLauncher
from supervisor.launchers.function import FunctionLauncher
from supervisor.stores.memory import MemoryStore
from supervisor.testing._conformance import (
    Broken,
    ConformanceReport,
    LauncherWorks,
    NotConforming,
    check_launcher,
    check_store,
    launcher_stops,
    running,
)
from supervisor.testing._conformance.launcher import LAUNCHER_RULES
from supervisor.testing._conformance.launcher_attempts import (
    names_its_kind,
    tells_that_it_went_well,
)
from supervisor.testing._conformance.launcher_bench import LauncherBench
from supervisor.testing._conformance.making import Maker
from supervisor.testing._conformance.running import Rule, Suite
from supervisor.testing._conformance.store import STORE_RULES
from supervisor.testing.errors import BadOption, InsideTrio

ALL_OF_A_STORE = tuple(rule.name for rule in STORE_RULES)
ALL_OF_A_LAUNCHER = tuple(rule.name for rule in LAUNCHER_RULES)


def skipped(report: ConformanceReport) -> dict[str, str]:
    return {each.rule: each.reason for each in report.skipped}


# --- ours pass --------------------------------------------------------------------------------


def test_the_store_in_memory_passes() -> None:
    report = check_store(MemoryStore)
    assert (report.checked, report.skipped) == (ALL_OF_A_STORE, ())
    assert (report.subject, report.interface) == ("MemoryStore", "supervisor.abc.Store")


class WaitingStore(MemoryStore):
    synchronous: ClassVar[bool] = False

    async def saved(self, seq: int) -> None:
        await trio.sleep(0.001)


def test_a_store_that_takes_its_time_passes() -> None:
    assert check_store(WaitingStore, reach=50).checked[-1] == "lists_the_oldest_tombstone_first"


def test_async_functions_pass() -> None:
    report = check_launcher(FunctionLauncher, works=function_works())
    assert skipped(report) == {
        "tells_why_it_cannot_start": "no works.cannot_start was given",
        "passes_lines_on": "no works.speaks was given",
        "kill_ends_what_ignores_a_cancel": "the launcher cannot force",
    }
    assert len(report.checked) == len(ALL_OF_A_LAUNCHER) - 3


@both
def test_commands_pass(containment: Any) -> None:
    make = partial(CommandLauncher, containment=containment)
    report = check_launcher(make, works=command_works())
    assert (report.checked, report.skipped) == (ALL_OF_A_LAUNCHER, ())


def test_the_fake_passes() -> None:
    report = check_launcher(FakeLauncher, works=fake_works(leaves_children=Ends()))
    assert skipped(report) == {"passes_lines_on": "no works.speaks was given"}


# --- what is told -----------------------------------------------------------------------------


class Wrong(MemoryStore):
    """Wrong in three ways."""

    def __init__(self) -> None:
        super().__init__(events_kept=100, finished_kept=100, tombstones_kept=100)
        self.instance = "always the same"

    @property
    def head_seq(self) -> int:
        return super().head_seq + 1

    def take(self, job_id: str, now: float) -> Any:
        return super().take(job_id.lower(), now)


def broken_by(make: Callable[[], Store], **options: Any) -> NotConforming:
    with pytest.raises(NotConforming) as caught:
        check_store(make, **options)
    return caught.value


def test_all_that_is_wrong_is_told_together() -> None:
    error = broken_by(Wrong)
    assert error.rule == "names_its_history"
    rules = [each.rule for each in error.broken]
    assert {"names_its_history", "begins_empty", "a_tombstone_serves_once"} <= set(rules)
    assert sorted([*rules, *error.report.checked]) == sorted(ALL_OF_A_STORE)
    message = str(error)
    assert message.startswith(f"Wrong breaks {len(rules)} of {len(ALL_OF_A_STORE)} rules of ")
    assert all(rule in message for rule in rules)


def test_a_broken_rule_is_told_with_the_calls_that_led_to_it() -> None:
    [broken] = (each for each in broken_by(Wrong).broken if each.rule == "a_tombstone_serves_once")
    assert (broken.call, broken.expected) == ("take('A', 1700000000.0)", "None")
    assert broken.got == "Tombstone('a', reason='why', expires_at=2023-11-14T22:23:20+00:00)"
    assert broken.before[-1] == "take('b', 1700000000.0)"
    assert broken.before[0] == f"remember({broken.got}, 1700000000.0)"
    assert [line[:14].strip() for line in str(broken).splitlines()[1:]] == [
        "after",
        *[""] * (len(broken.before) - 1),
        "call",
        "expected",
        "got",
    ]


def test_an_exception_is_told_with_the_call_that_raised_it() -> None:
    class Raises(MemoryStore):
        def take(self, job_id: str, now: float) -> Any:
            raise KeyError(job_id)

    broken = {each.rule: each for each in broken_by(Raises, reach=60).broken}["a_tombstone_expires"]
    assert broken.call == "take('a', 1700000599.5)"
    assert (broken.expected, broken.got) == ("no exception", "KeyError('a')")


def test_a_store_that_cannot_be_opened_is_told_once() -> None:
    class Closed(MemoryStore):
        def open(self) -> Any:
            raise OSError("no such directory")

    error = broken_by(Closed)
    [broken] = error.broken
    assert (broken.rule, broken.got) == ("opens_and_closes", "OSError('no such directory')")
    assert set(skipped(error.report).values()) == {"since it cannot be opened"}
    assert error.report.checked == ()


def test_a_bound_out_of_reach_is_not_checked() -> None:
    reasons = skipped(check_store(MemoryStore, reach=60))
    assert reasons == {
        "drops_only_the_oldest_events": "no bound was met after 60 events",
        "never_drops_a_live_job": "no bound was met after 60 finished jobs",
        "drops_only_the_oldest_lines": "no bound was met after 60 lines",
        "says_when_no_more_can_be_remembered": "no bound was met after 60 tombstones",
    }


def test_rules_without_their_work_are_not_checked() -> None:
    report = check_launcher(FakeLauncher, works=LauncherWorks(sleeps=Script()))
    assert "keeps_attempts_apart" in report.checked
    assert skipped(report)["tells_that_it_began"] == "no works.returns was given"
    assert skipped(report)["nothing_is_left_when_it_ended"] == "no works.alive was given"


def test_who_does_not_see_the_living_is_told() -> None:
    works = attrs.evolve(fake_works(), alive=lambda script: False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NotConforming) as caught:
        patch.setattr(launcher_stops, "LOOKING", 0.05)
        check_launcher(FakeLauncher, works=works)
    [broken] = caught.value.broken
    assert broken.rule == "leaves_when_it_is_cancelled"
    assert broken.got.startswith("False; works.alive does not see the work")


def test_patience_may_have_no_end() -> None:
    report = check_launcher(FakeLauncher, works=LauncherWorks(returns=Ends()), patience=math.inf)
    assert "tells_that_it_went_well" in report.checked


def test_a_report_can_be_read_and_not_changed() -> None:
    report = check_launcher(FakeLauncher, works=LauncherWorks(returns=Ends()))
    lines = str(report).splitlines()
    assert lines[0] == f"FakeLauncher keeps {len(report.checked)} rules of supervisor.abc.Launcher"
    assert "  names_its_kind" in lines
    assert "  passes_lines_on: not checked, no works.speaks was given" in lines
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        report.checked = ()  # type: ignore[misc]


def test_the_error_survives_pickling() -> None:
    error = broken_by(Wrong)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.rule, again.broken, again.report) == (
        str(error),
        error.rule,
        error.broken,
        error.report,
    )


@pytest.mark.parametrize("rule", [*STORE_RULES, *LAUNCHER_RULES], ids=lambda rule: rule.name)
def test_a_rule_is_said_in_a_sentence(rule: Any) -> None:
    assert rule.says.endswith(".") and rule.says[0] in "`" + rule.says[0].upper()


# --- what hangs is told -----------------------------------------------------------------------


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Set in the end, so that no thread outlives the test."""
    before = set(threading.enumerate())
    event = threading.Event()
    yield event
    event.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


HANGS = "an end within 0.5 s"


def hangs(make: Callable[[], Launcher], monkeypatch: pytest.MonkeyPatch) -> Broken:
    """What is told of a rule that hangs; the one after it is checked all the same."""
    monkeypatch.setattr(running, "AFTER_CANCEL", 0.5)
    maker: Maker[Any] = Maker(make, Launcher)  # type: ignore[type-abstract]
    suite = Suite(maker, partial(LauncherBench, LauncherWorks(returns=Ends())), "Launcher", 0.5)
    rules = [LAUNCHER_RULES[0], Rule(tells_that_it_went_well), Rule(names_its_kind)]
    with pytest.raises(NotConforming) as caught:
        suite.run(rules)
    assert caught.value.report.checked == ("opens_and_closes", "names_its_kind")
    [broken] = caught.value.broken
    return broken


def test_an_attempt_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(FakeLauncher):
        def prepare(self, *args: Any) -> Any:
            running = super().prepare(*args)
            running.run = trio.sleep_forever  # type: ignore[method-assign]
            return running

    broken = hangs(Hangs, monkeypatch)
    assert (broken.call, broken.expected, broken.got) == ("returns[1].run()", HANGS, "none")


def test_an_attempt_that_no_cancellation_reaches_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, let_go: threading.Event
) -> None:
    class Shielded(FakeLauncher):
        def prepare(self, *args: Any) -> Any:
            running = super().prepare(*args)
            running.run = self.hang  # type: ignore[method-assign]
            return running

        async def hang(self) -> Exit:
            with trio.CancelScope(shield=True):
                while not let_go.is_set():  # noqa: ASYNC110 - set from another thread
                    await trio.sleep(0.05)
            raise RuntimeError

    broken = hangs(Shielded, monkeypatch)
    assert broken.call == "returns[1].run()"
    assert broken.expected == f"{HANGS}, or once it is cancelled"
    assert broken.got == "none; its thread was left behind"


def test_a_call_that_gives_trio_no_turn_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, let_go: threading.Event
) -> None:
    class Blocks(FakeLauncher):
        def prepare(self, *args: Any) -> Any:
            let_go.wait()
            return super().prepare(*args)

    broken = hangs(Blocks, monkeypatch)
    assert broken.call == "prepare(works.returns)"
    assert broken.got == "none; its thread was left behind"


def test_a_store_that_cannot_be_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class NeverCloses(MemoryStore):
        def open(self) -> Any:
            return Forever()

    class Forever:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None:
            await trio.sleep_forever()  # noqa: ASYNC102 - the defect

    [broken] = broken_by(NeverCloses, patience=0.5).broken
    assert (broken.rule, broken.expected) == ("opens_and_closes", HANGS)


def test_ctrl_c_ends_the_rule_that_runs(let_go: threading.Event) -> None:
    ended = threading.Event()

    class Interrupts(FakeLauncher):
        def prepare(self, *args: Any) -> Any:
            running = super().prepare(*args)
            running.run = self.interrupt  # type: ignore[method-assign]
            return running

        async def interrupt(self) -> None:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

    with pytest.raises(KeyboardInterrupt):
        check_launcher(Interrupts, works=LauncherWorks(returns=Ends()))
    assert ended.is_set()


# --- what cannot be checked -------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_store(MemoryStore),
        lambda: check_launcher(FakeLauncher, works=fake_works()),
    ],
)
def test_inside_a_trio_run_it_is_refused(check: Callable[[], object]) -> None:
    async def main() -> None:
        check()

    with pytest.raises(InsideTrio, match="call it from a plain function"):
        trio.run(main)


async def make_async() -> Store:
    return MemoryStore()


ONE_STORE = MemoryStore()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (make_async, TypeError, "make is an async function; make is a plain function that gives"),
        (lambda: make_async(), TypeError, r"make\(\) gave an awaitable"),
        (lambda path: MemoryStore(), TypeError, r"without arguments \(missing a required argum"),
        (lambda: None, TypeError, r"make\(\) gave None, which is no Store"),
        (lambda: MemoryStore, TypeError, "which is no Store: its type has to derive from"),
        (FunctionLauncher, TypeError, "gave <.*FunctionLauncher.*>, which is no Store"),
        (MemoryStore(), TypeError, "make is a Store; pass what makes one, such as `lambda: Mem"),
        ("memory", TypeError, "make is 'memory'; make is a plain function"),
        (lambda: ONE_STORE, ValueError, "gave the same MemoryStore twice"),
        (lambda: 1 // 0, ZeroDivisionError, "division"),
    ],
)
def test_what_makes_no_stores(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_store(make)


def test_a_coroutine_is_no_maker() -> None:
    with pytest.raises(TypeError, match="make is a coroutine"):
        check_store(make_async())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (MemoryStore, r"make\(\) gave <MemoryStore .*>, which is no Launcher"),
        (FakeLauncher(), "make is a Launcher; pass what makes one"),
    ],
)
def test_what_makes_no_launchers(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_launcher(make, works=fake_works())


@pytest.mark.parametrize(
    ("works", "error", "words"),
    [
        (None, TypeError, r"works is a LauncherWorks\(.*\), not None"),
        ({"returns": 1}, TypeError, "works is a LauncherWorks"),
        (LauncherWorks(), ValueError, "works holds nothing to run"),
        (LauncherWorks(returns=1, alive=True), TypeError, "works.alive is a function of a work"),
    ],
)
def test_what_are_no_works(works: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_launcher(FakeLauncher, works=works)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 0},
        {"patience": math.nan},
        {"patience": "1"},
        {"patience": True},
        {"reach": 0},
        {"reach": 1.5},
    ],
)
def test_what_are_no_options(options: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=f"{next(iter(options))} is a "):
        check_store(MemoryStore, **options)
