"""The race kit finds every planted bug, makes it small, and clears the corrected twins."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import planted
import pytest
import trio
import trio.testing
from planted.finding import Found, by_drawing, by_exploring

from supervisor.testing import Schedule, explore, replay

PLANTED = Path(planted.__file__).parent

every_bug = pytest.mark.parametrize("name", planted.NAMES)


def found_by(search: Callable[..., Found | None], name: str) -> Found:
    found = search(planted.load(name).broken)
    assert found is not None, f"{name} was not found"
    return found


def test_every_module_is_named_and_says_what_is_wrong() -> None:
    others = {"__init__", "finding", "replay_all"}
    assert {path.stem for path in PLANTED.glob("*.py")} - others == set(planted.NAMES)
    for name in planted.NAMES:
        assert len((planted.load(name).__doc__ or "").splitlines()) >= 3, name


@every_bug
def test_nobody_sees_it_without_preemptions(name: str) -> None:
    for scenario in (planted.load(name).broken, planted.load(name).right):
        Schedule().run(scenario)


@every_bug
def test_a_plain_test_under_trio_passes(name: str) -> None:
    for scenario in (planted.load(name).broken, planted.load(name).right):
        for _ in range(5):
            trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


@every_bug
def test_exploring_finds_it(name: str, figures: Callable[..., None]) -> None:
    found = found_by(by_exploring, name)
    assert 1 <= found.schedule.preemptions <= 2
    figures(
        "planted bugs, explored",
        bug=name,
        preemptions=str(found.schedule.preemptions),
        runs=str(found.runs),
        ms=f"{found.seconds * 1000:.1f}",
    )


@every_bug
def test_drawing_finds_it_and_shrinks_it(name: str, figures: Callable[..., None]) -> None:
    found = found_by(by_drawing, name)
    assert 1 <= found.schedule.preemptions <= 2
    figures(
        "planted bugs, drawn by Hypothesis",
        bug=name,
        preemptions=str(found.schedule.preemptions),
        runs=str(found.runs),
        ms=f"{found.seconds * 1000:.0f}",
    )


@every_bug
def test_what_was_found_can_be_replayed(name: str) -> None:
    module, found = planted.load(name), found_by(by_exploring, name)
    with pytest.raises(type(found.error), match=re.escape(str(found.error))):
        replay(str(found.schedule), module.broken)


@every_bug
def test_the_corrected_twin_is_exhausted(name: str) -> None:
    done = explore(planted.load(name).right, preemptions=2)
    assert done.exhausted
    assert done.runs > 1
