"""Notices what no schedule can repeat: threads, the operating system, and real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import LeavesTheKit, UsesRealIO, UsesRealTime, UsesThreads
from .tasks import Task, short_name
from .where import where

_THREADS = ("trio._threads",)
_SYSTEM = ("trio._core._io_epoll", "trio._core._io_kqueue", "trio._core._io_windows")

_ADVICE: dict[type[LeavesTheKit], str] = {
    UsesThreads: "a thread runs when it likes, so no schedule could be repeated: pass the function "
    "that calls it in as an argument, and hand the scenario one that answers by itself",
    UsesRealIO: "the operating system answers when it likes, so no schedule could be repeated: "
    "use trio.testing.memory_stream_pair() or another double in the scenario",
}


def leaves_the_kit(task: Task) -> LeavesTheKit | None:
    """Why a task that waits now cannot be part of a schedule; None if it can."""
    module = getattr(task._abort_func, "__module__", None)
    if module in _THREADS:
        return _refusal(UsesThreads, task, "waits for a thread")
    if module in _SYSTEM:
        return _refusal(UsesRealIO, task, "waits for the operating system")
    return None


def _refusal(kind: type[LeavesTheKit], task: Task, what: str) -> LeavesTheKit:
    return kind(f"{short_name(task)} at {where(task)} {what}; {_ADVICE[kind]}")


def forbid_sleeping(tell: Callable[[LeavesTheKit], None]) -> Callable[[], None]:
    """Make `time.sleep` an error in this thread, told and raised; returns how to allow it again."""
    real, ours = time.sleep, threading.get_ident()

    def sleep(seconds: Any, /) -> None:
        if threading.get_ident() != ours:
            return real(seconds)
        error = UsesRealTime(
            f"the scenario calls time.sleep({seconds!r}), which stops every task and which no "
            f"clock of a test can shorten: use `await trio.sleep({seconds!r})`"
        )
        tell(error)
        raise error

    time.sleep = sleep

    def allow() -> None:
        time.sleep = real

    return allow
