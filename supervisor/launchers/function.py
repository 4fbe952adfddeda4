"""Async functions as jobs: each runs in a cancel scope of its own, in the supervisor's nursery.

What runs in this process cannot be forced; the proof of its end is certain: its task has left the
scope, and Trio lets no task leave before its children have.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType, FunctionType, MethodType
from typing import Any, ClassVar

import trio

from .._failure import error_info
from .._lifecycle import NEVER_STARTED
from .._model import Proof
from .._records import Exit, JobSpec, LetThrough, NeverStarted, Raised, Returned
from ..abc import JobSink, Launcher, RunningJob

__all__ = ["FunctionLauncher"]

TASK_EXITED = Proof("task_exited", detail="its task left the nursery and its scope exited")
LET_THROUGH = LetThrough(TASK_EXITED)


class FunctionLauncher(Launcher):
    """Runs async functions."""

    kind: ClassVar[str] = "async"
    can_force: ClassVar[bool] = False

    def accepts(self, work: object) -> bool:
        if type(work) is FunctionType:
            return bool(work.__code__.co_flags & inspect.CO_COROUTINE) or _is_marked(work)
        if isinstance(work, functools.partial):
            return self.accepts(work.func)
        if isinstance(work, (MethodType, FunctionType)):
            return inspect.iscoroutinefunction(work)
        if isinstance(work, type):
            return False  # calling a class makes an object, whatever calling that one would do
        return inspect.iscoroutinefunction(getattr(work, "__call__", None))  # noqa: B004

    def open(self) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def nothing_to_open() -> AsyncIterator[None]:
            yield

        return nothing_to_open()

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        return _RunningFunction(spec, sink)


def _is_marked(function: object) -> bool:
    """Wrappers that declare themselves async (`inspect.markcoroutinefunction`, Python 3.12)."""
    return inspect.iscoroutinefunction(function)


class _RunningFunction(RunningJob):
    __slots__ = ("_scope", "_sink", "_spec", "_task", "exception")

    def __init__(self, spec: JobSpec, sink: JobSink) -> None:
        self._spec = spec
        self._sink = sink
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self.exception = None

    @trio.lowlevel.disable_ki_protection  # the body is the user's: Ctrl+C may land in it
    async def run(self) -> Exit:
        # The outcome is recorded inside the scope: if the body returned although it was
        # cancelled, `cancelled_caught` alone would not tell.
        if self._scope.cancel_called:  # a body without a checkpoint would run to its end
            return NeverStarted(None, NEVER_STARTED)
        exit: Exit = LET_THROUGH
        self._task = trio.lowlevel.current_task()
        try:
            with self._scope:
                self._sink.started()
                value = await self._spec.work(*self._spec.arguments)
                exit = Returned(value, TASK_EXITED)
        except BaseException as exc:  # noqa: ASYNC103 - a job's failure is a record
            if _is_outer_cancellation(exc):
                raise
            self.exception = exc
            return Raised(error_info(exc), TASK_EXITED)  # noqa: ASYNC104
        return exit

    def cancel(self, reason: str | None) -> None:
        self._scope.cancel(reason)

    def kill(self) -> None:
        self._scope.cancel("force")

    def survivors(self) -> tuple[str, ...]:
        return await_stack(self._task.coro) if self._task else ()


def _is_outer_cancellation(error: BaseException) -> bool:
    """Whether the task itself is being cancelled, from outside of the job's scope.

    A body may also raise a `Cancelled` that it kept from elsewhere; that is its own failure, and
    must not take the nursery down.
    """
    return (
        isinstance(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf
    )


def await_stack(coro: Any) -> tuple[str, ...]:
    """Where a task stands: the lines it awaits through, outermost first, from the body on."""
    lines = []
    while coro is not None and (frame := _frame_of(coro)) is not None:
        code = frame.f_code
        lines.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
        coro = getattr(coro, "cr_await", None)
    return tuple(lines[_BELOW_THE_BODY:])


_BELOW_THE_BODY = 2
"""The supervisor's own two frames under every body."""


def _frame_of(coro: Any) -> FrameType | None:
    return getattr(coro, "cr_frame", None)
