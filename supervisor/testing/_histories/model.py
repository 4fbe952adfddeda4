"""What one job answers if it is asked one thing at a time: what real answers are held against.

A job also changes by itself: it ends, its time is up, its replacement begins, a remembered cancel
is forgotten. In the model such a change may come before any request (`_drift`); what a request then
does is one step, `_effects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from ..._model import Job, JobState
from .._linear import UNANSWERED, Operation, check_linearizable
from .commands import Cancel, CancelAll, End, Get, Raise, Shutdown, Start, Wait
from .ground import Attempt
from .invariants import FINAL
from .requests import Asked, Request
from .story import in_words

__all__ = ["JobModel", "JobOnce", "check_order", "operations_about"]

REMEMBERED = 600.0
"""Seconds that a cancel is remembered."""

LIVE = (JobState.PENDING, JobState.STARTING, JobState.RUNNING)
STOPPING = (JobState.CANCELLING, JobState.STUCK)


@attrs.frozen
class JobOnce:
    """A job id, as the model sees it between two requests.

    Args:
        attempt: the number of the latest attempt; 0 if there never was a job.
        phase: "live", "stopping" (a stop was asked for) or "final".
        ended: the final state, once somebody was told it.
        work: which work it runs.
        fragile: whether it may be stopped without a request: it has a timeout, or depends on a
            connection.
        successor: which work replaces it when it is gone, and whether that one is fragile.
        forgotten_at: when a cancel that is remembered for this id may be forgotten; None: there is
            none.
        closing: how the supervisor is being shut down, if it is.
        over: works that may end by themselves: they were told to, or are not of the kit.
    """

    attempt: int = 0
    phase: str = "final"
    ended: JobState | None = None
    work: int = -1
    fragile: bool = False
    successor: tuple[int, bool] | None = None
    forgotten_at: float | None = None
    closing: str | None = None
    over: frozenset[int] = frozenset()


@attrs.frozen(repr=False)
class Wanted:
    """What was asked for, and the times between which it happened."""

    request: Request
    work: int
    at: float
    until: float

    def __repr__(self) -> str:
        return in_words(self.request)


Effect: TypeAlias = tuple[object, JobOnce]
"""An answer, and the state after it."""


class JobModel:
    """The sequential model of one job id.

    Args:
        finals: how each attempt ended, as far as that is known.
    """

    initial = JobOnce()

    def __init__(self, finals: Mapping[int, JobState] | None = None) -> None:
        self._finals = {} if finals is None else finals

    def step(self, state: JobOnce, what: Wanted, answer: object) -> Iterable[JobOnce]:
        """The states after `what` was answered with `answer`."""
        found: dict[JobOnce, None] = {}
        for now in _drift(state, what.until, self._finals):
            for given, after in _effects(now, what):
                if answer is UNANSWERED or given == answer:
                    found[after] = None
        return found


Finals: TypeAlias = Mapping[int, JobState]


def _drift(state: JobOnce, until: float, finals: Finals) -> Iterable[JobOnce]:
    """This state, and those that it may have come to by itself."""
    found = {state: None}
    waiting = [state]
    while waiting:
        for after in _by_itself(waiting.pop(), until, finals):
            if after not in found:
                found[after] = None
                waiting.append(after)
    return found


def _by_itself(state: JobOnce, until: float, finals: Finals) -> Iterator[JobOnce]:
    if state.forgotten_at is not None and until >= state.forgotten_at:
        yield attrs.evolve(state, forgotten_at=None)
    if not state.attempt:
        return
    if state.phase == "live" and (state.fragile or state.closing == "cancel"):
        yield attrs.evolve(state, phase="stopping")
    if state.phase == "stopping" or (state.phase == "live" and state.work in state.over):
        yield attrs.evolve(state, phase="final", ended=finals.get(state.attempt))
    elif state.successor is not None:
        work, fragile = state.successor
        yield _begun(state, work, fragile)
        if state.closing is not None:
            yield attrs.evolve(state, successor=None)


def _begun(state: JobOnce, work: int, fragile: bool) -> JobOnce:
    return attrs.evolve(
        state,
        attempt=state.attempt + 1,
        phase="live",
        ended=None,
        work=work,
        fragile=fragile,
        successor=None,
    )


def _effects(state: JobOnce, what: Wanted) -> Iterator[Effect]:
    """What the request may do now, and what it is answered then."""
    match what.request:
        case Start():
            yield from _effects_of_start(state, what.request, what.work)
        case Cancel(attempt=attempt, if_unknown=if_unknown):
            if state.attempt:
                yield from _effects_of_cancel(state, attempt)
            elif if_unknown == "error":
                yield "JobNotFound", state
            else:
                yield ("recorded", None), attrs.evolve(state, forgotten_at=what.at + REMEMBERED)
                yield "Overloaded", state
        case CancelAll():
            if state.attempt and state.phase != "final":
                yield from _effects_of_cancel(state, None)
            else:
                yield "not live", state
        case Get():
            yield from _effects_of_get(state)
        case Wait():
            if state.attempt:
                yield from _effects_of_wait(state)
            else:
                yield "JobNotFound", state
        case End() | Raise():
            yield "done", attrs.evolve(state, over=state.over | {what.work})
        case Shutdown(mode=mode):
            yield "done", attrs.evolve(state, closing=_stricter(state.closing, mode))


def _stricter(one: str | None, other: str) -> str:
    return "cancel" if "cancel" in (one, other) else "drain"


def _effects_of_start(state: JobOnce, start: Start, work: int) -> Iterator[Effect]:
    fragile = start.timeout is not None or start.on_disconnect != "keep"
    if start.work is not None or start.manner.spawn_fails:
        state = attrs.evolve(state, over=state.over | {work})
    if state.closing is not None:
        yield "ShuttingDown", state
    elif not state.attempt:
        yield "created", _first(state, start, work, fragile)
    elif state.phase == "final":
        if state.successor is None:
            yield from _effects_of_reuse(state, start, work, fragile)
    elif start.conflict == "replace":
        replaced = attrs.evolve(state, phase="stopping", successor=(work, fragile))
        yield "created", replaced
    elif start.conflict == "use_existing" and state.work == work:
        yield "existing", state
    else:
        yield "JobIdConflict", state


def _first(state: JobOnce, start: Start, work: int, fragile: bool) -> JobOnce:
    if state.forgotten_at is None or start.remembered == "run":
        return _begun(attrs.evolve(state, forgotten_at=None), work, fragile)
    return attrs.evolve(state, attempt=1, ended=JobState.CANCELLED, work=work, forgotten_at=None)


def _effects_of_reuse(state: JobOnce, start: Start, work: int, fragile: bool) -> Iterator[Effect]:
    """A start with the id of a job that has ended."""
    begun = _begun(state, work, fragile)
    match start.reuse:
        case "allow":
            yield "created", begun
        case "allow_failed_only":
            if state.ended is not JobState.SUCCEEDED:
                yield "created", begun
            if state.ended in (None, JobState.SUCCEEDED):
                yield "JobIdConflict", attrs.evolve(state, ended=JobState.SUCCEEDED)
        case "use_existing" if state.work == work:
            yield "existing", state
        case _:
            yield "JobIdConflict", state


def _effects_of_cancel(state: JobOnce, attempt: int | None) -> Iterator[Effect]:
    number = state.attempt
    if attempt is not None and attempt != number:
        yield ("stale_attempt", number), state
    elif state.phase == "live":
        yield ("cancelling", number), attrs.evolve(state, phase="stopping")
        yield (
            ("cancelled", number),
            attrs.evolve(state, phase="final", ended=JobState.CANCELLED, successor=None),
        )
    elif state.phase == "stopping":
        for outcome in ("joined", "escalated", "stuck"):
            yield (outcome, number), attrs.evolve(state, successor=None)
    elif state.ended is None:
        yield ("already_cancelled", number), attrs.evolve(state, ended=JobState.CANCELLED)
        yield ("already_finished", number), state
    elif state.ended is JobState.CANCELLED:
        yield ("already_cancelled", number), state
    else:
        yield ("already_finished", number), state


def _effects_of_get(state: JobOnce) -> Iterator[Effect]:
    if not state.attempt:
        yield "JobNotFound", state
        return
    for shown in {"live": LIVE, "stopping": STOPPING, "final": ()}[state.phase]:
        yield (state.attempt, shown), state
    if state.phase == "final":
        yield from _effects_of_wait(state)


def _effects_of_wait(state: JobOnce) -> Iterator[Effect]:
    """The final record, once there is one: the same to everybody."""
    if state.phase == "final":
        for ended in FINAL if state.ended is None else (state.ended,):
            yield (state.attempt, ended), attrs.evolve(state, ended=ended)


# --- the check ------------------------------------------------------------------------------------


def operations_about(asked: Sequence[Asked], job_id: str) -> list[Operation]:
    """Who asked what about a job, and the answers."""
    return [
        Operation(
            each.process,
            each.call,
            each.back,
            Wanted(each.request, each.work, each.at, each.until),
            UNANSWERED if each.back is None else each.answer,
        )
        for each in asked
        if each.job_id == job_id
    ]


def check_order(
    asked: Sequence[Asked], job_ids: Sequence[str], finals: Mapping[Attempt, Job]
) -> None:
    """The answers about each job fit an order in which each request takes effect at once.

    Args:
        asked: the requests and their answers.
        job_ids: the jobs.
        finals: how each attempt ended.

    Raises:
        NotLinearizable: those about some job fit none.
    """
    for job_id in job_ids:
        ended = {attempt: job.state for (each, attempt), job in finals.items() if each == job_id}
        check_linearizable(JobModel(ended), operations_about(asked, job_id))
