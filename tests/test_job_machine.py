"""`JobMachine`: rules say what is to happen, one run plays it, and Hypothesis shrinks both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidDefinition
from hypothesis.stateful import Bundle, initialize, precondition, rule, run_state_machine_as_test

from supervisor import Job, JobControl, current_job
from supervisor.testing import Schedule
from supervisor.testing._histories.broken import HistoryBroken
from supervisor.testing._histories.check import Played, check_history
from supervisor.testing._histories.machine import JobMachine
from supervisor.testing.commands import Cancel, History, Settle, Sleep, Start
from supervisor.testing.errors import BadOption, BadScenario

QUICK = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    print_blob=False,
)


def run(machine: type[JobMachine], examples: int = 25) -> None:
    run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=examples))


@contextmanager
def broken_by(machine: type[JobMachine], said: str, examples: int = 200) -> Iterator[HistoryBroken]:
    """What Hypothesis makes of it."""
    with pytest.raises(HistoryBroken, match=said) as caught:
        run(machine, examples)
    yield caught.value


# --- jobs of one's own ----------------------------------------------------------------------------


class Counter:
    """How many are inside; what the jobs share."""

    def __init__(self) -> None:
        self.inside = 0
        self.finished = 0


class CountingMachine(JobMachine):
    """Jobs that count themselves."""

    ids = ("x", "y")

    def __init__(self) -> None:
        super().__init__()
        self.counter = Counter()

    async def count(self) -> None:
        self.counter.inside += 1
        try:
            await trio.sleep(3)
        finally:
            self.counter.inside -= 1
        self.counter.finished += 1

    @rule(job_id=st.sampled_from(ids))
    def counts(self, job_id: str) -> None:
        self.start(self.count, job_id, reuse="allow")

    def check(self, jobs: Sequence[Job]) -> None:
        live = sum(not job.state.is_final for job in jobs)
        assert self.counter.inside <= live, f"{self.counter.inside} inside, {live} live"

    def after(self, played: Played) -> None:
        ended = [job for job in played.finals.values() if job.state == "succeeded"]
        assert len(ended) == self.counter.finished


TestCounting = CountingMachine.TestCase
TestCounting.settings = QUICK


class Leaky(CountingMachine):
    max_preemptions = 0

    async def count(self) -> None:
        self.counter.inside += 1
        await trio.sleep(3)
        self.counter.inside -= 1
        self.counter.finished += 1


def test_a_cleanup_that_is_missing_is_found_and_shrunk() -> None:
    with broken_by(Leaky, "your own check\n  1 inside, 0 live") as broken:
        assert len(broken.history.commands) <= 2
        assert broken.schedule.preemptions == 0
        assert "(Leaky.count, if ended: allow)" in str(broken)


class Refills(JobMachine):
    """Check, await, act: two of them both find the cache empty."""

    ids = ("x", "y")
    max_preemptions = 0
    fills = 0

    async def refill(self) -> None:
        if not self.fills:
            await trio.sleep(1)
            self.fills += 1

    @rule(job_id=st.sampled_from(ids))
    def refills(self, job_id: str) -> None:
        self.start(self.refill, job_id, reuse="allow")

    def check(self, jobs: Sequence[Job]) -> None:
        assert self.fills <= 1


def test_a_race_between_two_jobs_is_found_and_shrunk() -> None:
    with broken_by(Refills, "your own check") as broken:
        commands = broken.history.commands
        starts = [each for each in commands if isinstance(each, Start)]
        assert {start.job_id for start in starts} == {"x", "y"}
        assert len(commands) <= 3


class TimedOut(JobMachine):
    """A race that only a preemption shows: the answer comes as its time is up."""

    ids = ("x",)

    def __init__(self) -> None:
        super().__init__()
        self.late = False

    async def ask(self) -> None:
        with trio.move_on_after(5) as patience:
            for _ in range(20):
                await trio.lowlevel.checkpoint()
        self.late = patience.cancelled_caught

    @rule()
    def asks(self) -> None:
        self.start(self.ask, "x")

    def check(self, jobs: Sequence[Job]) -> None:
        assert not self.late


def test_time_that_passes_early_is_drawn_too() -> None:
    with broken_by(TimedOut, "your own check") as broken:
        assert broken.schedule.preemptions > 0
        assert " was put off at " in str(broken)


@pytest.mark.parametrize("over", ["name", "wire", "faulty"])
def test_over_the_wire(over: Any) -> None:
    class Over(CountingMachine):
        pass

    Over.over = over
    run(Over, 5)


def test_the_machines_own_rules_can_be_left_out() -> None:
    seen = set()

    class Few(CountingMachine):
        something_happens = None  # type: ignore[assignment]

        def after(self, played: Played) -> None:
            super().after(played)
            seen.update(type(command).__name__ for command in played.history.commands)

    run(Few)
    assert seen == {"Start"}


def test_slots_are_those_of_the_class() -> None:
    class Narrow(CountingMachine):
        slots = 1

        def check(self, jobs: Sequence[Job]) -> None:
            super().check(jobs)
            assert self.counter.inside <= 1

    run(Narrow)


def test_then_calls_with_the_control() -> None:
    class Asks(CountingMachine):
        asked = 0

        @rule(job_id=st.sampled_from(["x", "y"]))
        def asks(self, job_id: str) -> None:
            self.then(self.ask, job_id)

        async def ask(self, control: JobControl, job_id: str) -> None:
            type(self).asked += 1
            page = await control.list()
            assert all(job.id in self.ids for job in page.jobs)

    run(Asks)
    assert Asks.asked


def test_what_then_raises_fails_the_example() -> None:
    class Raises(JobMachine):
        @rule()
        def looks(self) -> None:
            self.then(self.look)

        async def look(self, control: JobControl) -> None:
            raise KeyError("gone")

    with broken_by(Raises, "KeyError: 'gone'") as broken:
        assert broken.number == "alive"


def test_a_job_sees_itself() -> None:
    async def work(number: int) -> int:
        assert current_job().id == "x"
        return number

    class Sees(JobMachine):
        @rule(number=st.integers(1, 3))
        def starts(self, number: int) -> None:
            self.start(work, "x", number, reuse="allow", conflict="replace")

        def after(self, played: Played) -> None:
            for job in played.finals.values():
                assert job.state != "failed", job.error
                if job.state == "succeeded":
                    assert job.result in (1, 2, 3)

    run(Sees)


def test_what_a_rule_returns_is_played() -> None:
    seen = []

    class Returns(JobMachine):
        @rule()
        def one(self) -> Any:
            return Sleep(7.0)

        @rule()
        def two(self) -> Any:
            return [Sleep(8.0), Settle()]

        def after(self, played: Played) -> None:
            seen.extend(played.history.commands)

    run(Returns)
    assert {Sleep(7.0), Sleep(8.0)} <= {*seen}


def test_bundles_and_preconditions_work_as_ever() -> None:
    class Bundled(CountingMachine):
        started = Bundle("started")
        prepared = False

        @initialize()
        def prepares(self) -> None:
            self.prepared = True

        @rule(target=started, job_id=st.sampled_from(["x", "y"]))
        def starts_one(self, job_id: str) -> str:
            self.start(self.count, job_id, reuse="allow")
            return job_id

        @precondition(lambda self: self.prepared)
        @rule(job_id=started)
        def stops_one(self, job_id: str) -> None:
            self.cancel(job_id, force=True)

    run(Bundled)


# --- bad rules ------------------------------------------------------------------------------------


def a_machine(said: Callable[[JobMachine], Any]) -> type[JobMachine]:
    class Machine(JobMachine):
        @rule()
        def goes_wrong(self) -> Any:
            return said(self)

    return Machine


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (lambda machine: 3, BadOption, "goes_wrong returned 3; a rule returns nothing"),
        (lambda machine: [Settle(), 3], BadOption, "a list of them"),
        (lambda machine: nothing(), BadOption, "pass it to self.then"),
        (lambda machine: machine.start(print, "a"), BadScenario, "print is not an async function"),
        (lambda machine: machine.start(nothing(), "a"), BadScenario, "coroutine object"),
        (lambda machine: machine.start(nothing, "?"), BadOption, "job_id="),
        (lambda machine: machine.start(nothing, "a", 1), BadScenario, "argument"),
        (lambda machine: machine.start(nothing, "a", grace=1), BadOption, "no option 'grace'"),
        (lambda machine: machine.cancel("a", farce=True), BadOption, "no option 'farce'"),
        (lambda machine: machine.then(nothing), BadScenario, "argument"),
        (lambda machine: machine.do(3), BadOption, "command 0 of this History is 3"),
    ],
)
def test_a_rule_that_goes_wrong(
    said: Callable[[JobMachine], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(a_machine(said))


def test_a_rule_that_fails_is_not_played() -> None:
    plays = []

    class Fails(JobMachine):
        @rule()
        def fails(self) -> None:
            self.do(Sleep(123.0))
            raise ZeroDivisionError

        def after(self, played: Played) -> None:
            plays.append(played.history)

    with pytest.raises(ZeroDivisionError):
        run(Fails)
    assert not [history for history in plays if Sleep(123.0) in history.commands]


def test_an_async_rule_is_refused_where_it_stands() -> None:
    with pytest.raises(BadScenario, match=r"the rule Wrong\.waits is an async function"):

        class Wrong(JobMachine):
            @rule()
            async def waits(self) -> None:
                await trio.sleep(1)


def test_a_machine_can_be_used_inside_the_handling_of_an_error() -> None:
    """Hypothesis itself does so."""
    try:
        raise KeyError
    except KeyError:
        with pytest.raises(HistoryBroken):
            run(Leaky, 200)


def test_rules_of_hypothesis_stay_in_force() -> None:
    with pytest.raises(InvalidDefinition):

        class Twice(JobMachine):
            @rule()
            @rule()
            def twice(self) -> None:
                pass


@given(st.data())
@settings(max_examples=5)
def test_nothing_of_a_play_stays(data: st.DataObject) -> None:
    """One more play after another is what the first was."""
    history = History([Start("a"), Cancel("a")])
    first = check_history(history, Schedule(((data.draw(st.integers(0, 9)), 1),)))
    assert first.told == check_history(history, Schedule()).told
