"""What a cancelled scenario leaves behind is told, with the line at which it was cancelled."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    suppress,
)

import pytest
import trio
import trio.testing
from cancel_programs import (
    HELD,
    KEPT,
    LEAKS,
    Program,
    ends_the_server_too_late,
    line_marked,
    unsafe,
)

from supervisor.testing._cancelling import (
    cancel_everywhere,
)


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    for each in KEPT:
        with suppress(OSError):
            if isinstance(each, int):
                os.close(each)
            elif isinstance(each, subprocess.Popen):
                each.kill()
                each.communicate()
            elif isinstance(each, threading.Event):
                each.set()
            else:
                each.close()
    for thread in threading.enumerate():
        if thread.name == "left":
            thread.join()
    KEPT.clear()
    HELD.clear()


@pytest.mark.parametrize(("program", "kind", "text"), LEAKS)
def test_what_is_left_is_told_with_the_line_of_the_checkpoint(
    program: Program, kind: str, text: str
) -> None:
    wrong = unsafe(program)
    assert kind in {each.kind for each in wrong.left}
    assert wrong.place is not None
    assert wrong.place.line == line_marked(program, "left")
    assert f"left behind: {kind} " in str(wrong)
    assert text in str(wrong)
    assert wrong.cut == ()


def test_a_system_task_that_is_left_is_told_with_where_it_stands() -> None:
    wrong = unsafe(ends_the_server_too_late)
    assert wrong.number == 1
    assert [each.kind for each in wrong.left] == ["task"]
    assert str(wrong.left[0]).startswith("task the server, at cancel_programs.py:")


def test_a_generator_that_is_left_is_still_closed_by_trio() -> None:
    closed: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            closed.append(1)

    async def program() -> None:
        async for _ in numbers():
            await trio.sleep(1)

    assert [each.kind for each in unsafe(program).left] == ["async generator"]
    assert closed == [1, 1]


def test_a_system_task_that_is_about_to_end_is_not_left() -> None:
    async def program() -> None:
        stop = trio.Event()

        async def serve() -> None:
            await stop.wait()
            for _ in range(50):
                await trio.lowlevel.checkpoint()

        trio.lowlevel.spawn_system_task(serve)
        try:
            await trio.sleep(1)
        finally:
            stop.set()

    assert cancel_everywhere(program).checkpoints == 1


def test_what_is_begun_once_and_kept_is_not_left() -> None:
    async def program() -> None:
        if not KEPT:
            KEPT.extend(os.pipe())
        await trio.sleep(1)

    assert cancel_everywhere(program).checkpoints == 1


def test_what_is_begun_once_because_of_a_cancellation_is_not_left() -> None:
    async def program() -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            if not KEPT:
                KEPT.extend(os.pipe())
            raise

    assert cancel_everywhere(program).checkpoints == 1


def test_what_is_left_without_a_cancellation_is_told_as_such() -> None:
    async def program() -> None:
        KEPT.extend(os.pipe())
        await trio.sleep(1)

    wrong = unsafe(program)
    assert (wrong.number, wrong.way, wrong.place) == (0, "", None)
    assert "is not safe even when nothing cancels it:\n  - left behind: pipe" in str(wrong)
    assert "only this one again" not in str(wrong)
