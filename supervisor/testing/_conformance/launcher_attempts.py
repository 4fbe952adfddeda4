"""Rules for launchers: what they run, how it begins, and how its end is told."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import trio
import trio.testing

from ..._model import JobErrorInfo
from ..._records import Exited, NeverStarted, Raised, Returned
from .calls import CannotCheck
from .launcher_bench import STREAMS, LauncherBench
from .running import Rule, opened

__all__ = ["ATTEMPT_RULES"]

PROC = Path("/proc/self/fd")


async def opens_and_closes(bench: LauncherBench) -> None:
    """`open()` is an async context manager, which can be entered and left."""
    bench.notes.add("open()")


async def names_its_kind(bench: LauncherBench) -> None:
    """`kind` is a text, `can_force` is True or False, and both are attributes of the class."""
    launcher = type(bench.plain)
    bench.notes.add("kind, on the class")
    kind = getattr(launcher, "kind", None)
    bench.notes.true(isinstance(kind, str) and kind != "", "a text that is not empty", kind)
    bench.notes.add("can_force, on the class")
    bench.notes.instance(getattr(launcher, "can_force", None), bool, "True or False")


async def knows_what_it_runs(bench: LauncherBench) -> None:
    """`accepts` is True for its works and False for what it knows nothing of; it never raises."""
    notes = bench.notes
    for name, work in bench.works.given().items():
        notes.add(f"accepts(works.{name})")
        notes.true(bench.launcher.accepts(work) is True, "True", bench.plain.accepts(work))
    for odd in (object(), None, 0, "", b"", (), [], {}, float("nan"), LauncherBench, Ellipsis):
        notes.add(f"accepts({odd!r})")
        got = bench.launcher.accepts(odd)
        notes.true(got is False, "False", got)


async def prepares_without_effect(bench: LauncherBench) -> None:
    """`prepare` makes a new handle and nothing else: nothing begins before `run`."""
    notes = bench.notes
    for name in bench.works.given():
        first, second = bench.attempt(name), bench.attempt(name)
        notes.true(first.plain is not second.plain, "another handle each time", "the same")
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        notes.equal((first.sink.starts, second.sink.starts), (0, 0), "starts told")
        notes.equal(first.sink.lines + second.sink.lines, [], "lines told")
        notes.true(not bench.alive(first.work), "nothing that is alive", "it is alive")
        notes.equal(first.plain.exception, None, "its exception")


async def tells_that_it_began(bench: LauncherBench) -> None:
    """`sink.started()` is called once, before the end, by each attempt whose body was entered."""
    attempt, _ = await bench.finished("returns")
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    bench.notes.equal(attempt.sink.starts, 1, "starts told")
    bench.notes.equal(attempt.sink.after_the_end, 0, "calls of the sink after the end")


async def tells_that_it_runs(bench: LauncherBench) -> None:
    """`sink.started()` is called when the body begins, not when it ends."""
    attempt = bench.attempt("sleeps")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt.run)
        await attempt.began()
        bench.notes.true(not attempt.over.is_set(), "that it goes on", attempt.exit)
        attempt.job.cancel(None)
        await attempt.ended()
        bench.notes.equal(attempt.sink.starts, 1, "starts told")


async def tells_that_it_went_well(bench: LauncherBench) -> None:
    """A work that ends well ends as Returned, or as Exited with code 0."""
    _, exit = await bench.finished("returns")
    well = isinstance(exit, Returned) or (isinstance(exit, Exited) and exit.code == 0)
    bench.notes.true(well, "Returned(...) or Exited(code=0)", exit)


async def tells_a_failure_as_an_exit(bench: LauncherBench) -> None:
    """A work that ends badly ends as Raised or Exited; `run` itself does not raise."""
    attempt, exit = await bench.finished("fails")
    notes = bench.notes
    if isinstance(exit, Exited):
        badly = exit.code != 0 and (exit.code is None) != (exit.signal is None)
        notes.true(badly, "an exit code that is not 0, or a signal", exit)
        return
    notes.instance(exit, Raised, "Raised(...), or Exited with another code than 0")
    assert isinstance(exit, Raised)
    notes.instance(exit.error, JobErrorInfo, "an error")
    raised = attempt.plain.exception
    if raised is not None:
        notes.instance(raised, BaseException, "an exception, or None")
        notes.equal(exit.error.type, type(raised).__name__, "the type of its error")


async def tells_why_it_cannot_start(bench: LauncherBench) -> None:
    """What cannot be launched ends as NeverStarted with an error, and disturbs no other work."""
    notes = bench.notes
    for _ in range(2):
        attempt, exit = await bench.finished("cannot_start")
        notes.instance(exit, NeverStarted, "NeverStarted(...)")
        assert isinstance(exit, NeverStarted)
        notes.instance(exit.error, JobErrorInfo, "an error that says why")
        notes.equal(attempt.sink.starts, 0, "starts told")
    if "returns" in bench.works.given():
        _, exit = await bench.finished("returns")
        notes.true(not isinstance(exit, NeverStarted), "that another work runs", exit)


async def ends_with_a_proof(bench: LauncherBench) -> None:
    """Every exit holds a proof that names its means: what was looked at."""
    for name in ("returns", "fails", "cannot_start", "leaves_children", "speaks"):
        if name not in bench.works.given():
            continue
        _, exit = await bench.finished(name)
        proof = exit.proof
        bench.notes.true(bool(proof.means), "its means", proof)


async def nothing_is_left_when_it_ended(bench: LauncherBench) -> None:
    """When `run` returns, nothing of the attempt is alive."""
    bench.needs_alive()
    for name in ("returns", "fails", "cannot_start", "speaks"):
        if name not in bench.works.given():
            continue
        attempt, exit = await bench.finished(name)
        bench.notes.true(not attempt.alive_at_end, "nothing alive", f"it is alive ({exit})")


async def ends_what_it_leaves_running(bench: LauncherBench) -> None:
    """A work that leaves something running is over only when that is gone, too."""
    bench.work("leaves_children")
    bench.needs_alive()
    attempt, exit = await bench.finished("leaves_children")
    bench.notes.true(not attempt.alive_at_end, "nothing alive", f"it is alive ({exit})")


async def passes_lines_on(bench: LauncherBench) -> None:
    """Each line comes once, in order, without its end, with its stream, and before the end."""
    attempt, _ = await bench.finished("speaks")
    notes, sink = bench.notes, attempt.sink
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    notes.equal(sink.after_the_end, 0, "calls of the sink after the end")
    for stream, data in sink.lines:
        notes.true(stream in STREAMS, f"a stream of {STREAMS}", stream)
        notes.instance(data, (str, bytes), "a line of text or bytes")
    said = [data if isinstance(data, str) else data.decode() for _, data in sink.lines]
    notes.equal(said, ["one", "two"], "its lines")


async def leaves_nothing_open(bench: LauncherBench) -> None:
    """Files and processes that it keeps for several jobs are gone when its `open()` is left."""
    if not PROC.is_dir():
        raise CannotCheck("there is no /proc to look at")
    before = set(_open_files()), set(_child_processes())
    async with opened(bench.plain, bench.notes):
        for name in ("returns", "fails", "cannot_start", "speaks"):
            if name in bench.works.given():
                await bench.finished(name)
    bench.notes.add("leaving open()")
    bench.notes.equal(sorted(set(_open_files()) - before[0]), [], "files left open")
    bench.notes.equal(sorted(set(_child_processes()) - before[1]), [], "processes left")


def _open_files() -> Iterable[tuple[str, str]]:
    for name in os.listdir(PROC):
        try:
            target = os.readlink(PROC / name)
        except OSError:
            continue  # that of the listing itself
        yield name, target


def _child_processes() -> Iterable[str]:
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as children:  # noqa: ASYNC230
                yield from children.read().split()
        except OSError:
            continue  # the thread has ended


ATTEMPT_RULES = (
    Rule(opens_and_closes),
    Rule(names_its_kind),
    Rule(knows_what_it_runs),
    Rule(prepares_without_effect),
    Rule(tells_that_it_began),
    Rule(tells_that_it_runs),
    Rule(tells_that_it_went_well),
    Rule(tells_a_failure_as_an_exit),
    Rule(tells_why_it_cannot_start),
    Rule(ends_with_a_proof),
    Rule(nothing_is_left_when_it_ended),
    Rule(ends_what_it_leaves_running),
    Rule(passes_lines_on),
    Rule(leaves_nothing_open, opens=True),
)
