"""Works for the conformance suite of launchers: functions, scripts and programs."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from fakes import Script, _RunningFake
from launching import alive, unique

from supervisor._model import Command
from supervisor.testing._conformance import LauncherWorks

# --- scripts ----------------------------------------------------------------------------------


class _EndingRuns(list[_RunningFake]):
    """Attempts that end as soon as they run."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def append(self, running: _RunningFake) -> None:
        super().append(running)
        running.leave(code=self._code)


class Ends(Script):
    """A script that ends by itself, with this exit code."""

    def __init__(self, code: int = 0) -> None:
        super().__init__()
        self.runs = _EndingRuns(code)


def fake_works(**more: Any) -> LauncherWorks:
    """Scripts for the fake launcher."""
    return LauncherWorks(
        returns=Ends(),
        fails=Ends(3),
        sleeps=Script(),
        ignores_cancel=Script(obeys=False),
        cannot_start=Script(spawn_error="no more processes"),
        alive=lambda script: script.alive > 0,
        **more,
    )


# --- async functions --------------------------------------------------------------------------


def function_works() -> LauncherWorks:
    """Async functions that know whether they are alive."""
    living: dict[object, int] = {}

    def counted(function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            living[work] = living.get(work, 0) + 1
            try:
                await function()
            finally:
                living[work] -= 1

        return work

    @counted
    async def fails() -> None:
        raise ValueError("boom")

    @counted
    async def ignores_cancel() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)

    @counted
    async def leaves_children() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - the child outlives it
            nursery.start_soon(trio.sleep, 0.05)

    return LauncherWorks(
        returns=counted(trio.lowlevel.checkpoint),
        fails=fails,
        sleeps=counted(trio.sleep_forever),
        ignores_cancel=ignores_cancel,
        leaves_children=leaves_children,
        alive=lambda work: living.get(work, 0) > 0,
    )


# --- programs ---------------------------------------------------------------------------------


def shell(script: str) -> Command:
    """A shell, which carries a marker of its own, and so do those that it starts with `$0`."""
    return Command(("sh", "-c", script, unique("conformance")))


def command_works() -> LauncherWorks:
    """Programs; whether they are alive is read from /proc."""
    return LauncherWorks(
        returns=shell("true"),
        fails=shell("exit 3"),
        sleeps=shell("sleep 1000; true"),
        ignores_cancel=shell("trap '' TERM; while :; do sleep 1000; done"),
        cannot_start=Command((f"/no/such/program/{os.getpid()}",)),
        leaves_children=shell("sh -c 'sleep 1000; true' $0 & true"),
        speaks=shell("echo one; echo two"),
        alive=lambda command: bool(alive(str(command.argv[-1]))),
    )
