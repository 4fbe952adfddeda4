"""Notices cleanup that was cut short: cancelled again while it handled a `Cancelled`.

A scope that is cancelled stays cancelled: whoever awaits in a `finally`, an `except` or an
`__aexit__` on the way out, without a shield, gets a second `Cancelled` there, and what was still to
be cleaned up is not.

How it is seen: Python notes in `__context__` of every exception which one was being handled. When a
`Cancelled` is delivered to a task and has another one behind it, and both are meant for the same
scope, then that scope's cancellation has hit its own cleanup. A shielded scope with a timeout that
ends its own cleanup is meant for another scope: that is as its author wants it.

What is no fault: an await that is there to be cancelled and has nothing after it. These are Trio's
own `aclose` and `__aexit__`, which close even when they are cancelled, `aclose_forcefully`, and a
plain `checkpoint`, with which an `aclose` ends by custom. With something to do after them, that is
skipped, and then it is one.

What this needs of Trio beyond its public names: `Task._next_send` and `Task._cancel_status`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from weakref import WeakKeyDictionary

import attrs
import outcome
import trio

from .._schedules.where import _HIDDEN, Place
from .source import Point, skipped_after

__all__ = ["Cleanups", "Cut"]

_MEANT_TO_BE_CANCELLED = {
    "aclose",
    "__aexit__",
    "aclose_forcefully",
    "checkpoint",
    "checkpoint_if_cancelled",
}


@attrs.frozen
class Cut:
    """A cleanup that was cut short.

    Attributes:
        place: the line that was cancelled.
        began: the line of the `finally`, `except` or `async with` that cleans up.
        skipped: the number of the first line that was not reached because of it, where that is all
            the harm; None if what was cancelled is itself part of the cleanup.
    """

    place: Place
    began: Place
    skipped: int | None = None

    def __str__(self) -> str:
        began = f", in the cleanup that began at {self.began}" if self.began != self.place else ""
        skipped = f", so that line {self.skipped} was skipped" if self.skipped else ""
        return f"{self.place}{began}{skipped}"


@attrs.frozen
class _Standing:
    """A frame of a task that waits, and the point at which it does."""

    frame: FrameType
    line: int
    offset: int

    @property
    def place(self) -> Place:
        code = self.frame.f_code
        return Place(code.co_filename, self.line, code.co_name)

    def skips(self, *, handling: bool) -> int | None:
        return skipped_after(Point(self.frame.f_code, self.offset), handling=handling)


@attrs.frozen
class _Delivery:
    """A `Cancelled` that is about to be raised in a task."""

    error: trio.Cancelled
    context: BaseException | None
    scope: trio.CancelScope
    stack: list[_Standing]


class Cleanups:
    """Watches the deliveries of `Cancelled` in one run; told of each step of each task.

    Args:
        hidden: the beginnings of the names of files that are nobody's own code.

    Attributes:
        cut: what was found, in order, each once.
    """

    def __init__(self, *, hidden: tuple[str, ...] = _HIDDEN) -> None:
        self.cut: list[Cut] = []
        self._hidden = hidden
        self._meant_for: WeakKeyDictionary[trio.Cancelled, trio.CancelScope] = WeakKeyDictionary()
        self._scopes: set[trio.CancelScope] = set()
        self._delivery: _Delivery | None = None

    def before_step(self, task: trio.lowlevel.Task) -> None:
        """A task is about to go on: see whether it gets a `Cancelled`."""
        sent = task._next_send
        if not isinstance(sent, outcome.Error) or not isinstance(sent.error, trio.Cancelled):
            return
        error, scope = sent.error, _meant_for(task)
        self._delivery = _Delivery(error, error.__context__, scope, self._stack(task, scope))

    def after_step(self) -> None:
        """It has gone on: see what it was handling when it got that."""
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        # It has a context from the start if whoever cancelled was handling something. That is not
        # what this task handles; if this one does handle something, that has taken its place.
        handles = delivery.error.__context__ is not delivery.context
        behind = _behind(delivery.error) if handles else ()
        if any(self._meant_for.get(each) is delivery.scope for each in behind):
            self._note(self._judge(delivery))
        self._meant_for[delivery.error] = delivery.scope

    def _judge(self, delivery: _Delivery) -> Cut | None:
        """Whether the cleanup loses anything by being cancelled there."""
        stack = delivery.stack
        handler = _handler(delivery)
        ours = [
            (place, each)
            for place, each in enumerate(stack)
            if place >= handler and not each.frame.f_code.co_filename.startswith(self._hidden)
        ]
        if not ours:
            return None
        began = ours[0][1].place
        place, innermost = ours[-1]
        if not _is_meant_to_be_cancelled(stack, place):
            return Cut(innermost.place, began)
        for place, each in reversed(ours):
            skipped = each.skips(handling=place == handler)
            if skipped is not None:
                return Cut(each.place, began, skipped)
        return None

    def _stack(self, task: trio.lowlevel.Task, scope: trio.CancelScope) -> list[_Standing]:
        """Where the task stands. The first delivery of a scope needs no look: it cuts nothing."""
        if scope not in self._scopes:
            self._scopes.add(scope)
            return []
        return [_Standing(*each, each[0].f_lasti) for each in task.iter_await_frames()]

    def _note(self, cut: Cut | None) -> None:
        if cut is not None and cut not in self.cut:
            self.cut.append(cut)


def _meant_for(task: trio.lowlevel.Task) -> trio.CancelScope:
    """The scope that will catch a `Cancelled` raised in this task: the outermost that sends it."""
    status = task._cancel_status
    while status.parent_cancellation_is_visible_to_us and status.parent is not None:
        status = status.parent
    return status._scope


def _behind(error: BaseException) -> Iterator[trio.Cancelled]:
    """What was being handled when this was raised, what then, and so on; with members of groups."""
    seen: set[int] = {id(error)}
    todo = [error.__context__]
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            if isinstance(each, trio.Cancelled):
                yield each
            todo.append(each.__context__)
            if isinstance(each, BaseExceptionGroup):
                todo.extend(each.exceptions)


def _handler(delivery: _Delivery) -> int:
    """Which frame handles the first exception: the innermost that this has left already."""
    left: set[FrameType] = set()
    traceback = getattr(delivery.error.__context__, "__traceback__", None)
    while traceback is not None:
        left.add(traceback.tb_frame)
        traceback = traceback.tb_next
    frames = [number for number, each in enumerate(delivery.stack) if each.frame in left]
    return max(frames, default=0)


def _is_meant_to_be_cancelled(stack: list[_Standing], place: int) -> bool:
    if place + 1 == len(stack):
        return False
    return stack[place + 1].frame.f_code.co_name in _MEANT_TO_BE_CANCELLED
