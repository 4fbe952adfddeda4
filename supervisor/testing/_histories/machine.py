"""`JobMachine`: a state machine of Hypothesis, about jobs of the user's.

Its rules only say what is to happen. Once an example is drawn as a whole, the schedule with it, one
deterministic Trio run plays it: a draw that raised inside Trio's loop would tear the loop down.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ..._model import Job
from .._schedules.scenario import check_scenario
from .._schedules.schedule import Schedule
from .._schedules.strategies import schedules
from ..errors import BadOption, BadScenario
from .broken import Over
from .check import Played, play_history
from .commands import (
    Call,
    Cancel,
    Command,
    History,
    Start,
)
from .draw import faults, happenings
from .faults import Fault

__all__ = ["JobMachine"]

RULE = "hypothesis_stateful_rule"
"""Where Hypothesis keeps what `@rule` was told, on the function that it returns."""


def _of_machine(choose: Callable[[Any], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """What depends on how a subclass has set the machine."""
    return st.runner().flatmap(choose)


_SCHEDULES = _of_machine(lambda machine: schedules(machine.max_preemptions))
_FAULTS = _of_machine(lambda machine: faults() if machine.over == "faulty" else st.just([]))
_COMMANDS = _of_machine(
    lambda machine: happenings(machine.ids, breaks=machine.over in ("wire", "faulty"))
)


class JobMachine(RuleBasedStateMachine):
    """Rules about jobs of your own; Hypothesis looks for an order of them that breaks something.

        class RefillMachine(JobMachine):
            ids = ("north", "south")

            @rule(job_id=st.sampled_from(ids))
            def refills(self, job_id: str) -> None:
                self.start(refill, job_id)

            @rule()
            def looks_at_the_cache(self) -> None:
                self.then(self.look)

            async def look(self, control: JobControl) -> None:
                assert len(CACHE) <= 10

            def check(self, jobs: Sequence[Job]) -> None:
                assert sum(job.state == "running" for job in jobs) <= 2

        TestRefill = RefillMachine.TestCase

    A rule does nothing at once: it says what is to happen (`start`, `cancel`, `then`, `do`), or
    returns a command of `supervisor.testing.commands`, or a list of them. When Hypothesis has
    chosen the rules of an example, `teardown` plays what they said as a history, on a schedule that
    was drawn with them: in one Trio run, against a supervisor of its own, with all checks of
    `check_history` after every step, and yours. Hypothesis shrinks both.

    An `@invariant()` sees the machine while rules are chosen, before anything has run: use `check`.
    What your jobs share must begin anew with each example; do that in `__init__` or in a rule
    marked with `@initialize`.

    The machine has one rule of its own, for what can happen to any job, `something_happens`: it is
    cancelled, waited for, looked at; time passes; over the wire the connection breaks. Set that
    name to None in the subclass to do without.

    Attributes:
        ids: the ids that the machine's own rules are about.
        slots: how many jobs may run at once; None sets no bound.
        over: how the supervisor is reached: "process", "name", "wire" or "faulty".
        max_preemptions: the most preemptions of one schedule.
    """

    ids: ClassVar[Sequence[str]] = ("a", "b", "c")
    slots: ClassVar[int | None] = None
    over: ClassVar[Over] = "process"
    max_preemptions: ClassVar[int] = 3

    def __init__(self) -> None:
        super().__init__()
        self._commands: list[Command] = []
        self._schedule = Schedule()
        self._faults: list[Fault] = []
        # A teardown follows a rule that fails, too, and then there is nothing to play.
        self._handled = sys.exception()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in vars(cls).items():
            said: Any = getattr(member, RULE, None)
            function = getattr(said, "function", None)
            if inspect.iscoroutinefunction(function):
                raise BadScenario(
                    f"the rule {cls.__name__}.{name} is an async function; a rule only says what "
                    "is to happen: make it a plain function, and pass the async one to self.then()"
                )
            if function is not None and not said.targets:
                said.function = _collecting(function)

    # --- what a rule may say --------------------------------------------------------------------

    def start(
        self, work: Callable[..., Awaitable[Any]], job_id: str, *arguments: Any, **options: Any
    ) -> None:
        """A job of yours is started.

        The same function with the same arguments is the same work; a second start of it with the
        same id finds the job there, unless the options say otherwise.

        Args:
            work: an async function.
            job_id: the job's id.
            arguments: what the function is called with.
            options: those of the command `Start`, such as `timeout=5.0` or `conflict="replace"`.

        Raises:
            BadScenario: `work` cannot be run so.
            BadOption: the id or an option is wrong.
        """
        check_scenario(work, arguments, who="JobMachine.start")
        self.do(Start(job_id, work=work, arguments=arguments, **_known(Start, options)))

    def cancel(self, job_id: str, **options: Any) -> None:
        """A job is cancelled; `options` are those of the command `Cancel`, such as `force=True`.

        Raises:
            BadOption: the id or an option is wrong.
        """
        self.do(Cancel(job_id, **_known(Cancel, options)))

    def then(self, async_fn: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Something of yours happens: `async_fn(control, *arguments)` is awaited.

        It may use the `JobControl`, look at what your jobs share, and assert; whatever it raises
        fails the example. The next command waits for it.

        Raises:
            BadScenario: it cannot be called so.
        """
        check_scenario(async_fn, (None, *arguments), who="JobMachine.then")
        self.do(Call(async_fn, arguments))

    def do(self, *commands: Command) -> None:
        """Commands of `supervisor.testing.commands` are played.

        Raises:
            BadOption: one of these is none.
        """
        self._commands += History(commands).commands

    # --- what a subclass may check --------------------------------------------------------------

    def check(self, jobs: Sequence[Job]) -> None:
        """Called after every step, with the jobs as they are; assert here what must always hold."""

    def after(self, played: Played) -> None:
        """Called after the play, in which everything held; assert here what must hold of it."""

    # --- what can happen to any job -------------------------------------------------------------

    @initialize(schedule=_SCHEDULES, faults=_FAULTS)
    def is_scheduled(self, schedule: Schedule, faults: list[Fault]) -> None:
        """Where tasks are preempted, and what becomes of the connection."""
        self._schedule = schedule
        self._faults = faults

    @rule(command=_COMMANDS)
    def something_happens(self, command: Command) -> None:
        """A job is cancelled, waited for, or looked at; time passes; the connection breaks."""
        self.do(command)

    # --- the play -------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Plays what the rules have said."""
        super().teardown()
        if sys.exception() is not self._handled:
            return
        history = History(self._commands, self.slots, self._faults)
        self.after(play_history(history, self._schedule, self.over, self._check))

    def _check(self, jobs: Iterable[Job]) -> None:
        self.check([*jobs])


def _known(command: type, options: dict[str, Any]) -> dict[str, Any]:
    """Options that the command has."""
    known = [*inspect.signature(command).parameters][1:]
    for name in options:
        if name not in known:
            raise BadOption(f"{command.__name__} has no option {name!r}, only {', '.join(known)}")
    return options


def _collecting(function: Callable[..., Any]) -> Callable[..., None]:
    """A rule whose commands may be what it returns."""

    @functools.wraps(function)
    def collect(self: JobMachine, *args: Any, **kwargs: Any) -> None:
        result = function(self, *args, **kwargs)
        if inspect.iscoroutine(result):
            result.close()  # nobody will await it
        if isinstance(result, Command):
            self.do(result)
        elif isinstance(result, list | tuple) and all(isinstance(one, Command) for one in result):
            self.do(*result)
        elif result is not None:
            raise BadOption(
                f"the rule {function.__qualname__} returned {result!r}; a rule returns nothing, "
                "a command of supervisor.testing.commands, or a list of them. To have an async "
                "function called, pass it to self.then()"
            )

    return collect
