"""`check_history`: plays a history once, and everything that must hold is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, get_args

import attrs

from ..._model import Job, JobEvent
from .._schedules.run import run_once
from .._schedules.schedule import Schedule
from ..errors import BadOption, KitError, Unfinished
from .broken import MAX_STEPS, HistoryBroken, Over, told_of
from .commands import History
from .faulty_player import FaultyPlayer
from .ground import Attempt
from .links import Link, NamedLink, WireLink
from .model import check_order
from .player import Player
from .requests import Asked

__all__ = ["HistoryBroken", "Over", "Played", "check_history", "play_history"]

OVER: tuple[str, ...] = get_args(Over)

LINKS: dict[str, type[Link]] = {"process": Link, "name": NamedLink, "wire": WireLink}

Check: TypeAlias = Callable[[Iterable[Job]], object]


@attrs.frozen
class Played:
    """What became of a history in which everything held.

    Attributes:
        history: what was played.
        finals: the final record of every attempt that was accepted, by (job id, attempt).
        events: all events that the supervisor published, in their order.
        entered: how often the body of each attempt was entered.
        told: the commands, each with what it was answered.
        requests: who asked what about which job, and the answers.
    """

    history: History
    finals: Mapping[Attempt, Job]
    events: tuple[JobEvent, ...]
    entered: Mapping[Attempt, int]
    told: tuple[str, ...]
    requests: tuple[Asked, ...]


def check_history(
    history: History, schedule: Schedule | None = None, *, over: Over = "process"
) -> Played:
    """Play a history against a real supervisor, and check after every step that all is well.

    One deterministic run: the commands one after the other (but for those that are asked aside), on
    the given schedule, on a clock that jumps. After every command the records, the events and what
    the jobs know of themselves must agree with each other and with the invariants of a job's life;
    at the end nothing may be left, every request must have its answer, and the answers about each
    job must fit an order in which each request takes effect at one moment between its call and its
    answer (linearizability; not over="faulty", where a request may be made twice).

    Use it with Hypothesis:

        @given(histories(), schedules())
        def test_all_is_well(history, schedule):
            check_history(history, schedule)

    or with a history of your own, with jobs of your own:

        check_history(History([Start("a", work=refill), Cancel("a"), Start("a", work=refill)]))

    Args:
        history: what happens; of `histories`, or your own.
        schedule: where tasks are preempted; by default nowhere.
        over: how the supervisor is reached: "process" calls it, "name" likewise but starts jobs by
            name, "wire" goes through a client and a server, "faulty" through a client that
            reconnects, over a connection on which the history's faults happen.

    Returns:
        What became of it.

    Raises:
        HistoryBroken: something does not hold; the message tells what, and how to play it again.
        BadOption: the history, the schedule or `over` is none.
        KitError: it cannot be played here; a job of your own uses threads, for instance.
    """
    schedule = Schedule() if schedule is None else schedule
    _check_arguments(history, schedule, over)
    return play_history(history, schedule, over)


def _check_arguments(history: object, schedule: object, over: object) -> None:
    if not isinstance(history, History):
        raise BadOption(
            f"check_history needs a History, not {history!r}: one drawn from histories(), or "
            'History([Start("a"), Cancel("a")])'
        )
    if not isinstance(schedule, Schedule):
        raise BadOption(
            f"check_history needs a Schedule, not {schedule!r}: one drawn from schedules(), or "
            "Schedule()"
        )
    if over not in OVER:
        raise BadOption(
            f"check_history(over=) must be one of {', '.join(map(repr, OVER))}, not {over!r}"
        )
    if history.faults and over != "faulty":
        raise BadOption(
            f"this history has faults, which happen only over='faulty', not over={over!r}; "
            "draw it with faults=False, or play it over='faulty'"
        )


def play_history(
    history: History, schedule: Schedule, over: Over = "process", check: Check | None = None
) -> Played:
    """`check_history`, with a check of the caller's after every step."""
    players: list[Player] = []

    async def play() -> None:
        players.append(_player(history, schedule, over, check))
        await players[-1].play()

    try:
        run_once(play, deviations=schedule.deviations, max_steps=MAX_STEPS)
        player = players[0]
        if over != "faulty":
            check_order(player.asked, player.job_ids, player.seen.finals)
    except Exception as exc:
        if isinstance(exc, KitError) and not isinstance(exc, Unfinished):
            raise
        told = tuple(map(str, players[0].told))
        happened = tuple(map(str, players[0].happened))
        raise told_of(exc, history, schedule, over, told, happened, play) from exc
    return Played(
        history,
        dict(player.seen.finals),
        tuple(player.seen.published),
        {attempt: count for attempt, count in player.ground.entered.items() if count},
        tuple(map(str, player.told)),
        tuple(player.asked),
    )


def _player(history: History, schedule: Schedule, over: Over, check: Check | None) -> Player:
    unfair = schedule.preemptions
    if over == "faulty":
        return FaultyPlayer(history, None, unfair, check)
    return Player(history, LINKS[over], unfair, check)
