"""What only looks or waits can be left at any time."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing
from cli_records import job

from supervisor import Job, JobState
from supervisor.cli import signals, wait
from supervisor.cli.screen import Notice, Screen
from supervisor.cli.signals import ASKING, until_stopped
from supervisor.testing import Schedule


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A command ends by ignoring the signals."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_is_done_gives_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert trio.run(until_stopped, work, lambda: "bye") == 7
    assert capsys.readouterr().err == ""
    # From here on a signal would only spoil the exit code.
    assert {signal.getsignal(number) for number in ASKING} == {signal.SIG_IGN}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("words", ["bye", ""])
def test_first_signal_ends_it(
    number: signal.Signals, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> int:
        os.kill(os.getpid(), number)
        await trio.sleep_forever()
        raise AssertionError

    assert trio.run(until_stopped, work, lambda: words) == code
    assert capsys.readouterr().err == (f"trio-supervisor: {words}\n" if words else "")


def test_second_signal_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    released = trio.Event()

    def leave(code: int) -> None:
        left.append(code)
        released.set()

    async def work() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            with trio.CancelScope(shield=True), trio.fail_after(20):
                await released.wait()
        raise AssertionError

    monkeypatch.setattr(signals, "leave_now", leave)
    assert trio.run(until_stopped, work) == 143
    assert left == [143]


# --- what is told of the connection --------------------------------------------------------------


def test_notice_goes_into_the_picture_while_there_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class FakeScreen(Screen):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    notice, screen = Notice(), FakeScreen()
    with notice.on(screen):
        notice.tell("lost")
    assert screen.notes == ["lost"]
    assert capsys.readouterr().err == ""
    notice.tell("lost")
    assert capsys.readouterr().err == "trio-supervisor: lost\n"


# --- waits at a time -----------------------------------------------------------------------------


def test_waits_for_many_jobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may have no more than so many requests under way."""
    monkeypatch.setattr(wait, "AT_ONCE", 3)
    waiting, most = 0, 0

    class FakeClient:
        async def wait(self, job_id: str, timeout: float = math.inf) -> Job:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await trio.sleep(1)
            waiting -= 1
            return job(JobState.SUCCEEDED)

    client: Any = FakeClient()
    ended: Callable[..., Any] = wait._ended
    jobs = Schedule().run(ended, client, [f"j{number}" for number in range(10)], None)
    assert len(jobs) == 10
    assert most == 3
