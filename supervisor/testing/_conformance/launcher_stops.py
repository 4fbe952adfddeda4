"""Rules for launchers: cancelling and killing."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..._records import NeverStarted
from ...abc import RunningJob
from .launcher_bench import Attempt, LauncherBench, killed_at_the_end
from .running import Rule

__all__ = ["STOP_RULES"]

A_WHILE = 0.1
"""Seconds in which something that must not happen could have happened."""
HEAD_STARTS = (0.0, 0.02, 0.1, 0.5, 2.0)
"""Seconds that a body is given to come so far as to ignore a cancel."""
LOOKING = 2.0
"""Seconds that a launcher is given to find out what is alive."""
MOMENTS = 12
"""Ticks after its beginning at each of which an attempt is stopped."""


async def is_not_entered_after_a_cancel(bench: LauncherBench) -> None:
    """An attempt that was cancelled before `run` is NeverStarted: its body is not entered."""
    await _stopped_before(bench, lambda job: job.cancel("too late"))


async def is_not_entered_after_a_kill(bench: LauncherBench) -> None:
    """An attempt that was killed before `run` is NeverStarted: its body is not entered."""
    await _stopped_before(bench, lambda job: job.kill())


async def _stopped_before(bench: LauncherBench, stop: Callable[[RunningJob], None]) -> None:
    for name in ("returns", "sleeps"):
        if name == "returns" and name not in bench.works.given():
            continue
        attempt = bench.attempt(name)
        stop(attempt.job)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            exit = await attempt.ended()
        bench.notes.instance(exit, NeverStarted, "NeverStarted(...)")
        assert isinstance(exit, NeverStarted)
        bench.notes.equal(exit.error, None, "its error")
        bench.notes.equal(attempt.sink.starts, 0, "starts told")


async def notices_a_stop_while_it_starts(bench: LauncherBench) -> None:
    """A stop that comes while `run` acquires something ends it, whenever that is.

    What is NeverStarted did not tell that it began; whatever else it is, it did.
    """
    bench.work("sleeps")
    for moment in range(MOMENTS):
        attempt = bench.attempt("sleeps")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            for _ in range(moment // 2):
                await trio.lowlevel.checkpoint()
            if moment % 2:
                attempt.job.kill()
            else:
                attempt.job.cancel(None)
            exit = await attempt.ended()
        expected = 0 if isinstance(exit, NeverStarted) else 1
        bench.notes.equal(
            attempt.sink.starts, expected, f"starts told, of what is {type(exit).__name__}"
        )
        bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")


async def leaves_when_it_is_cancelled(bench: LauncherBench) -> None:
    """`cancel` asks the body to leave; when it has left, nothing of it is alive."""
    for reason in ("why", None):
        attempt = bench.attempt("sleeps")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            await attempt.began()
            await _seen_alive(bench, attempt)
            attempt.job.cancel(reason)
            exit = await attempt.ended()
        bench.notes.true(not isinstance(exit, NeverStarted), "an exit of what began", exit)
        bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")


async def _seen_alive(bench: LauncherBench, attempt: Attempt) -> None:
    """Who says what is alive has to see what is; a program may need a moment to show its name."""
    with trio.move_on_after(LOOKING):
        while (  # noqa: ASYNC110 - what happens outside of this process rings no bell
            bench.alive(attempt.work) is False and not attempt.over.is_set()
        ):
            await trio.sleep(0.01)
        return
    bench.notes.add("works.alive(works.sleeps), while it runs")
    bench.notes.broken("True", "False; works.alive does not see the work, or it never began")


async def may_be_cancelled_again(bench: LauncherBench) -> None:
    """`cancel` may be called any number of times, with any reason, also after the end."""
    attempt = bench.attempt("sleeps")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt.run)
        await attempt.began()
        for reason in (None, "again", "and again"):
            attempt.job.cancel(reason)
        exit = await attempt.ended()
    attempt.job.cancel("after the end")
    bench.notes.true(attempt.exit is exit, "the same exit", attempt.exit)


async def may_be_killed_again(bench: LauncherBench) -> None:
    """`kill` ends what would leave when asked, may be called again, and also after the end."""
    attempt = bench.attempt("sleeps")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt.run)
        await attempt.began()
        for _ in range(3):
            attempt.job.kill()
        await attempt.ended()
    attempt.job.kill()
    attempt.job.cancel(None)
    bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")


async def _resisting(bench: LauncherBench, nursery: trio.Nursery) -> Attempt:
    """An attempt that was cancelled and goes on.

    A program tells that it began before it has come so far as to ignore a signal, and nothing tells
    when it has; so it is given more time, time after time.
    """
    for seconds in HEAD_STARTS:
        attempt = bench.attempt("ignores_cancel")
        nursery.start_soon(attempt.run)
        try:
            await attempt.began()
            await trio.sleep(seconds)
            attempt.job.cancel(None)
            with trio.move_on_after(A_WHILE):
                await attempt.over.wait()
        except BaseException:
            attempt.plain.kill()
            raise
        if not attempt.over.is_set() or not bench.plain.can_force:
            return attempt
        bench.notes.true(
            not attempt.alive_at_end, "that it goes on while it is alive", attempt.exit
        )
    bench.notes.broken(f"that one of {len(HEAD_STARTS)} goes on", "all of them ended")


async def does_not_return_while_something_is_alive(bench: LauncherBench) -> None:
    """After a cancel that the body ignores, `run` goes on until the body is gone."""
    bench.work("ignores_cancel")
    if not bench.plain.can_force:
        bench.needs_alive()
    async with trio.open_nursery() as nursery:
        attempt = await _resisting(bench, nursery)
        attempt.job.kill()
        await attempt.ended()
    bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")


async def kill_ends_what_ignores_a_cancel(bench: LauncherBench) -> None:
    """Where `can_force` is True, `kill` ends what does not want to end, cancelled before or not."""
    bench.work("ignores_cancel")
    bench.needs_force()
    async with trio.open_nursery() as nursery:
        attempt = await _resisting(bench, nursery)
        attempt.job.kill()
        await attempt.ended()
        bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")
        attempt = bench.attempt("ignores_cancel")
        nursery.start_soon(attempt.run)
        await attempt.began()
        attempt.job.kill()
        await attempt.ended()
        bench.notes.true(not attempt.alive_at_end, "nothing alive", "it is alive")


async def names_what_survives(bench: LauncherBench) -> None:
    """`survivors` gives a tuple of lines at any time, and at least one while a body resists."""
    _check_lines(bench, bench.attempt("ignores_cancel"))
    async with trio.open_nursery() as nursery:
        attempt = await _resisting(bench, nursery)
        with killed_at_the_end(attempt):
            await _look_until_one_is_named(bench, attempt)
        await attempt.ended()
    _check_lines(bench, attempt)


async def _look_until_one_is_named(bench: LauncherBench, attempt: Attempt) -> None:
    """A launcher may have to look first, as at all processes of a machine."""
    with trio.move_on_after(LOOKING):
        while (  # noqa: ASYNC110 - what happens outside of this process rings no bell
            not _check_lines(bench, attempt) and not attempt.over.is_set()
        ):
            await trio.sleep(0.01)
        return
    bench.notes.broken("at least one line, while it is alive", "()")


def _check_lines(bench: LauncherBench, attempt: Attempt) -> tuple[str, ...]:
    lines = attempt.job.survivors()
    bench.notes.instance(lines, tuple, "a tuple")
    for line in lines:
        bench.notes.instance(line, str, "lines of text")
        bench.notes.true(bool(line.strip()) and "\n" not in line, "lines of text", line)
    return lines


async def keeps_attempts_apart(bench: LauncherBench) -> None:
    """Stopping one attempt leaves every other alone, also one at the same work."""
    attempts = [bench.attempt("sleeps") for _ in range(3)]
    async with trio.open_nursery() as nursery:
        with killed_at_the_end(*attempts):
            for attempt in attempts:
                nursery.start_soon(attempt.run)
                await attempt.began()
            for stopped, stop in ((0, "cancel"), (1, "kill")):
                job = attempts[stopped].job
                job.cancel(None) if stop == "cancel" else job.kill()
                await attempts[stopped].ended()
                with trio.move_on_after(A_WHILE):
                    await attempts[2].over.wait()
                over = [number for number, each in enumerate(attempts) if each.over.is_set()]
                bench.notes.equal(over, list(range(stopped + 1)), "the attempts that are over")
            attempts[2].job.cancel(None)
            await attempts[2].ended()
    bench.notes.equal([attempt.sink.starts for attempt in attempts], [1, 1, 1], "starts told")


async def is_gone_when_its_task_is_cancelled(bench: LauncherBench) -> None:
    """`run` whose own task is cancelled ends the attempt, and lets the cancellation through."""
    attempt = bench.attempt("sleeps")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            await attempt.began()
            scope.cancel()
    bench.notes.add("cancelling the task that awaits run()")
    bench.notes.equal(attempt.exit, None, "its exit")
    bench.notes.true(not bench.alive(attempt.work), "nothing alive", "it is alive")


STOP_RULES = (
    Rule(is_not_entered_after_a_cancel),
    Rule(is_not_entered_after_a_kill),
    Rule(notices_a_stop_while_it_starts),
    Rule(leaves_when_it_is_cancelled),
    Rule(may_be_cancelled_again),
    Rule(may_be_killed_again),
    Rule(does_not_return_while_something_is_alive),
    Rule(kill_ends_what_ignores_a_cancel),
    Rule(names_what_survives),
    Rule(keeps_attempts_apart),
    Rule(is_gone_when_its_task_is_cancelled),
)
