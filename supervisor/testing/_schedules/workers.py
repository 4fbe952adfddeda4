"""Runs schedules in several processes, and gives the answers in the order of the schedules.

The processes are spawned, not forked: a fork would take over threads and event loops in whatever
state they are. So the scenario is imported there by its name.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context

from ..errors import BadScenario, KitError
from .run import Scenario, session
from .running import run_here
from .scenario import name_of
from .search import Answer, Child

CHUNK = 100
"""So many schedules go to a process at once."""

AHEAD = 3
"""So many chunks are under way for each process, so that none waits for work."""


@contextmanager
def open_workers(
    async_fn: Scenario, args: Sequence[object], max_steps: int, workers: int
) -> Iterator[Callable[[Iterable[Child]], Iterator[Answer]]]:
    """So many processes; what is yielded runs schedules in them.

    Raises:
        BadScenario: the scenario cannot be imported by another process.
    """
    pickled = _pickled(async_fn, args)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    def run_all(children: Iterable[Child]) -> Iterator[Answer]:
        pending: deque[Future[list[Answer]]] = deque()
        remaining = iter(children)
        try:
            while True:
                while len(pending) < workers * AHEAD and (chunk := [*islice(remaining, CHUNK)]):
                    pending.append(pool.submit(_run_chunk, pickled, max_steps, chunk))
                if not pending:
                    return
                yield from _answers(pending.popleft(), workers)
        finally:
            for each in pending:
                each.cancel()

    try:
        yield run_all
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _answers(chunk: Future[list[Answer]], workers: int) -> list[Answer]:
    try:
        return chunk.result()
    except BrokenProcessPool:
        raise KitError(
            f"one of the {workers} worker processes died while it ran schedules; explore without "
            "workers= to see what the scenario does to its process. (A script that uses workers "
            'must start its own work under `if __name__ == "__main__":`)'
        ) from None


def _run_chunk(pickled: bytes, max_steps: int, children: list[Child]) -> list[Answer]:
    """In a worker: run until one fails; the rest of the chunk would come later anyway."""
    async_fn, args = pickle.loads(pickled)
    answers: list[Answer] = []
    with session():
        for answer in run_here(async_fn, args, max_steps, children):
            answers.append(answer)
            if answer[1] is None:
                break
    return answers


def _pickled(async_fn: Scenario, args: Sequence[object]) -> bytes:
    """Here and once: the pool's own thread could not, while the scenario's module is imported."""
    try:
        pickled = pickle.dumps((async_fn, args))
        pickle.loads(pickled)
        return pickled
    except Exception as exc:
        raise BadScenario(
            f"{name_of(async_fn)} cannot be sent to worker processes ({exc}); make it an async "
            "function of a module, with arguments that can be pickled, or explore without workers="
        ) from None
