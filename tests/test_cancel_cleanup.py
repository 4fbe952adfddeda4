"""Cleanup that is cut short is told, with its line; right cleanup passes."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from cancel_programs import (
    RIGHT,
    WRONG,
    Program,
    line_marked,
    second_aclose_is_skipped,
    two_sleeps,
    unsafe,
    unshielded,
    unshielded_in_a_helper,
)

from supervisor.testing._cancelling import (
    cancel_everywhere,
)
from supervisor.testing._cancelling import everywhere as everywhere_module
from supervisor.testing._cancelling import once as once_module
from supervisor.testing._cancelling.cleanup import Cleanups


@pytest.mark.parametrize("program", RIGHT)
def test_right_cleanup_passes(program: Program) -> None:
    report = cancel_everywhere(program)
    assert report.checkpoints > 0
    assert report.unseen == ()


@pytest.mark.parametrize("way", ["scope", "deadline"])
@pytest.mark.parametrize("program", WRONG)
def test_cleanup_that_is_cut_short_is_told_with_its_line(program: Program, way: str) -> None:
    wrong = unsafe(program, by=way)
    (cut,) = wrong.cut
    line = line_marked(program, "cut")
    assert cut.place.line == line
    assert f"cleanup was cut short at cancel_programs.py:{line} in " in str(wrong)
    assert wrong.way == way


def test_what_was_skipped_is_told() -> None:
    wrong = unsafe(second_aclose_is_skipped)
    line = line_marked(second_aclose_is_skipped, "cut")
    assert wrong.cut[0].skipped == line + 1
    assert f"so that line {line + 1} was skipped" in str(wrong)


def test_where_the_cleanup_began_is_told() -> None:
    wrong = unsafe(unshielded_in_a_helper)
    assert wrong.cut[0].began.line > wrong.cut[0].place.line
    assert f", in the cleanup that began at {wrong.cut[0].began}" in str(wrong)


def test_looking_for_it_can_be_turned_off() -> None:
    assert cancel_everywhere(unshielded, cleanup=False).checkpoints == 2


def test_cleanup_that_is_cut_short_without_us_is_told_too() -> None:
    async def program() -> None:
        with trio.move_on_after(0.5):
            await unshielded()

    wrong = unsafe(program)
    assert wrong.number == 0
    assert wrong.cut[0].place.line == line_marked(unshielded, "cut")
    assert "is not safe even when nothing cancels it:\n  - cleanup was cut short at " in str(wrong)


# --- a Trio that does not show cleanup ------------------------------------------------------------


def test_cleanup_that_cannot_be_seen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere_module, "sees_cleanup", lambda: False)
    report = cancel_everywhere(two_sleeps)
    assert report.unseen == ("cleanup that was cut short: this Trio does not show it",)
    assert "not looked at: cleanup that was cut short" in str(report)
    assert cancel_everywhere(two_sleeps, cleanup=False).unseen == ()


def test_the_probe_of_cleanup_fails_when_deliveries_are_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert once_module.sees_cleanup.__wrapped__()
    monkeypatch.setattr(Cleanups, "before_step", lambda self, task: None)
    assert not once_module.sees_cleanup.__wrapped__()


def test_an_error_of_the_watcher_itself_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Cleanups, task: trio.lowlevel.Task) -> None:
        raise RuntimeError("the kit is wrong")

    once_module.sees_cleanup()
    monkeypatch.setattr(Cleanups, "before_step", fails)
    with pytest.raises(RuntimeError, match="the kit is wrong"):
        cancel_everywhere(two_sleeps)
