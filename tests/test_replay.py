"""A schedule that fails, fails again: step by step, time and again, wherever it is run."""

from __future__ import annotations

import os
import subprocess
import sys

import planted
import pytest
from planted import replay_all
from planted.replay_all import Expected, measure, steps_of, story_of

from supervisor.testing import replay

TIMES = 200

EXPECTED = replay_all.read()

every_line = pytest.mark.parametrize("expected", EXPECTED, ids=lambda expected: expected.name)


def test_every_planted_bug_has_its_line() -> None:
    assert [line.name for line in EXPECTED] == list(planted.NAMES)


def test_the_lines_can_be_told_apart() -> None:
    assert len({line.steps for line in EXPECTED}) == len(EXPECTED)
    assert len({line.story for line in EXPECTED}) == len(EXPECTED)


@every_line
def test_this_python_and_this_trio_come_to_what_others_came_to(expected: Expected) -> None:
    broken = planted.load(expected.name).broken
    assert measure(expected.name, expected.replay_text) == expected, story_of(
        expected.replay_text, broken
    )


@every_line
def test_it_replays_identically_two_hundred_times(expected: Expected) -> None:
    broken = planted.load(expected.name).broken
    first = steps_of(expected.replay_text, broken)
    assert first[-1].startswith(("AssertionError: ", "Deadlock: "))
    for _ in range(TIMES - 1):
        assert steps_of(expected.replay_text, broken) == first


@pytest.mark.parametrize("name", ["lost_update", "lock_order"])
def test_its_story_is_the_same_two_hundred_times(name: str) -> None:
    broken = planted.load(name).broken
    text = next(line.replay_text for line in EXPECTED if line.name == name)
    stories = {story_of(text, broken) for _ in range(TIMES)}
    assert len(stories) == 1
    assert stories.pop()


def test_another_schedule_takes_other_steps() -> None:
    broken = planted.load("lost_update").broken
    text = next(line.replay_text for line in EXPECTED if line.name == "lost_update")
    plain = steps_of("race1 broken", broken)
    assert plain[-1] == "ends"
    assert plain != steps_of(text, broken)[: len(plain)]


@pytest.mark.parametrize("seed", ["0", "4242"])
def test_it_replays_identically_in_a_fresh_process(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, replay_all.__file__],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(line) for line in EXPECTED]


def test_what_fails_in_a_replay_is_the_scenarios_own_error() -> None:
    text = next(line.replay_text for line in EXPECTED if line.name == "check_then_await")
    with pytest.raises(AssertionError, match="overdrawn: -20"):
        replay(text, planted.load("check_then_await").broken)
