"""`explore` finds the races there are, smallest first, and says what it has covered."""

from __future__ import annotations

import pickle
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio._core._run as trio_run

from supervisor.testing import RaceFound, explore, replay
from supervisor.testing.errors import (
    BadOption,
    BadScenario,
    Deadlock,
    InsideTrio,
    KitError,
    NestedRun,
    NeverEnds,
    NotDeterministic,
    UsesRealIO,
    UsesRealTime,
    UsesThreads,
)


class Counter:
    """Adds one in two steps; right only with a lock."""

    def __init__(self, lock: trio.Lock | None) -> None:
        self.value = 0
        self.lock = lock

    async def increment(self) -> None:
        if self.lock is None:
            await self.add()
        else:
            async with self.lock:
                await self.add()

    async def add(self) -> None:
        read = self.value
        await trio.lowlevel.checkpoint()
        self.value = read + 1


async def count(adders: int, locked: bool) -> None:
    counter = Counter(trio.Lock() if locked else None)
    async with trio.open_nursery() as nursery:
        for _ in range(adders):
            nursery.start_soon(counter.increment)
    assert counter.value == adders, f"{counter.value} of {adders}"


async def lost_update() -> None:
    await count(2, locked=False)


async def locked_update() -> None:
    await count(3, locked=True)


async def opposite_locks() -> None:
    first, second = trio.Lock(), trio.Lock()

    async def take(one: trio.Lock, other: trio.Lock) -> None:
        async with one, other:
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, first, second)
        nursery.start_soon(take, second, first)


async def answer_or_timeout() -> None:
    """Right only if it never happens that time passes between the answer and the waking."""
    answered = trio.Event()

    async def answer() -> None:
        await trio.sleep(4)
        answered.set()
        await trio.lowlevel.checkpoint()

    with trio.move_on_after(5) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await answered.wait()
    assert not (patience.cancelled_caught and answered.is_set())


def found(scenario: object, **options: object) -> RaceFound:
    with pytest.raises(RaceFound) as raised:
        explore(scenario, **options)  # type: ignore[arg-type]
    return raised.value


# --- finding ------------------------------------------------------------------------------------


def test_a_lost_update_is_found_with_one_preemption() -> None:
    race = found(lost_update)
    assert race.schedule.preemptions == 1
    assert isinstance(race.__cause__, AssertionError)
    assert "1 of 2" in str(race)
    with pytest.raises(AssertionError, match="1 of 2"):
        replay(str(race.schedule), lost_update)


def test_right_code_is_exhausted() -> None:
    covered = explore(locked_update)
    assert covered.exhausted
    assert covered.runs > 10
    assert covered.preemptions == 2
    assert "all schedules" in str(covered)


def test_a_larger_bound_covers_more() -> None:
    runs = [explore(locked_update, preemptions=bound).runs for bound in range(4)]
    assert runs[0] == 1
    assert runs == sorted(set(runs)), runs


def test_a_bound_of_nothing_finds_no_race() -> None:
    assert explore(lost_update, preemptions=0).runs == 1


def test_a_deadlock_is_a_failure_that_says_where_each_waits() -> None:
    race = found(opposite_locks)
    assert isinstance(race.__cause__, Deadlock)
    assert race.schedule.preemptions == 1
    waiting = [line for line in str(race).splitlines() if " waits at " in line]
    assert [line.split()[0] for line in waiting] == ["main", "take", "take"]
    assert all("test_explore.py:" in line for line in waiting)


def test_time_may_pass_while_tasks_are_ready() -> None:
    race = found(answer_or_timeout)
    assert race.schedule.preemptions == 1
    assert "!1 s pass" in race.story


def test_a_failure_without_preemptions_is_told_as_such() -> None:
    async def wrong() -> None:
        raise ValueError("plainly")

    race = found(wrong)
    assert race.schedule.preemptions == 0
    assert "in the plainest order already" in str(race)
    assert isinstance(race.__cause__, ValueError)


def test_one_that_never_ends_is_a_failure() -> None:
    async def serve() -> None:
        while True:  # noqa: ASYNC110  # that is the mistake
            await trio.lowlevel.checkpoint()

    race = found(serve, max_steps=500)
    assert isinstance(race.__cause__, NeverEnds)
    assert "500 steps" in str(race)
    assert "in serve" in str(race)


def test_a_loop_that_looks_again_and_again_lets_others_run() -> None:
    async def look_again() -> None:
        ready = False

        async def get_ready() -> None:
            nonlocal ready
            await trio.lowlevel.checkpoint()
            ready = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(get_ready)
            while not ready:  # noqa: ASYNC110  # that is the point
                await trio.lowlevel.checkpoint()

    assert explore(look_again, preemptions=0).exhausted


def test_max_runs_ends_a_search() -> None:
    covered = explore(locked_update, max_runs=5)
    assert (covered.runs, covered.exhausted) == (5, False)
    assert "not all" in str(covered)


def test_exactly_as_many_runs_as_there_are_exhaust() -> None:
    runs = explore(locked_update).runs
    assert explore(locked_update, max_runs=runs).exhausted
    assert not explore(locked_update, max_runs=runs - 1).exhausted


def test_the_error_of_a_group_is_told_with_its_line() -> None:
    async def grouped() -> None:
        async def child() -> None:
            raise ValueError("inside")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.lowlevel.checkpoint()

    assert "in child" in str(found(grouped))


def test_arguments_are_bound_with_partial() -> None:
    assert explore(partial(count, 2, locked=True)).exhausted
    assert found(partial(count, 2, locked=False)).schedule.scenario == "test_explore.count"


def test_arguments_can_be_passed() -> None:
    assert explore(count, 2, True).exhausted
    assert explore(count, 2, True, workers=2).exhausted
    with pytest.raises(RaceFound) as raised:
        explore(count, 2, False)
    assert 'replay("race1 test_explore.count 1+1", count, 2, False)' in str(raised.value)


def test_the_line_to_replay_has_what_was_bound() -> None:
    told = str(found(partial(count, 2, locked=False)))
    assert '1+1", functools.partial(count, 2, locked=False))' in told


def test_the_story_ends_where_the_scenario_hangs() -> None:
    story = found(opposite_locks).story
    assert "run main" in story
    assert "ends" not in story


def test_the_story_names_tasks_and_lines() -> None:
    story = found(lost_update).story
    assert "run main · run increment · !run increment#2 x2 · run increment" in story
    assert "increment was put off at test_explore.py:" in story
    assert "<-- instead of increment" in story
    assert 'replay("race1 test_explore.lost_update' in story


# --- random priorities, processes ---------------------------------------------------------------


def test_random_priorities_find_and_shrink() -> None:
    race = found(lost_update, search="priorities", max_runs=500)
    assert race.schedule.preemptions == 1


def test_random_priorities_are_the_same_for_the_same_seed() -> None:
    texts = {str(found(lost_update, search="priorities", seed=3).schedule) for _ in range(3)}
    assert len(texts) == 1


def test_random_priorities_say_what_they_guarantee() -> None:
    covered = explore(locked_update, search="priorities", max_runs=50)
    assert covered.runs == 50
    assert not covered.exhausted
    assert covered.guarantee is not None
    assert 0 < covered.guarantee < 1


def test_three_preemptions_are_found_by_priorities() -> None:
    async def deep() -> None:
        turns: list[str] = []

        async def turn(name: str) -> None:
            for _ in range(3):
                turns.append(name)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn, "a")
            nursery.start_soon(turn, "b")
        assert "".join(turns) != "abbaba"

    assert explore(deep).exhausted
    assert found(deep, search="priorities", depth=4, max_runs=5000).schedule.preemptions == 3


def test_workers_cover_and_find_the_same() -> None:
    assert explore(locked_update, workers=2).runs == explore(locked_update).runs
    assert found(lost_update, workers=2).schedule == found(lost_update).schedule


def test_workers_need_a_scenario_of_a_module() -> None:
    async def local() -> None: ...

    with pytest.raises(BadScenario, match="cannot be sent to worker processes"):
        explore(local, workers=2)


# --- groups, threads, what is not a failure -------------------------------------------------------


async def in_a_child(raising: Callable[[], object]) -> None:
    async def child() -> None:
        raising()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(trio.lowlevel.checkpoint)


def raise_it(error: BaseException) -> None:
    raise error


def test_the_headline_says_what_was_raised_inside_a_group() -> None:
    told = str(found(partial(in_a_child, partial(raise_it, ValueError("inside")))))
    assert told.startswith("in_a_child fails: ValueError: inside (test_explore.py:")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), pytest.skip.Exception("no")])
def test_what_is_no_failure_comes_out_of_groups_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        explore(in_a_child, partial(raise_it, error))
    assert raised.value is error


def test_a_misuse_in_a_child_is_told_as_such() -> None:
    with pytest.raises(NestedRun):
        explore(in_a_child, partial(explore, locked_update))


def test_real_sleep_is_noticed_though_its_error_is_swallowed() -> None:
    def sleep() -> None:
        with suppress(Exception):
            time.sleep(0.01)

    with pytest.raises(UsesRealTime):
        explore(in_a_child, sleep)


def test_another_thread_may_run_trio_meanwhile() -> None:
    over = threading.Event()
    errors: list[BaseException] = []

    async def tick() -> None:
        while not over.is_set():  # noqa: ASYNC110  # it is busy, as a server would be
            await trio.sleep(0.0001)

    async def ticking() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(tick)

    def serve() -> None:
        try:
            trio.run(ticking)
        except BaseException as exc:  # noqa: ASYNC103  # the thread is over
            errors.append(exc)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert explore(locked_update).exhausted
        assert explore(locked_update, preemptions=3).exhausted
    finally:
        over.set()
        thread.join()
    assert not errors


def test_several_threads_may_explore() -> None:
    results: list[object] = []

    def search() -> None:
        try:
            results.append(explore(locked_update).exhausted)
        except BaseException as exc:  # noqa: ASYNC103  # the thread is over
            results.append(exc)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True, True]


def test_what_a_fixture_keeps_is_no_race() -> None:
    items: list[int] = []

    async def adds_two() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(2):
                nursery.start_soon(add, number)
        assert len(items) == 2

    async def add(number: int) -> None:
        items.append(number)

    with pytest.raises(NotDeterministic, match="what a fixture made"):
        explore(adds_two)


def test_time_passes_for_one_that_only_looks_again() -> None:
    async def looks_again() -> None:
        done = False

        async def work() -> None:
            nonlocal done
            await trio.sleep(1)
            done = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while not done:  # noqa: ASYNC110  # that is the point
                await trio.lowlevel.checkpoint()

    assert explore(looks_again, preemptions=0).exhausted


def test_time_passes_for_several_that_only_look_again() -> None:
    async def look_again() -> None:
        until = trio.current_time() + 1

        async def look() -> None:
            while trio.current_time() < until:  # noqa: ASYNC110  # that is the point
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_until, until)
            nursery.start_soon(look)
            nursery.start_soon(look)

    assert explore(look_again, preemptions=0).exhausted


def test_a_race_and_a_story_can_be_sent_to_another_process() -> None:
    race = found(lost_update)
    copy = pickle.loads(pickle.dumps(race))
    assert (str(copy), copy.schedule, copy.runs) == (str(race), race.schedule, race.runs)


# --- what cannot be explored --------------------------------------------------------------------


def sync_scenario() -> None: ...


def generator_scenario() -> object:
    yield


async def async_generator_scenario() -> object:  # type: ignore[misc]
    yield


async def needs_an_argument(key: str) -> None: ...


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (sync_scenario, "needs an `async def`"),
        (generator_scenario, "is a generator"),
        (async_generator_scenario, "is an async generator"),
        (needs_an_argument, r"functools.partial\(needs_an_argument"),
        (None, "needs an async function, not None"),
        (lambda: lost_update(), "bind arguments with functools.partial"),
        (partial(sync_scenario), "needs an `async def`"),
        (partial(needs_an_argument, 1, 2), "arguments bound to needs_an_argument do not fit"),
    ],
)
def test_what_is_no_scenario_is_refused(scenario: object, words: str) -> None:
    with pytest.raises(BadScenario, match=words):
        explore(scenario)  # type: ignore[arg-type]


def test_a_coroutine_object_is_refused_and_closed() -> None:
    with pytest.raises(BadScenario, match="without calling it"):
        explore(lost_update())  # type: ignore[arg-type]


def test_an_object_with_an_async_call_is_a_scenario() -> None:
    class Scenario:
        async def __call__(self) -> None:
            await trio.lowlevel.checkpoint()

    assert explore(Scenario()).exhausted


@pytest.mark.parametrize(
    "options",
    [
        {"preemptions": -1},
        {"preemptions": 1.5},
        {"max_runs": 0},
        {"max_steps": 0},
        {"workers": 0},
        {"depth": 0},
        {"search": "bfs"},
        {"search": "priorities", "workers": 2},
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object]) -> None:
    with pytest.raises(BadOption, match=next(iter(options))):
        explore(locked_update, **options)  # type: ignore[arg-type]


async def uses_a_thread() -> None:
    await trio.to_thread.run_sync(sync_scenario)


async def is_busy_beside_a_thread() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, sync_scenario)
        for _ in range(200):
            await trio.lowlevel.checkpoint()


async def uses_a_socket() -> None:
    one, other = trio.socket.socketpair()
    with one, other, trio.CancelScope(shield=True):
        await one.recv(1)


async def sleeps_really() -> None:
    time.sleep(0.01)  # noqa: ASYNC251


async def explores() -> None:
    explore(locked_update)


@pytest.mark.parametrize(
    ("scenario", "error", "words"),
    [
        (uses_a_thread, UsesThreads, "in uses_a_thread waits for a thread"),
        (is_busy_beside_a_thread, UsesThreads, "waits for a thread"),
        (uses_a_socket, UsesRealIO, "memory_stream_pair"),
        (sleeps_really, UsesRealTime, "await trio.sleep"),
        (explores, NestedRun, "plain function"),
    ],
)
def test_what_leaves_the_kit_has_its_own_error(
    scenario: object, error: type[KitError], words: str
) -> None:
    with pytest.raises(error, match=words):
        explore(scenario)  # type: ignore[arg-type]


def test_a_thread_comes_to_its_end_before_the_run_is_given_up() -> None:
    over: list[bool] = []

    def work() -> None:
        threading.Event().wait(0.05)
        over.append(True)

    async def waits_for_a_slow_thread() -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(work)

    with pytest.raises(UsesThreads):
        explore(waits_for_a_slow_thread)
    assert over


def test_inside_a_trio_run_it_is_refused() -> None:
    with pytest.raises(InsideTrio, match="from a plain function"):
        trio.run(explores)


def test_what_an_earlier_run_left_is_noticed() -> None:
    left: list[int] = []

    async def remembers() -> None:
        left.append(1)
        assert len(left) != 3

    async def two_tasks() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)
        await remembers()

    with pytest.raises(NotDeterministic, match="Make all of that anew"):
        explore(two_tasks)


def test_another_run_than_before_is_noticed_though_none_fails() -> None:
    left: list[int] = []

    async def shorter_each_time() -> None:
        left.append(1)
        async with trio.open_nursery() as nursery:
            for _ in range(max(0, 4 - len(left))):
                nursery.start_soon(trio.lowlevel.checkpoint)

    with pytest.raises(NotDeterministic, match="did not come to the choices"):
        explore(shorter_each_time)


# --- no traces ----------------------------------------------------------------------------------


async def cannot_be_ended() -> None:
    while True:
        with suppress(trio.Cancelled):  # noqa: ASYNC103  # that is the mistake
            await trio.sleep_forever()


async def swallows_whatever_comes() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swallow)
        await trio.lowlevel.checkpoint()


async def swallow() -> None:
    for _ in range(9_000):
        with suppress(BaseException):  # noqa: ASYNC103  # that is the mistake
            await trio.sleep_forever()


async def under_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("scenario", "error"),
    [
        (lost_update, RaceFound),
        (opposite_locks, RaceFound),
        (cannot_be_ended, RaceFound),
        (swallows_whatever_comes, RaceFound),
        (under_a_shield, RaceFound),
        (uses_a_thread, UsesThreads),
        (uses_a_socket, UsesRealIO),
        (interrupted, KeyboardInterrupt),
        (explores, NestedRun),
    ],
)
def test_a_run_leaves_everything_as_it_was(
    scenario: object, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc

    unraisable: list[object] = []
    random.seed(12345)
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    before = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING, random.getstate(), time.sleep
    hooks = sys.get_asyncgen_hooks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error):
            explore(scenario, max_steps=2000)  # type: ignore[arg-type]
        gc.collect()
    after = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING, random.getstate(), time.sleep
    assert after == before
    assert sys.get_asyncgen_hooks() == hooks
    assert not unraisable
    assert explore(locked_update).exhausted


def test_random_numbers_are_the_same_in_every_run() -> None:
    seen: set[float] = set()

    async def draws() -> None:
        seen.add(random.random())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            nursery.start_soon(trio.lowlevel.checkpoint)

    assert explore(draws).runs > 3
    assert len(seen) == 1


# --- progress -----------------------------------------------------------------------------------


def test_progress_is_shown_on_request_and_taken_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.testing._schedules.progress.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("supervisor.testing._schedules.progress.EVERY_SECONDS", 0.0)
    explore(locked_update, progress=True)
    written = capsys.readouterr().err
    assert "locked_update: " in written
    assert "schedules, now with 2 preemptions" in written
    assert written.endswith("\r")


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    explore(locked_update)
    assert capsys.readouterr().err == ""
