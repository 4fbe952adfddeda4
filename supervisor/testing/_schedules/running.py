"""Runs one schedule after the other, as a search asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import NotDeterministic
from .choosing import ByDeviations
from .run import Ran, Scenario, attempt
from .scenario import name_of
from .search import Answer, Child
from .telling import no_failure

ADVICE = (
    "something in it keeps what an earlier run has left (a module's variable, a cache, a class "
    "attribute, what a fixture made), or takes time or chance from elsewhere (time.time, uuid, "
    "secrets, the order of a set). Make all of that anew in it"
)


def run_here(
    async_fn: Scenario, args: Sequence[object], max_steps: int, children: Iterable[Child]
) -> Iterator[Answer]:
    """Run schedules one after the other in this process, within a `session`.

    Raises:
        NotDeterministic: a schedule did not come to the choices that an earlier run had shown.
    """
    for child in children:
        chooser = ByDeviations(child)
        ran = attempt(async_fn, args, chooser, max_steps=max_steps)
        if fails(ran):
            yield child, None
        elif chooser.unmet or chooser.missing is not None:
            raise NotDeterministic(
                f"{name_of(async_fn)} did not come to the choices that it had come to before: "
                f"{ADVICE}"
            )
        else:
            yield child, ran.options


def fails(ran: Ran) -> bool:
    """Whether a run failed.

    Raises:
        BaseException: what it raised, if that is no failure of the scenario.
    """
    if ran.error is None:
        return False
    stranger = no_failure(ran.error)
    if stranger is not None:
        raise stranger
    return True
