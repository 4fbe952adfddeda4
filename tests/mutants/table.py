"""Mutants of the table of transitions, which mutmut leaves alone because it is no function.

Each cell is emptied, given the decision of every other cell, and made to lead to one state less or
more; each empty cell is filled. The tests of the lifecycle must notice every one of these.

Run in a copy of the tree, which must be what `supervisor` is imported from: one process is forked
for each mutant, from this one, which has imported everything but the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import typing
from collections.abc import Callable, Iterator

import hypothesis.strategies  # noqa: F401 - imported once, before the forks
import pytest
import trio.testing  # noqa: F401

import supervisor  # noqa: F401
from supervisor import _lifecycle
from supervisor._lifecycle import TRANSITIONS, Input, Row
from supervisor._model import JobState

PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what was imported before the fork
    "tests/test_lifecycle.py",
)
SECONDS = 300
"""After which a mutant counts as noticed, because it hangs; the tests need a few seconds."""

KINDS: tuple[type[Input], ...] = typing.get_args(Input)

Change = Callable[[], None]


def mutants() -> Iterator[tuple[str, str, str, Change]]:
    """Where, what was there, what is there instead, and what makes it so."""
    rows = [row for cells in TRANSITIONS.values() for row in cells.values()]
    decisions = {row.decide.__name__: row.decide for row in rows}
    for state, cells in TRANSITIONS.items():
        for kind in KINDS:
            where = f"TRANSITIONS[{state}][{kind.__name__}]"
            row = cells.get(kind)
            if row is None:
                spare = Row(frozenset({state}), _lifecycle._start_stuck)  # changes nothing
                yield where, "", "_start_stuck", _put(state, kind, spare)
                continue
            was = row.decide.__name__
            yield where, was, "", _put(state, kind, None)
            for name, decide in decisions.items():
                if name != was:
                    yield where, was, name, _put(state, kind, Row(row.leads_to, decide))
            for other in JobState:
                becomes = f"{was} {'-' if other in row.leads_to else '+'}{other}"
                other_row = Row(row.leads_to ^ {other}, row.decide)
                yield where, was, becomes, _put(state, kind, other_row)


def _put(state: JobState, kind: type[Input], row: Row | None) -> Change:
    def put() -> None:
        if row is None:
            del TRANSITIONS[state][kind]
        else:
            TRANSITIONS[state][kind] = row

    return put


def survivors(processes: int) -> Iterator[tuple[str, str, str]]:
    """Those mutants with which the tests pass.

    Raises:
        SystemExit: the tests do not pass without any.
    """
    if not _passes(_fork(lambda: None)):
        raise SystemExit("the tests of the lifecycle fail although nothing was changed")
    running: dict[int, tuple[str, str, str]] = {}
    for *mutant, change in mutants():
        running[_fork(change)] = typing.cast("tuple[str, str, str]", tuple(mutant))
        if len(running) == processes:
            yield from _one_done(running)
    while running:
        yield from _one_done(running)


def _one_done(running: dict[int, tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    child, status = os.wait()
    mutant = running.pop(child)
    if status == 0:
        yield mutant


def _passes(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


def _fork(change: Change) -> int:
    """The number of a process that changes the table, runs the tests and exits as pytest does."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(SECONDS)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        change()
        code = int(pytest.main(list(PYTEST)))
    finally:
        os._exit(code)


def main() -> None:
    """Print how many mutants there are, and the survivors, as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    processes = parser.parse_args().processes
    found = list(survivors(processes))
    print(json.dumps({"mutants": len(list(mutants())), "survivors": found}))


if __name__ == "__main__":
    main()
