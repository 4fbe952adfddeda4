"""Random priorities: for bugs that need more preemptions than a bounded search can afford.

Each task gets a random priority when it is first seen, and the highest that is ready goes on; at
`depth` - 1 random steps the task that would go on falls below all others. S. Burckhardt,
P. Kothari, M. Musuvathi and S. Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees
of Finding Bugs" (ASPLOS 2010) show that one run finds a bug of depth d (one that needs d ordering
constraints) with a probability of at least 1/(n * k**(d-1)), where n is the number of tasks and k
that of steps. Here time passing is one more task, with a priority of its own.
"""

from __future__ import annotations

from random import Random

from .tasks import Task


class ByPriorities:
    """A chooser for one run.

    Args:
        seed: what the random numbers begin with; the same one makes the same run.
        depth: how many ordering constraints to look for, 1 or more.
        steps: how many choice points a run is thought to have.
    """

    def __init__(self, seed: str, depth: int, steps: int) -> None:
        self._random = Random(seed)
        self._priorities: dict[Task | None, float] = {}
        self._change_at = {self._random.randrange(max(1, steps)) for _ in range(depth - 1)}
        self._lowest = 0.0
        self._step = 0

    def choose(self, ready: list[Task], can_pass: bool) -> int:
        options: list[Task | None] = [*ready, None] if can_pass else [*ready]
        for each in sorted(ready, key=lambda task: task._counter):
            self._give(each)
        if can_pass:
            self._give(None)
        chosen = max(options, key=self._priorities.__getitem__)
        if self._step in self._change_at:
            self._lowest -= 1.0
            self._priorities[chosen] = self._lowest
            chosen = max(options, key=self._priorities.__getitem__)
        self._step += 1
        if chosen is None:  # time that always went first would leave no task a turn
            self._lowest -= 1.0
            self._priorities[None] = self._lowest
        return options.index(chosen)

    def _give(self, task: Task | None) -> None:
        if task not in self._priorities:
            self._priorities[task] = self._random.random()


def guarantee(tasks: int, steps: int, depth: int) -> float:
    """The least probability with which one run finds a bug of this depth (ASPLOS 2010)."""
    return 1.0 / float(max(1, tasks) * max(1, steps) ** (depth - 1))
