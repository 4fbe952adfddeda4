"""Cancelling a scenario at each of its checkpoints in turn."""

# flake8: noqa: ASYNC102, ASYNC103, ASYNC104, ASYNC110, ASYNC112, ASYNC251
# What is tried is wrong on purpose.

from __future__ import annotations

import gc
import random
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    contextmanager,
    suppress,
)
from functools import partial
from io import StringIO
from typing import Any

import pytest
import trio
import trio.testing
from cancel_programs import (
    Program,
    ends_the_server_too_late,
    goes_on_for_ever_when_cancelled,
    leaves_a_file_in_a_cycle,
    leaves_a_generator,
    line_marked,
    nested_nurseries,
    shielded,
    swallows_for_ever,
    two_sleeps,
    unsafe,
    unshielded,
    unshielded_children,
    waits_for_ever_when_cancelled,
)

from supervisor.testing._cancelling import (
    CancellationUnsafe,
    NothingToCancel,
    TooManyCheckpoints,
    cancel_everywhere,
)
from supervisor.testing._cancelling import once as once_module
from supervisor.testing._cancelling import progress as progress_module
from supervisor.testing._schedules.schedule import Schedule
from supervisor.testing.errors import (
    BadOption,
    BadScenario,
    Deadlock,
    InsideTrio,
    NestedRun,
    NotDeterministic,
    Unfinished,
    UsesRealTime,
    UsesThreads,
)

# --- what is counted ------------------------------------------------------------------------------


def test_every_checkpoint_is_cancelled_in_every_way() -> None:
    report = cancel_everywhere(two_sleeps)
    first = two_sleeps.__code__.co_firstlineno
    assert [(each.number, each.way, each.place.line, each.ended) for each in report.steps] == [
        (1, "scope", first + 1, "cancelled"),
        (1, "deadline", first + 1, "cancelled"),
        (2, "scope", first + 2, "cancelled"),
        (2, "deadline", first + 2, "cancelled"),
        (0, "late", first, "cancelled"),
        (1, "late", first + 1, "cancelled"),
        (2, "late", first + 2, "cancelled"),
    ]
    assert report.checkpoints == 2
    assert not report.forever


class Gate:
    """One may pass at a time, and it is counted who waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self.sem = trio.Semaphore(1)
        self.opened = trio.Event()

    async def open(self) -> None:
        await trio.sleep(1)
        self.opened.set()


async def releases_what_it_never_had(gate: Gate) -> None:
    try:
        await gate.sem.acquire()
        await trio.sleep(1)
    finally:
        gate.sem.release()


async def counts_itself_for_ever(gate: Gate) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.open)
        await gate.opened.wait()
        gate.waiting += 1
        await gate.sem.acquire()
        gate.waiting -= 1
        gate.sem.release()


async def passes(gate: Gate) -> None:
    await trio.sleep(1)
    async with gate.sem:
        await trio.sleep(1)


def is_free(gate: Gate) -> bool:
    return gate.sem.value == 1 and not gate.waiting


@pytest.mark.parametrize(
    ("program", "number", "words"),
    [
        (releases_what_it_never_had, 0, "when it is cancelled before it begins, "),
        (counts_itself_for_ever, 1, "cancels it just after checkpoint 1, test_cancel_everywhere"),
    ],
)
def test_an_await_that_does_not_wait_is_cancelled_too(
    program: Any, number: int, words: str
) -> None:
    """`acquire` of what is free looks for a cancellation, and then hands over under a shield."""
    with pytest.raises(CancellationUnsafe, match=words) as raised:
        cancel_everywhere(program, make=Gate, check=is_free)
    wrong = raised.value
    assert (wrong.number, wrong.way) == (number, "late")
    assert f'only={number}, by="late")' in str(wrong)
    with pytest.raises(CancellationUnsafe):
        cancel_everywhere(program, make=Gate, check=is_free, only=number, by="late")
    assert cancel_everywhere(passes, make=Gate, check=is_free).checkpoints == 3


def test_one_that_waits_for_ever_is_cancelled_late_too() -> None:
    report = cancel_everywhere(trio.sleep_forever)
    assert report.forever
    assert [each.way for each in report.steps] == ["scope", "deadline", "late", "late"]


def test_the_report_reads_as_a_table() -> None:
    first = two_sleeps.__code__.co_firstlineno
    assert str(cancel_everywhere(two_sleeps, by="scope")) == (
        "safe after 2 cancellations at 2 checkpoints\n"
        f"   1  scope     cancel_programs.py:{first + 1} in two_sleeps: cancelled\n"
        f"   2  scope     cancel_programs.py:{first + 2} in two_sleeps: cancelled"
    )


def test_each_run_is_cancelled_exactly_at_its_checkpoint() -> None:
    reached: list[str] = []

    async def program() -> None:
        reached.append("0")
        for number in "123":
            await trio.sleep(1)
            reached.append(number)

    cancel_everywhere(program, by="scope")
    assert "".join(reached) == "0123001012"
    reached.clear()
    cancel_everywhere(program, by="deadline")
    assert "".join(reached) == "0123001012"


def test_tasks_that_it_starts_count_and_others_do_not() -> None:
    async def background() -> None:
        for _ in range(5):
            await trio.sleep(0.3)

    async def child() -> None:
        await trio.sleep(1)

    async def program() -> None:
        trio.lowlevel.spawn_system_task(background)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await trio.sleep(9)

    async def plainly() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await trio.sleep(9)

    with pytest.raises(CancellationUnsafe, match="left behind: task"):
        cancel_everywhere(program)
    report = cancel_everywhere(plainly, by="scope")
    assert [step.place.function for step in report.steps] == ["plainly", "child", "plainly"]


def test_a_cancellation_can_come_in_a_shielded_part_too() -> None:
    async def program() -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        return "committed"

    report = cancel_everywhere(program, by="scope")
    assert [(each.ended, each.detail) for each in report.steps] == [("returned", "'committed'")]


def test_a_swallowed_cancellation_is_reported() -> None:
    async def program() -> int:
        with suppress(trio.Cancelled):
            await trio.sleep(1)
        return 7

    report = cancel_everywhere(program)
    assert {(each.ended, each.detail) for each in report.steps} == {("returned", "7")}
    assert str(report).endswith("returned 7")


def test_a_program_that_waits_for_ever_is_cancelled_where_it_waits() -> None:
    async def program() -> None:
        await trio.sleep(1)
        await trio.sleep_forever()

    report = cancel_everywhere(program)
    assert report.forever
    assert report.checkpoints == 2


def test_the_reason_and_the_source_say_who_cancelled() -> None:
    seen = []

    async def program() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled as exc:
            seen.append(str(exc))
            raise

    cancel_everywhere(program)
    assert "explicit" in seen[0] and "cancel_everywhere, checkpoint 1" in seen[0]
    assert "deadline" in seen[1]


def test_the_clock_stands_where_the_checkpoint_is() -> None:
    times: list[float] = []

    async def program() -> None:
        began = trio.current_time()
        try:
            await trio.sleep(5)
            await trio.sleep(1000)
        except trio.Cancelled:
            times.append(trio.current_time() - began)
            raise

    cancel_everywhere(program)
    assert times == [0, 0, 5, 5, 0, 5, 1005]  # the last three are late


def test_arguments_are_passed_on() -> None:
    async def program(seconds: float, times: int) -> None:
        for _ in range(times):
            await trio.sleep(seconds)

    assert cancel_everywhere(program, 0.5, 3).checkpoints == 3
    assert cancel_everywhere(partial(program, 0.5, times=2)).checkpoints == 2


def test_only_one_checkpoint_and_one_way() -> None:
    report = cancel_everywhere(two_sleeps, only=2, by="deadline")
    assert [(each.number, each.way) for each in report.steps] == [(2, "deadline")]
    assert report.checkpoints == 2


def test_a_schedule_decides_who_goes_on() -> None:
    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)

    async def first() -> None:
        await trio.lowlevel.checkpoint()

    async def second() -> None:
        await trio.lowlevel.checkpoint()

    def functions(schedule: Schedule) -> list[str]:
        report = cancel_everywhere(program, by="scope", schedule=schedule)
        return [each.place.function for each in report.steps]

    assert functions(Schedule()) == ["program", "first", "second"]
    assert functions(Schedule(((0, 1),))) == ["program", "second", "first"]


def test_under_a_schedule_no_choice_points_are_added() -> None:
    async def child() -> None:
        await trio.lowlevel.checkpoint()

    async def program() -> None:
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, name="first")
            nursery.start_soon(other_child)

    async def other_child() -> None:
        await trio.lowlevel.checkpoint()

    report = cancel_everywhere(program, by="scope", schedule=Schedule(((0, 1),)))
    functions = [each.place.function for each in report.steps]
    assert functions == ["program", "program", "other_child", "child"]
    assert not report.forever


# --- the check ------------------------------------------------------------------------------------


class Account:
    """Two numbers of which one must never move without the other."""

    def __init__(self) -> None:
        self.taken = self.given = 0

    def check(self) -> None:
        assert self.taken == self.given, "money is lost"


async def transfer(account: Account) -> None:
    await trio.sleep(1)
    account.taken += 10
    await trio.sleep(1)  # between
    account.given += 10


def test_a_check_that_fails_is_told_with_its_error_and_the_line() -> None:
    wrong = unsafe(transfer, make=Account, check=Account.check)
    assert wrong.number == 2
    assert wrong.place is not None
    assert wrong.place.line == line_marked(transfer, "between")
    assert isinstance(wrong.__cause__, AssertionError)
    assert "check failed: AssertionError: money is lost" in str(wrong)
    assert str(wrong).endswith('cancel_everywhere(transfer, ..., only=2, by="scope")')


def test_a_check_runs_inside_trio_after_each_run() -> None:
    times: list[float] = []

    async def check() -> None:
        await trio.sleep(1)
        times.append(trio.current_time())

    cancel_everywhere(two_sleeps, check=check)
    assert len(times) == 1 + 2 * 3 + 1


def test_a_check_without_arguments_goes_with_make_too() -> None:
    called: list[int] = []
    made: list[Account] = []

    async def make() -> Account:
        await trio.sleep(1)
        made.append(Account())
        return made[-1]

    async def program(account: Account, seconds: float) -> None:
        assert account is made[-1]
        await trio.sleep(seconds)

    report = cancel_everywhere(program, 3, make=make, check=lambda: called.append(1))
    assert report.checkpoints == 1  # those of `make` do not count
    assert len(made) == len(called) == 1 + 3 + 1


def test_a_check_that_returns_false_fails() -> None:
    wrong = unsafe(two_sleeps, check=lambda: False)
    assert wrong.number == 0
    assert "check failed: AssertionError: it returned False" in str(wrong)
    assert cancel_everywhere(two_sleeps, check=lambda: None).checkpoints == 2


def test_a_check_may_use_what_pytest_offers() -> None:
    def check(account: Account) -> None:
        if account.taken != account.given:
            pytest.fail("money is lost")

    wrong = unsafe(transfer, make=Account, check=check)
    assert wrong.number == 2
    assert "check failed: Failed: money is lost" in str(wrong)
    with pytest.raises(pytest.skip.Exception):
        cancel_everywhere(transfer, make=Account, check=lambda: pytest.skip("not here"))


def test_a_check_that_never_ends_is_told() -> None:
    wrong = unsafe(two_sleeps, check=stuck_when_cancelled().check)
    assert wrong.number == 1
    assert "it did not end after that: every task waits for ever" in str(wrong)
    assert isinstance(wrong.__cause__, Deadlock)


class stuck_when_cancelled:
    def __init__(self) -> None:
        self.calls = 0

    async def check(self) -> None:
        self.calls += 1
        if self.calls > 1:
            await trio.sleep_forever()


# --- other ends -----------------------------------------------------------------------------------


def test_another_exception_instead_of_the_cancellation_fails() -> None:
    async def program() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled as exc:
            raise ConnectionError("it went away") from exc

    wrong = unsafe(program)
    assert isinstance(wrong.__cause__, ConnectionError)
    assert "it raised ConnectionError at test_cancel_everywhere.py:" in str(wrong)
    assert "instead of ending as cancelled: it went away" in str(wrong)
    assert "may_raise=ConnectionError" in str(wrong)
    report = cancel_everywhere(program, may_raise=OSError)
    assert {(each.ended, each.detail) for each in report.steps} == {
        ("raised", "ConnectionError('it went away')")
    }


def test_exceptions_that_are_allowed_are_allowed_in_groups() -> None:
    async def child() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled as exc:
            raise ConnectionError from exc

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)

    assert cancel_everywhere(program, may_raise=(ValueError, OSError)).checkpoints == 3
    assert isinstance(unsafe(program, may_raise=ValueError).__cause__, ExceptionGroup)


def test_what_it_raises_undisturbed_comes_out_as_it_is() -> None:
    async def program() -> None:
        await trio.sleep(1)
        raise LookupError("on its own")

    with pytest.raises(LookupError, match="on its own"):
        cancel_everywhere(program, may_raise=LookupError)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (waits_for_ever_when_cancelled, "every task waits for ever"),
        (goes_on_for_ever_when_cancelled, "not over after 5010 steps"),
        (swallows_for_ever, "not over after 5010 steps"),
    ],
)
def test_a_program_that_does_not_end_when_cancelled_is_told(program: Program, text: str) -> None:
    wrong = unsafe(program)
    assert wrong.number == 1
    assert f"it did not end after that: {text}" in str(wrong)
    assert isinstance(wrong.__cause__, Unfinished)


def test_a_deadlock_that_no_cancellation_can_end_comes_out_as_it_is() -> None:
    async def program() -> None:
        with trio.CancelScope(shield=True):
            await trio.Event().wait()

    with pytest.raises(Deadlock):
        cancel_everywhere(program)


def test_a_program_that_does_not_do_the_same_each_time_is_refused() -> None:
    state: list[int] = []

    async def program() -> None:
        if not state:
            await trio.sleep(1)
        state.append(1)
        await trio.sleep(1)

    with pytest.raises(NotDeterministic, match=r"checkpoint 1 was at .* in a later run it was at"):
        cancel_everywhere(program)


def test_a_program_that_is_over_sooner_each_time_is_refused() -> None:
    state: list[int] = []

    async def program() -> None:
        if not state:
            state.append(1)
            await trio.sleep(1)

    with pytest.raises(NotDeterministic, match="in a later run it was not reached"):
        cancel_everywhere(program)


# --- bad input ------------------------------------------------------------------------------------


async def no_checkpoint() -> None:
    pass


async def endless() -> None:
    while True:
        await trio.sleep(1)


async def yields() -> AsyncIterator[int]:
    yield 1


def plain() -> None:
    pass


def test_nothing_to_cancel_is_an_error() -> None:
    with pytest.raises(NothingToCancel, match="no_checkpoint never hands over to Trio"):
        cancel_everywhere(no_checkpoint)


def test_too_many_checkpoints_are_an_error() -> None:
    with pytest.raises(TooManyCheckpoints, match=r"endless has more than 20 checkpoints.*move_on"):
        cancel_everywhere(endless, max_checkpoints=20)
    assert cancel_everywhere(two_sleeps, max_checkpoints=2).checkpoints == 2
    with pytest.raises(TooManyCheckpoints, match="two_sleeps has more than 1 checkpoints"):
        cancel_everywhere(two_sleeps, max_checkpoints=1)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (plain, "is not an async function"),
        (yields, "is an async generator"),
        (3, "needs an async function, not 3"),
        (transfer, "cannot be called with no arguments"),
    ],
)
def test_what_is_no_scenario_is_refused(program: Any, text: str) -> None:
    with pytest.raises(BadScenario, match=text):
        cancel_everywhere(program)


def test_a_coroutine_object_is_refused_and_closed() -> None:
    with pytest.raises(BadScenario, match="cancel_everywhere got a coroutine object"):
        cancel_everywhere(two_sleeps())  # type: ignore[arg-type]
    with pytest.raises(BadScenario, match="check got a coroutine object"):
        cancel_everywhere(two_sleeps, check=two_sleeps())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"check": 3}, BadScenario, "check must be a function, sync or async, not 3"),
        ({"check": yields}, BadScenario, "check: yields is a generator"),
        ({"check": transfer}, BadScenario, "check: transfer.* is called with no arguments"),
        ({"make": transfer}, BadScenario, "make: transfer.* is called with no arguments"),
        (
            {"make": plain, "check": lambda one, two: None},
            BadScenario,
            "is called with no argument but what make returns",
        ),
        ({"by": "magic"}, BadOption, "\"late\" or some of them, not 'magic'"),
        ({"by": ()}, BadOption, "by must be"),
        ({"by": 3}, BadOption, "by must be"),
        ({"by": [[]]}, BadOption, "by must be"),
        ({"only": 0, "by": "scope"}, BadOption, "only must be a whole number from 1 on, not 0"),
        ({"only": -1}, BadOption, "only must be a whole number from 0 on, not -1"),
        ({"only": True}, BadOption, "only must be a whole number"),
        ({"only": 3}, BadOption, "only=3, but two_sleeps has no more than 2 checkpoints"),
        ({"max_checkpoints": 1.5}, BadOption, "max_checkpoints must be a whole number"),
        ({"may_raise": 3}, BadOption, "may_raise must be an exception class"),
        ({"may_raise": (OSError, BaseException)}, BadOption, "may_raise must be"),
        ({"schedule": "1.1"}, BadOption, "schedule must be a Schedule, not '1.1'"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    program: Any = transfer if "make" in options else two_sleeps
    with pytest.raises(error, match=text):
        cancel_everywhere(program, **options)


async def test_inside_trio_it_is_refused() -> None:
    with pytest.raises(InsideTrio):
        cancel_everywhere(two_sleeps)


def test_inside_a_scenario_it_is_refused() -> None:
    async def program() -> None:
        cancel_everywhere(two_sleeps)

    with pytest.raises(NestedRun):
        cancel_everywhere(program)


def test_threads_and_real_time_are_refused() -> None:
    async def threads() -> None:
        await trio.to_thread.run_sync(plain)

    async def real_time() -> None:
        await trio.sleep(1)
        time.sleep(1)  # noqa: ASYNC251

    async def real_time_when_cancelled() -> None:
        async def child() -> None:
            try:
                await trio.sleep(1)
            except trio.Cancelled:
                time.sleep(1)  # noqa: ASYNC251
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(UsesThreads):
        cancel_everywhere(threads)
    with pytest.raises(UsesRealTime):
        cancel_everywhere(real_time)
    with pytest.raises(UsesRealTime):
        cancel_everywhere(real_time_when_cancelled)


# --- what it leaves alone -------------------------------------------------------------------------


@contextmanager
def everything_as_before() -> Iterator[None]:
    hooks = sys.get_asyncgen_hooks()
    filters = list(warnings.filters)
    showing = warnings.showwarning
    numbers = random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert sys.get_asyncgen_hooks() == hooks
    assert warnings.filters == filters
    assert warnings.showwarning is showing
    assert gc.get_freeze_count() < once_module.FROZEN_FROM_THE_START
    assert random.getstate() == numbers


@pytest.mark.parametrize(
    "program",
    [
        shielded,
        unshielded,
        unshielded_children,
        leaves_a_generator,
        leaves_a_file_in_a_cycle,
        ends_the_server_too_late,
        waits_for_ever_when_cancelled,
        swallows_for_ever,
        no_checkpoint,
        nested_nurseries,
    ],
)
def test_nothing_of_it_stays(program: Program) -> None:
    with everything_as_before(), suppress(CancellationUnsafe, NothingToCancel):
        cancel_everywhere(program)


def test_nothing_of_it_stays_after_an_interruption() -> None:
    async def program() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled as exc:
            raise KeyboardInterrupt from exc

    with everything_as_before(), pytest.raises(KeyboardInterrupt):
        cancel_everywhere(program)


def test_what_somebody_else_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        assert frozen > once_module.FROZEN_FROM_THE_START
        cancel_everywhere(two_sleeps)
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()


def test_other_warnings_of_the_program_are_shown() -> None:
    async def program() -> None:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        await trio.sleep(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cancel_everywhere(program)
    assert [str(each.message) for each in caught] == ["old"] * 5


def test_warnings_that_are_errors_stay_errors() -> None:
    async def program() -> None:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        await trio.sleep(1)

    with pytest.raises(DeprecationWarning, match="old"):
        cancel_everywhere(program)


def test_the_context_of_a_cancellation_stays_as_trio_made_it() -> None:
    contexts: list[type | None] = []

    async def child() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            contexts.append(type(exc.__context__))
            raise

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep(1)
            try:
                raise OSError
            except OSError:
                nursery.cancel_scope.cancel()

    cancel_everywhere(program, only=1, by="scope")
    assert contexts[0] is OSError


# --- progress -------------------------------------------------------------------------------------


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_series_says_on_a_terminal_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    cancel_everywhere(two_sleeps)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress_module, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "EVERY_SECONDS", 0.0)
    cancel_everywhere(two_sleeps)
    assert "\rtwo_sleeps: cancelled 6 times of 7" in terminal.getvalue()
    assert terminal.getvalue().endswith(" \r")
    written = terminal.getvalue()
    cancel_everywhere(two_sleeps, progress=False)
    with suppress(CancellationUnsafe):
        cancel_everywhere(unshielded)
    assert terminal.getvalue()[len(written) :].endswith(" \r")


def test_without_a_terminal_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "QUIET_SECONDS", 0.0)
    elsewhere = StringIO()
    monkeypatch.setattr(sys, "stderr", elsewhere)
    cancel_everywhere(two_sleeps)
    assert elsewhere.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)
    cancel_everywhere(two_sleeps)
