"""One schedule of a scenario, as a value that can be run, printed and pasted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

import attrs

from ..errors import BadOption, KitError, ReplayMismatch
from . import text
from .choosing import ByDeviations, Deviations, Recorder
from .run import MAX_STEPS, Ran, Scenario, attempt, session
from .scenario import check_scenario, identity_of
from .telling import no_failure, told

T = TypeVar("T")


def _checked(deviations: Sequence[tuple[int, int]]) -> Deviations:
    try:
        pairs = tuple((gap, option) for gap, option in deviations)
    except (TypeError, ValueError):
        pairs = (("", ""),)  # type: ignore[assignment]
    for gap, option in pairs:
        if type(gap) is not int or type(option) is not int or gap < 0 or option < 1:
            raise BadOption(
                f"a schedule is a sequence of (choice points passed, option taken), both whole "
                f"numbers, the first from 0, the second from 1 on; not {deviations!r}"
            )
    return pairs


@attrs.frozen(repr=False)
class Schedule:
    """Where a run is preempted; one without deviations is never preempted.

    A run comes to choice points: several tasks could go on, or time could pass. Option 0 goes on
    with the task that ran last. Each deviation is a preemption: after so many more choice points,
    this other option.

    Attributes:
        deviations: (choice points passed since the last one, option taken there), in their order.
            An option beyond those that there are is counted round.
        scenario: the name of the scenario that it is a schedule of, or None. With a name, `run`
            takes only that scenario, and each deviation must fit exactly.
    """

    deviations: Deviations = attrs.field(default=(), converter=_checked)
    scenario: str | None = attrs.field(default=None)

    @scenario.validator
    def _check_scenario(self, attribute: object, value: object) -> None:
        if not (value is None or (isinstance(value, str) and value and " " not in value)):
            raise BadOption(f"a schedule's scenario is a name without spaces, not {value!r}")

    @property
    def preemptions(self) -> int:
        """How many preemptions there are at most."""
        return len(self.deviations)

    def __repr__(self) -> str:
        name = "" if self.scenario is None else f", {self.scenario!r}"
        return f"Schedule({self.deviations!r}{name})"

    def __str__(self) -> str:
        return text.write(self.scenario, self.deviations)

    def run(
        self, async_fn: Callable[..., Awaitable[T]], *args: object, max_steps: int = MAX_STEPS
    ) -> T:
        """Run a scenario under this schedule; returns what it returns.

        One deterministic `trio.run`, on a clock that jumps when every task waits. If it fails, the
        exception carries the story of the run as a note.

        Args:
            async_fn: the scenario.
            args: its arguments.
            max_steps: so many steps it may take.

        Raises:
            Exception: whatever the scenario raised.
            Deadlock: every task waited for ever.
            NeverEnds: it took more than `max_steps` steps.
            ReplayMismatch: this is a schedule of another scenario, or of other code.
            KitError: what was passed is no scenario, or cannot be run here.
        """
        __tracebackhide__ = True  # what follows is the kit's; pytest shows the scenario's own lines
        check_scenario(async_fn, args, who="run")
        if type(max_steps) is not int or max_steps < 1:
            raise BadOption(f"max_steps must be a whole number from 1 on, not {max_steps!r}")
        self._check_name(async_fn)
        with session():
            chooser = self._chooser()
            recorder = Recorder(chooser)
            ran = attempt(async_fn, args, recorder, max_steps=max_steps)
            self._check_fit(chooser, ran)
            if ran.error is None:
                return cast(T, ran.value)
            if no_failure(ran.error) is None:
                exact = Schedule(recorder.deviations, identity_of(async_fn))
                story = told(async_fn, args, exact.deviations, str(exact), max_steps)
                ran.error.add_note(story)
        try:
            raise ran.error
        finally:
            del ran, self

    def _chooser(self) -> ByDeviations:
        return ByDeviations(self.deviations, wrap=self.scenario is None)

    def _check_name(self, async_fn: Scenario) -> None:
        name = identity_of(async_fn)
        if self.scenario is not None and self.scenario != name:
            raise ReplayMismatch(
                f"'{self}' is a schedule of {self.scenario}, not of {name}: replay it with that "
                f"one, or explore {name}"
            )

    def _check_fit(self, chooser: ByDeviations, ran: Ran) -> None:
        """A schedule of a certain scenario must fit it; of a failing run, as far as it came."""
        if self.scenario is None or isinstance(ran.error, KitError):
            return
        number = chooser.missing
        if number is None and chooser.unmet and ran.error is None:
            number = len(self.deviations) - len(chooser.unmet) + 1
        if number is not None:
            raise ReplayMismatch(
                f"'{self}' does not fit {self.scenario} as it is now: it has no such choice for "
                f"deviation {number} ({'+'.join(map(str, self.deviations[number - 1]))}). Its code "
                f"or arguments have changed since; explore it again"
            )


def replay(
    replay_text: str,
    async_fn: Callable[..., Awaitable[T]],
    *args: object,
    max_steps: int = MAX_STEPS,
) -> T:
    """Run a scenario under a printed schedule again; returns or raises what it did then.

    Args:
        replay_text: what `str(schedule)` and the message of `RaceFound` have.
        async_fn: the scenario.
        args: its arguments.
        max_steps: so many steps it may take.

    Raises:
        ReplayMismatch: the text is none, or of another scenario, version or code.
        Exception: as `Schedule.run`.
    """
    __tracebackhide__ = True
    scenario, deviations = text.read(replay_text)
    return Schedule(deviations, scenario).run(async_fn, *args, max_steps=max_steps)
