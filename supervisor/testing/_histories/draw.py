"""Histories, drawn before they are played: nothing is drawn inside Trio's loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ..errors import BadOption
from .commands import (
    Aside,
    Cancel,
    CancelAll,
    Command,
    Disconnect,
    End,
    Get,
    History,
    Manner,
    Pass,
    Raise,
    Reconnect,
    Settle,
    Shutdown,
    Sleep,
    Speak,
    Start,
    Ticks,
    Wait,
    is_job_id,
)
from .faults import DOWN, UP, CutAt, CutIn, Drop, Duplicate, Fault, Reorder, Silence

__all__ = ["faults", "happenings", "histories"]


def histories(
    min_commands: int = 8,
    max_commands: int = 16,
    ids: Sequence[str] = ("a", "b", "c"),
    faults: bool = False,
) -> st.SearchStrategy[History]:
    """Lives of a few jobs, for `check_history`.

    A history is one start, then from `min_commands` to `max_commands` commands more; some end with
    a shutdown, and a few commands after that. They shrink to few commands of few words.

    Args:
        min_commands: commands after the first start, at least.
        max_commands: and at most.
        ids: the jobs' ids; few, so that commands meet.
        faults: whether messages are dropped, duplicated and reordered and connections cut; such a
            history is played with `check_history(..., over="faulty")`.

    Raises:
        BadOption: an id cannot be one, or the bounds are the wrong way round.
    """
    ids = _checked_ids(ids)
    _check_bounds(min_commands, max_commands)
    starts = _starts(ids)
    commands = _commands(ids, starts)
    middles = st.lists(commands, min_size=min_commands, max_size=max_commands)
    return _histories(starts, middles, _endings(commands), _faults() if faults else st.just([]))


# Not `builds`: what a composite makes is printed as its repr, which is short and can be pasted.
@st.composite
def _made(draw: st.DrawFn, kind: Callable[..., Any], *parts: Any, **fields: Any) -> Any:
    """One of its kind, of a value of each strategy."""
    return kind(
        *(draw(part) for part in parts), **{name: draw(each) for name, each in fields.items()}
    )


@st.composite
def _histories(
    draw: st.DrawFn,
    starts: st.SearchStrategy[Start],
    middles: st.SearchStrategy[list[Command]],
    endings: st.SearchStrategy[list[Command]],
    faults: st.SearchStrategy[list[Fault]],
) -> History:
    slots = draw(st.sampled_from([None, None, 1, 2]))
    commands = [draw(starts), *draw(middles), *draw(endings)]
    return History(commands, slots, draw(faults))


def _checked_ids(ids: Any) -> tuple[str, ...]:
    if isinstance(ids, str):
        raise BadOption(f"histories(ids=) must be a list of job ids, not {ids!r}")
    checked: tuple[str, ...] = tuple(ids)
    wrong = [each for each in checked if not is_job_id(each)]
    if wrong or not checked:
        raise BadOption(
            f"histories(ids=) must be one or more job ids, 1 to 128 letters, digits and . _ : - "
            f"that begin with a letter or digit; {wrong or checked!r} cannot be used"
        )
    return checked


def happenings(ids: Sequence[str], *, breaks: bool) -> st.SearchStrategy[Command]:
    """What can happen to any job, without a start; `breaks`: the connection may, too."""
    an_id = st.sampled_from(_checked_ids(ids))
    return st.one_of(
        st.just(Settle()),
        _made(Sleep, st.sampled_from([0.5, 1.0, 5.0, 20.0, 60.0])),
        _made(Cancel, an_id, grace=_or_none(_GRACES), force=st.booleans(), wait=st.booleans()),
        _made(Wait, an_id),
        _made(Get, an_id),
        *([st.just(Reconnect())] if breaks else []),
    )


def _check_bounds(least: Any, most: Any) -> None:
    for name, value in (("min_commands", least), ("max_commands", most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadOption(f"histories({name}=) must be a whole number from 0, not {value!r}")
    if least > most:
        raise BadOption(f"histories(min_commands={least}) is more than max_commands={most}")


# --- commands -----------------------------------------------------------------------------------


def _or_none(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_MANNERS = _made(
    Manner,
    killable=st.booleans(),
    swallows=st.booleans(),
    shielded=st.sampled_from([False, False, True]),
    dies=st.sampled_from([True, True, False]),
    fails=st.booleans(),
    spawn=st.sampled_from([0.0, 0.0, 2.0, 30.0]),
    spawn_fails=st.sampled_from([False, False, True]),
    leaving=st.sampled_from([0.0, 3.0]),
)
_GRACES = st.sampled_from([0.0, 1.0, 4.0, 50.0])


def _starts(ids: tuple[str, ...]) -> st.SearchStrategy[Start]:
    return _made(
        Start,
        job_id=st.sampled_from(ids),
        manner=_MANNERS,
        conflict=st.sampled_from(["use_existing", "fail", "replace", "replace"]),
        reuse=st.sampled_from(["use_existing", "allow", "allow", "allow_failed_only", "reject"]),
        remembered=st.sampled_from(["cancel", "cancel", "run"]),
        same=st.booleans(),
        notice=st.sampled_from([0.0, 0.0, 2.0]),
        timeout=_or_none(st.sampled_from([1.0, 5.0])),
        on_disconnect=st.sampled_from(["keep", "keep", "keep", "cancel", "linger"]),
    )


def _cancels(ids: tuple[str, ...]) -> st.SearchStrategy[Cancel]:
    return _made(
        Cancel,
        job_id=st.sampled_from(ids),
        grace=_or_none(_GRACES),
        force=st.sampled_from([False, False, True]),
        attempt=_or_none(st.sampled_from([1, 2])),
        if_unknown=st.sampled_from(["error", "remember"]),
        wait=st.booleans(),
        twice=st.booleans(),
    )


def _commands(ids: tuple[str, ...], starts: st.SearchStrategy[Start]) -> st.SearchStrategy[Command]:
    """Those that shrink best come first; what is worth much comes twice."""
    an_id = st.sampled_from(ids)
    cancels = _cancels(ids)
    gets = _made(Get, an_id)
    return st.one_of(
        st.just(Settle()),
        starts,
        cancels,
        _made(Sleep, st.sampled_from([0.5, 1.0, 5.0, 20.0])),
        _made(End, an_id),
        starts,
        cancels,
        _made(Sleep, st.sampled_from([5.0, 20.0, 60.0])),
        _made(Ticks, st.integers(1, 4)),
        _made(Wait, an_id),
        gets,
        _made(Aside, st.one_of(cancels, gets, starts)),
        _made(Raise, an_id),
        _made(Pass, st.sampled_from([0.0, 0.5, 1.0, 5.0, 20.0, 700.0])),
        st.just(Speak()),
        _made(CancelAll, grace=_or_none(_GRACES)),
        st.just(Reconnect()),
        st.just(Disconnect()),
    )


def _endings(commands: st.SearchStrategy[Command]) -> st.SearchStrategy[list[Command]]:
    return st.one_of(
        st.just([]),
        _made(
            lambda mode, grace, rest: [Shutdown(mode, grace), *rest],
            st.sampled_from(["cancel", "drain"]),
            _or_none(_GRACES),
            st.lists(commands, max_size=3),
        ),
    )


# --- faults -------------------------------------------------------------------------------------

_WAYS = st.sampled_from([UP, DOWN])
_NUMBERS = st.integers(0, 30)


def _of_a_message(kind: Callable[..., Fault]) -> st.SearchStrategy[Fault]:
    return _made(kind, _WAYS, _NUMBERS)


_FAULTS: st.SearchStrategy[Fault] = st.one_of(
    _of_a_message(Drop),
    _of_a_message(Duplicate),
    _of_a_message(Reorder),
    _made(CutIn, _WAYS, _NUMBERS, st.integers(0, 600), st.booleans()),
    _made(CutAt, _WAYS, st.integers(0, 6000), st.booleans()),
    _of_a_message(Silence),
)


def faults(least: int = 0, most: int = 6) -> st.SearchStrategy[list[Fault]]:
    """Lists of faults for one run."""
    return st.lists(_FAULTS, min_size=least, max_size=most)


_faults = faults
