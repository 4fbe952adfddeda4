"""One run: one task goes on per tick, option 0 goes on with it, time jumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor.testing import Schedule, replay
from supervisor.testing._schedules import probe
from supervisor.testing._schedules.choosing import ByDeviations
from supervisor.testing._schedules.run import Ran, attempt, run_once, session
from supervisor.testing._schedules.where import origin
from supervisor.testing.errors import (
    BadOption,
    Deadlock,
    NeverEnds,
    ReplayMismatch,
    UnsupportedTrio,
)

STRAIGHT = "a0 a1 a2 b0 b1 b2 c0 c1 c2"


def attempt_in_session(async_fn: Any) -> Ran:
    with session():
        return attempt(async_fn, (), ByDeviations(()))


def order(*deviations: tuple[int, int]) -> str:
    """What three tasks of three steps do under a schedule."""
    seen: list[str] = []

    async def task(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(task, name)

    run_once(main, deviations=deviations)
    return " ".join(seen)


def test_without_deviations_a_task_runs_until_it_waits() -> None:
    assert order() == STRAIGHT


def test_a_deviation_is_a_preemption_at_its_choice_point() -> None:
    assert order((0, 1)).startswith("b0 b1 b2")
    assert order((1, 1)).startswith("a0 b0 b1 b2")
    assert order((1, 2)).startswith("a0 c0 c1 c2")


def test_who_was_ready_longest_is_next() -> None:
    assert order((1, 2), (0, 1)) == "a0 c0 b0 b1 b2 a1 a2 c1 c2"


def test_every_order_of_three_beginnings_can_be_had() -> None:
    orders = {
        "".join(step[0] for step in order((gap, first), (0, second)).split() if step[1] == "0")
        for gap in range(2)
        for first in range(1, 4)
        for second in range(1, 4)
    }
    assert orders == {"abc", "acb", "bac", "bca", "cab", "cba"}


@pytest.mark.parametrize("deviations", [(), ((1, 2), (3, 1)), ((0, 4), (2, 2), (2, 2))])
def test_the_same_schedule_is_the_same_run(deviations: tuple[tuple[int, int], ...]) -> None:
    assert len({order(*deviations) for _ in range(5)}) == 1
    assert sorted(order(*deviations).split()) == sorted(STRAIGHT.split())


def test_the_clock_jumps_when_every_task_waits() -> None:
    async def main() -> float:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for seconds in (3, 5):
                nursery.start_soon(trio.sleep, seconds)
        return trio.current_time() - began

    assert run_once(main, deviations=[(2, 1)]) == 5


def test_idle_comes_before_time() -> None:
    async def main() -> float:
        with trio.move_on_after(5):
            await trio.testing.wait_all_tasks_blocked()
        return trio.current_time()

    assert run_once(main) == 0


def test_trios_own_tasks_are_left_alone() -> None:
    ran: list[str] = []

    async def main() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(ran.append, "soon")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
                ran.append("step")

    run_once(main)
    assert "soon" in ran[:3]


def test_a_system_task_of_the_scenario_is_scheduled_too() -> None:
    async def main() -> str:
        seen: list[str] = []

        async def background() -> None:
            seen.append("background")

        trio.lowlevel.spawn_system_task(background)
        await trio.lowlevel.checkpoint()
        seen.append("main")
        return seen[0]

    assert {run_once(main, deviations=each) for each in ([], [(0, 1)])} == {"background", "main"}


@pytest.mark.parametrize("name", [None, "<background>", "trio.background"])
def test_it_is_scheduled_whatever_its_name(name: str | None) -> None:
    async def main() -> bool:
        send, receive = trio.open_memory_channel[int](1)
        trio.lowlevel.spawn_system_task(send.send, 5, name=name)
        await trio.lowlevel.checkpoint()
        return receive.statistics().current_buffer_used == 1

    assert {run_once(main, deviations=each) for each in ([], [(0, 1)])} == {True, False}


def test_code_beside_trio_is_not_taken_for_trios() -> None:
    beside = f"{Path(trio.__file__).parent}_mine/x.py"
    code = compile("def f():\n    raise ValueError", beside, "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    with pytest.raises(ValueError) as raised:
        namespace["f"]()
    assert str(origin(raised.value)) == "x.py:2 in f"


def test_cleanup_runs_after_a_deadlock() -> None:
    seen: list[str] = []

    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            seen.append("cleaned up")

    with pytest.raises(Deadlock, match=r"test_run_once\.py"):
        run_once(main)
    assert seen == ["cleaned up"]


def test_a_task_without_code_of_its_own_stands_in_trio() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with pytest.raises(Deadlock, match=r"sleep_forever waits at _timeouts\.py"):
        run_once(main)


def test_the_last_step_allowed_may_be_the_last() -> None:
    def fits(max_steps: int) -> bool:
        try:
            run_once(first_of_two, max_steps=max_steps)
        except NeverEnds:
            return False
        return True

    (least,) = [steps for steps in range(1, 50) if fits(steps) and not fits(steps - 1)]
    ran = attempt_in_session(first_of_two)
    assert least == ran.steps


def test_what_was_raised_is_raised_as_it_is() -> None:
    error = ValueError("this one")

    async def main() -> None:
        raise error

    with pytest.raises(ValueError, match="this one") as raised:
        run_once(main)
    assert raised.value is error


# --- schedules as values ------------------------------------------------------------------------


async def first_of_two() -> str:
    seen: list[str] = []

    async def task(name: str) -> None:
        seen.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, "a")
        nursery.start_soon(task, "b")
    return seen[0]


async def fails_if_b_is_first() -> None:
    assert await first_of_two() == "a", "b came first"


def test_a_schedule_can_be_pasted_and_printed() -> None:
    schedule = Schedule(((3, 1), (0, 2)), "name")
    assert eval(repr(schedule)) == schedule
    assert str(schedule) == "race1 name 3+1 0+2"
    assert str(Schedule()) == "race1 -"
    assert schedule.preemptions == 2


def test_a_schedule_runs() -> None:
    assert Schedule().run(first_of_two) == "a"
    assert Schedule(((0, 1),)).run(first_of_two) == "b"
    assert replay("race1 test_run_once.first_of_two 0+1", first_of_two) == "b"
    assert replay("race1 - 0+1", first_of_two) == "b"


def test_an_option_beyond_is_counted_round_unless_the_scenario_is_named() -> None:
    assert Schedule(((0, 2),)).run(first_of_two) == "b"
    with pytest.raises(ReplayMismatch, match=r"no such choice for deviation 1 \(0\+2\)"):
        Schedule(((0, 2),), "test_run_once.first_of_two").run(first_of_two)
    with pytest.raises(ReplayMismatch, match=r"deviation 1 \(90\+1\)"):
        Schedule(((90, 1),), "test_run_once.first_of_two").run(first_of_two)


def test_a_failure_has_the_story_as_a_note() -> None:
    with pytest.raises(AssertionError) as raised:
        Schedule(((0, 5),)).run(fails_if_b_is_first)
    (note,) = raised.value.__notes__
    assert "main was put off" not in note
    assert 'replay("race1 test_run_once.fails_if_b_is_first 0+1", fails_if_b_is_first)' in note


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no replay text"),
        ("race1", "is no replay text"),
        ("hello first_of_two 0+1", "is no replay text"),
        ("race2 first_of_two 0+1", "another version of the kit"),
        ("race1 test_run_once.first_of_two 0-1", "is no deviation"),
        ("race1 test_run_once.first_of_two 0+0", "is no deviation"),
        ("race1 other 0+1", "is a schedule of other, not of test_run_once.first_of_two"),
        (None, "is a str"),
    ],
)
def test_a_wrong_replay_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(ReplayMismatch, match=words):
        replay(text, first_of_two)


@pytest.mark.parametrize("max_steps", [0, -5, "x", 1.5])
def test_wrong_steps_are_refused(max_steps: Any) -> None:
    with pytest.raises(BadOption, match="max_steps"):
        replay("race1 -", first_of_two, max_steps=max_steps)


@pytest.mark.parametrize("scenario", [5, "", "two words"])
def test_a_wrong_name_of_a_scenario_is_refused(scenario: Any) -> None:
    with pytest.raises(BadOption, match="scenario"):
        Schedule((), scenario)


@pytest.mark.parametrize(
    "deviations", [[(0, 0)], [(-1, 1)], [1], [(1,)], [("0", 1)], [(True, 1)], None]
)
def test_wrong_deviations_are_refused(deviations: object) -> None:
    with pytest.raises(BadOption, match="a schedule is a sequence of"):
        Schedule(deviations)  # type: ignore[arg-type]


# --- another Trio -------------------------------------------------------------------------------


def test_this_trio_can_be_driven() -> None:
    assert probe._problem(attempt) is None


def test_a_trio_that_behaves_otherwise_is_named() -> None:
    def attempt_otherwise(async_fn, args, chooser):  # type: ignore[no-untyped-def]
        return attempt(async_fn, args, ByDeviations(()))

    with pytest.raises(UnsupportedTrio, match=f"Trio {trio.__version__} .*explore_points"):
        probe.check(attempt_otherwise)


def test_a_trio_without_the_names_is_named() -> None:
    def attempt_nothing(async_fn, args, chooser):  # type: ignore[no-untyped-def]
        raise AttributeError("_r")

    with pytest.raises(UnsupportedTrio, match="AttributeError: _r"):
        probe.check(attempt_nothing)
