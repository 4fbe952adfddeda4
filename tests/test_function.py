"""The launcher of async functions: what it accepts, its one scope, where a job hangs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from fakes import at, forever, make_spec, run, settle

from supervisor._records import Exit, LetThrough, NeverStarted, Raised, Returned
from supervisor.abc import RunningJob
from supervisor.launchers.function import FunctionLauncher


class Sink:
    """Notes what a launcher says."""

    def __init__(self) -> None:
        self.starts = 0

    def started(self) -> None:
        self.starts += 1

    def log_line(self, stream: str, data: str | bytes) -> None: ...


class Methods:
    async def method(self) -> None: ...

    def blocking(self) -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    @staticmethod
    async def of_nothing() -> None: ...


class Callable_:
    async def __call__(self) -> None: ...


class Blocking:
    def __call__(self) -> None: ...


def blocking() -> None: ...


async def generator() -> Any:
    yield


async def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.mark.parametrize(
    "work",
    [
        forever,
        Methods().method,
        Methods.of_class,
        Methods.of_nothing,
        Callable_(),
        functools.partial(add, 1),
        functools.partial(functools.partial(add, 1), b=2),
        functools.partial(Callable_()),
        trio.sleep_forever,
    ],
)
def test_it_accepts_whatever_gives_a_coroutine(work: object) -> None:
    assert FunctionLauncher().accepts(work)


@pytest.mark.parametrize(
    "work",
    [
        blocking,
        generator,
        Methods().blocking,
        Blocking(),
        Callable_,
        print,
        functools.partial(blocking),
        None,
        "name",
        7,
        lambda: None,
    ],
)
def test_it_accepts_nothing_else(work: object) -> None:
    assert not FunctionLauncher().accepts(work)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs inspect.markcoroutinefunction")
def test_it_accepts_a_function_that_is_marked() -> None:
    import inspect

    def wrapper() -> Awaitable[None]:
        return forever()

    assert FunctionLauncher().accepts(inspect.markcoroutinefunction(wrapper))  # type: ignore[attr-defined]


def prepared(work: Callable[..., Any], *arguments: Any) -> tuple[RunningJob, Sink]:
    sink = Sink()
    spec = make_spec(work=work, arguments=arguments, created=at(0))
    return FunctionLauncher().prepare(spec, 1, sink), sink


async def exit_of(
    running: RunningJob, disturb: Callable[[RunningJob], None] = lambda running: None
) -> Exit:
    exits = []

    async def task() -> None:
        exits.append(await running.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        await settle()
        disturb(running)
    return exits[0]


def test_preparing_has_no_effect() -> None:
    entered: list[int] = []

    async def body() -> None:
        entered.append(1)

    _, sink = prepared(body)
    assert (entered, sink.starts) == ([], 0)


@pytest.mark.parametrize("stop", [lambda it: it.cancel(None), lambda it: it.kill()])
def test_a_body_that_was_stopped_before_is_not_entered(
    stop: Callable[[RunningJob], None],
) -> None:
    entered: list[int] = []

    async def body() -> None:
        entered.append(1)

    async def main() -> None:
        running, sink = prepared(body)
        stop(running)
        exit = await exit_of(running)
        assert isinstance(exit, NeverStarted)
        assert (entered, sink.starts) == ([], 0)

    run(main)


def test_it_says_once_that_the_body_begins() -> None:
    async def main() -> None:
        running, sink = prepared(add, 1, 2)
        exit = await exit_of(running)
        assert isinstance(exit, Returned)
        assert (exit.value, exit.proof.means, sink.starts) == (3, "task_exited", 1)

    run(main)


@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_a_cancel_is_let_through(how: str) -> None:
    async def main() -> None:
        running, _ = prepared(forever)

        def stop(running: RunningJob) -> None:
            for _ in range(3):
                running.cancel("why") if how == "cancel" else running.kill()

        assert isinstance(await exit_of(running, stop), LetThrough)

    run(main)


def test_the_body_sees_the_reason() -> None:
    async def main() -> None:
        seen = []

        async def body() -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                seen.append(exc.reason)
                raise

        running, _ = prepared(body)
        await exit_of(running, lambda running: running.cancel("deploy"))
        assert seen == ["deploy"]

    run(main)


def test_what_it_raises_is_kept_for_the_one_who_holds_it() -> None:
    async def main() -> None:
        error = ValueError("boom")

        async def body() -> None:
            raise error

        running, _ = prepared(body)
        exit = await exit_of(running)
        assert isinstance(exit, Raised)
        assert exit.error.message == "boom"
        assert running.exception is error

    run(main)


def test_its_children_are_gone_before_it_is() -> None:
    async def main() -> None:
        alive = []

        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
                alive.remove(1)

        async def body() -> None:
            async with trio.open_nursery() as nursery:
                alive.append(1)
                nursery.start_soon(child)

        running, _ = prepared(body)
        await exit_of(running, lambda running: running.cancel(None))
        assert alive == []

    run(main)


def test_a_cancellation_of_its_own_task_goes_through() -> None:
    async def main() -> None:
        running, _ = prepared(forever)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.run)
                await settle()
                scope.cancel()
        assert scope.cancelled_caught

    run(main)


def test_where_it_hangs_is_named_outermost_first() -> None:
    async def inner() -> None:
        await trio.sleep_forever()

    async def outer() -> None:
        await inner()

    async def main() -> None:
        running, _ = prepared(outer)
        where: list[tuple[str, ...]] = []

        def look(running: RunningJob) -> None:
            where.append(running.survivors())
            running.cancel(None)

        assert running.survivors() == ()
        await exit_of(running, look)
        named = [line.partition(" ")[0].rpartition(".")[2] for line in where[0]]
        assert named[-3:-1] == ["inner", "sleep_forever"]
        assert "outer" in named
        assert f"({__file__}:" in " ".join(where[0])

    run(main)
