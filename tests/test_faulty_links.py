"""One small history, and every single fault that can happen to it.

The random ones are in `test_properties`; here nothing is left to chance: each message of the
history is dropped, doubled, swapped and swallowed, and the connection is cut all along its bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
import trio

from supervisor import JobState
from supervisor.testing import Schedule, check_history
from supervisor.testing._histories.faulty_link import HEARTBEAT, FaultyLink
from supervisor.testing._histories.faulty_player import FaultyPlayer
from supervisor.testing._histories.ground import Ground
from supervisor.testing._histories.works import AsyncWork
from supervisor.testing.commands import (
    Cancel,
    CutAt,
    CutIn,
    Drop,
    Duplicate,
    End,
    Fault,
    Get,
    History,
    Manner,
    Reorder,
    Settle,
    Silence,
    Sleep,
    Speak,
    Start,
    Wait,
)

UP, DOWN = "up", "down"

SMALL = History(
    [
        Start("a"),
        Wait("a"),
        Settle(),
        Speak(),
        Start("b", Manner(killable=True, swallows=True)),
        Settle(),
        Speak(),
        Cancel("b", grace=1.0, wait=True),
        Cancel("c", if_unknown="remember"),
        Start("c"),
        Speak(),
        End("a"),
        Sleep(5.0),
        Start("a", reuse="allow"),
        Cancel("a", twice=True),
    ],
)

MAX_STEPS = 200_000

FIRST_MESSAGES = 8
"""The ordinary suite tries these; the soak tries all."""

CLOSE, APART = 37, 1499
"""Bytes between two cuts, in the handshake and behind it; primes, so that they fall anywhere."""

STRIDE = 5
"""Of what is tried at every message, the ordinary suite tries one in so many."""

HANDSHAKE = 400
"""Bytes of the HTTP head, and some of the first message."""


async def _play(player: FaultyPlayer) -> None:
    await player.play()


def play(*faults: Fault, history: History = SMALL) -> FaultyPlayer:
    player = FaultyPlayer(history, faults)
    Schedule().run(_play, player, max_steps=MAX_STEPS)
    return player


@cache
def lengths() -> dict[str, tuple[int, int]]:
    """How many messages and bytes there are without faults."""
    ways = play().link.faults.ways
    return {way: (ways[way].messages, ways[way].bytes) for way in (UP, DOWN)}


def test_without_faults_one_connection_is_enough() -> None:
    player = play()
    assert len(player.link.streams) == 1
    assert player.link.patience == 1


def test_the_small_history_is_not_too_small() -> None:
    sizes = lengths()
    assert sizes[UP][0] >= 12
    assert sizes[DOWN][0] >= 25


MUCH = pytest.mark.parametrize(
    "much", [pytest.param(False, id="first"), pytest.param(True, id="all", marks=pytest.mark.soak)]
)


@MUCH
@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("kind", [Drop, Duplicate, Reorder, Silence])
def test_every_single_message(kind: Callable[[str, int], Fault], way: str, much: bool) -> None:
    messages, _ = lengths()[way]
    for message in range(messages if much else FIRST_MESSAGES):
        player = play(kind(way, message))
        assert [each.fault for each in player.link.faults.happened] == [kind(way, message)]


@MUCH
@pytest.mark.parametrize("way", [UP, DOWN])
def test_every_message_is_cut(way: str, much: bool) -> None:
    messages, _ = lengths()[way]
    for message in range(messages if much else FIRST_MESSAGES):
        for offset in (0, 1, 3, -1) if much else (message,):
            play(CutIn(way, message, offset, reset=bool(offset % 2)))


@MUCH
@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_cut_all_along_the_bytes(way: str, much: bool) -> None:
    _, size = lengths()[way]
    behind = range(HANDSHAKE, size, CLOSE if much else APART)
    for byte in (*range(0, HANDSHAKE, CLOSE), *behind):
        player = play(CutAt(way, byte, reset=bool(byte % 2)))
        assert len(player.link.streams) == 2


@MUCH
@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_second_cut_in_the_reconnect(way: str, much: bool) -> None:
    first = CutIn(DOWN, 5, 3)
    passed = play(first, CutAt(way, 10**6)).link
    assert len(passed.streams) == 2
    for byte in range(0, 1500, CLOSE if much else 5 * CLOSE):
        player = play(first, CutAt(way, 700 + byte))
        assert len(player.link.streams) == 3


@MUCH
@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_message_that_comes_twice_does_not_hide_one_that_is_lost(way: str, much: bool) -> None:
    """Counted together they are as many as were sent."""
    messages, _ = lengths()[way]
    for message in range(messages - 2 if much else FIRST_MESSAGES):
        play(Duplicate(way, message), Drop(way, message + 1))


@MUCH
@pytest.mark.parametrize("apart", [1, 2])
def test_a_line_that_comes_after_the_end_is_not_passed_on(apart: int, much: bool) -> None:
    history = History([Start("a"), Settle(), Speak(), End("a"), Settle(), Sleep(1.0)])
    messages = play(history=history).link.faults.ways[DOWN].messages
    for message in range(0, messages - 2, 1 if much else STRIDE):
        play(Reorder(DOWN, message), Reorder(DOWN, message + apart), history=history)


ANEW = History(
    [
        Start("a"),
        Settle(),
        End("a"),
        Settle(),
        Start("a", reuse="allow", same=True),
        Settle(),
        Start("a", conflict="replace", reuse="allow", same=True),
    ],
)
"""Each start begins one more attempt, which ends at once: a repeat would begin yet another."""


@MUCH
@pytest.mark.parametrize("fault", [Drop, Silence, partial(CutIn, offset=9)])
def test_a_start_that_may_begin_anew_is_not_repeated(
    fault: Callable[[str, int], Fault], much: bool
) -> None:
    clean = play(history=ANEW)
    assert clean.times_accepted(0) == 3
    for way in (UP, DOWN):
        for message in range(0, clean.link.faults.ways[way].messages - 2, 1 if much else STRIDE):
            player = play(fault(way, message), history=ANEW)
            assert player.times_accepted(0) <= 3


@MUCH
@pytest.mark.parametrize("kind", [Drop, Silence, partial(CutIn, offset=9)])
def test_a_cancel_is_never_lost(kind: Callable[[str, int], Fault], much: bool) -> None:
    """Whether the request is lost on its way or the answer is: it is asked again."""
    history = History([Start("a"), Settle(), Cancel("a")])
    ways = play(history=history).link.faults.ways
    for way in (UP, DOWN):
        for message in range(0, ways[way].messages - 2, 1 if much else STRIDE):
            player = play(kind(way, message), history=history)
            assert player.seen.finals[("a", 1)].cause == "user"


async def _linger(link: FaultyLink) -> tuple[JobState, JobState]:
    """A job whose client must come back in time: its state after a while, and after its cancel."""
    async with link.open() as control:
        works = link.named
        name, args = works.call(AsyncWork(Ground(), Manner()))
        await control.start(name, args=args, job_id="a", on_disconnect="linger")
        await trio.sleep(20 * HEARTBEAT)
        before = await control.get("a")
        after = await control.cancel("a", wait="finished")
        assert after.job is not None
        return before.state, after.job.state


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("kind", [Drop, Duplicate, Reorder, Silence, partial(CutIn, offset=9)])
def test_a_job_that_lingers_is_still_its_clients(
    kind: Callable[[str, int], Fault], way: str
) -> None:
    for message in range(1, 8):
        link = FaultyLink(None, faults=[kind(way, message), CutIn(DOWN, 12, 5), CutIn(DOWN, 14, 5)])
        states = Schedule().run(_linger, link, max_steps=MAX_STEPS)
        assert states == (JobState.RUNNING, JobState.CANCELLED), message


def test_an_attempt_to_reconnect_that_hangs_leaves_time_for_another() -> None:
    """By default an attempt may take as long as jobs linger."""
    for lost in range(1, 6):
        link = FaultyLink(None, faults=[CutIn(DOWN, 2, 0), Drop(UP, lost)])
        states = Schedule().run(_linger, link, max_steps=MAX_STEPS)
        assert states == (JobState.RUNNING, JobState.CANCELLED), lost


@pytest.mark.parametrize("lost", range(8, 12))
@pytest.mark.parametrize("doubled", range(8, 15))
def test_a_bookmark_that_came_twice_does_not_make_up_for_an_answer(
    lost: int, doubled: int
) -> None:
    faults = [Drop(DOWN, lost), Duplicate(DOWN, doubled)]
    check_history(History([Start("a"), Get("a")], faults=faults), over="faulty")
