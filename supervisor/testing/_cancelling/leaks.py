"""What a run leaves behind in this process: threads, child processes, file descriptors.

Two looks are compared, one before and one after; what was there before is nobody's leak. This needs
no Trio run, and no pytest.

What is kept for later on purpose is not left behind: the idle worker threads of Trio, and the
helper processes of `multiprocessing` with the pipes to them.

Looked at are the threads that `threading` knows and the *direct* children of this process; a
grandchild whose parent is gone belongs to somebody else. What this system does not show is named in
`Snapshot.unseen`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType

import attrs

__all__ = ["Leak", "Snapshot", "left_since", "snapshot"]

DESCRIPTORS = ("/proc/self/fd", "/dev/fd")
"""Where systems list the open file descriptors of the process that looks."""

LOOK_AGAIN = 0.01
"""Seconds between two looks at a thread that may be about to end."""


@attrs.frozen
class Leak:
    """One thing that is still there.

    Attributes:
        kind: "thread", "process", "file", "socket", "pipe" or "descriptor"; `cancel_everywhere`
            also knows "task", "async generator", and "object" for one that Python itself warns of.
        what: what it is, in words.
        number: the process id or the file descriptor, where it has one.
    """

    kind: str
    what: str
    number: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


@attrs.frozen
class Snapshot:
    """What was there at one moment.

    Attributes:
        unseen: the kinds of things that this system does not show, each with the reason.
    """

    threads: frozenset[threading.Thread] = attrs.field(repr=False)
    processes: dict[tuple[int, str], str] | None = attrs.field(repr=False)
    descriptors: dict[tuple[int, int, int], int] | None = attrs.field(repr=False)
    unseen: tuple[str, ...] = ()


def snapshot(*, descriptors: bool = True) -> Snapshot:
    """Look at what is there now.

    Args:
        descriptors: whether to look at open files, sockets and pipes too.
    """
    unseen = []
    processes = _children()
    if processes is None:
        unseen.append("child processes: there is no /proc that lists them")
    opened = _descriptors() if descriptors else None
    if descriptors and opened is None:
        unseen.append("files and sockets: there is no /proc/self/fd or /dev/fd")
    return Snapshot(frozenset(_threads()), processes, opened, tuple(unseen))


def left_since(before: Snapshot, *, patience: float = 1.0) -> tuple[Leak, ...]:
    """What is there now and was not there before.

    Args:
        before: what `snapshot` returned. Descriptors are compared if it has looked at them.
        patience: seconds for which to wait for new threads that are about to end.

    Returns:
        Threads, then processes, then descriptors; empty if nothing is left.
    """
    return (
        *_threads_left(before, patience),
        *_processes_left(before),
        *_descriptors_left(before),
    )


# --- threads --------------------------------------------------------------------------------------


def _threads() -> list[threading.Thread]:
    """The threads that do something: not the idle ones that Trio keeps for later."""
    idle = _idle_workers()
    return [thread for thread in threading.enumerate() if thread not in idle]


def _idle_workers() -> set[threading.Thread]:
    """Trio has no public name for them. If the private one is gone, their names must do."""
    cache = getattr(sys.modules.get("trio._core._thread_cache"), "THREAD_CACHE", None)
    workers = getattr(cache, "_idle_workers", None)
    if workers is not None:
        with suppress(AttributeError):
            return {worker._thread for worker in list(workers)}
    named = re.compile(r"Trio thread \d+")  # one that works has the name of its work
    return {thread for thread in threading.enumerate() if named.fullmatch(thread.name)}


def _threads_left(before: Snapshot, patience: float) -> list[Leak]:
    ends = time.monotonic() + patience
    while left := [thread for thread in _threads() if thread not in before.threads]:
        if time.monotonic() >= ends:
            break
        if left[0] is threading.current_thread():
            break
        # The end of a job in a worker of Trio's wakes nobody; of others `join` returns at once.
        left[0].join(LOOK_AGAIN)
    return [Leak("thread", repr(thread.name)) for thread in left]


# --- child processes ------------------------------------------------------------------------------


def _children() -> dict[tuple[int, str], str] | None:
    """(pid, start time) of each direct child, and its state; None where that cannot be seen."""
    if not os.path.exists("/proc/self/stat"):
        return None
    if _has_no_children():
        return {}
    us = str(os.getpid())
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):  # it has just gone
                fields = _after_its_name(f"/proc/{name}/stat")
                if fields[1] == us:
                    found[int(name), fields[19]] = fields[0]
    return found


def _has_no_children() -> bool:
    """The quick answer, which is the usual one."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _after_its_name(path: str) -> list[str]:
    """The fields from the third on: the second one may have blanks and parentheses in it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _processes_left(before: Snapshot) -> Iterator[Leak]:
    if before.processes is None:
        return
    helpers = {getattr(module, name, None) for module, name in _helpers("pid")}
    for (pid, began), state in sorted((_children() or {}).items()):
        if (pid, began) not in before.processes and pid not in helpers:
            ended = ", which has ended, but nobody waited for it" if state == "Z" else ""
            yield Leak("process", f"{pid} ({_command_of(pid)}){ended}", pid)


def _command_of(pid: int) -> str:
    """Its command line, shortened; its name if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
        if not any(words):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                words = [file.read().strip()]
    except OSError:
        return "gone meanwhile"
    command = " ".join(words).strip()
    return command if len(command) <= 60 else command[:59] + "…"


def _helpers(what: str) -> Iterator[tuple[object, str]]:
    """Where `multiprocessing` keeps the process ids and pipes of its two helpers."""
    names = {
        "resource_tracker": {"pid": "_pid", "fd": "_fd"},
        "forkserver": {"pid": "_forkserver_pid", "fd": "_forkserver_alive_fd"},
    }
    for module, has in names.items():
        loaded: ModuleType | None = sys.modules.get(f"multiprocessing.{module}")
        if loaded is not None:
            yield getattr(loaded, f"_{module}", None), has[what]


# --- file descriptors -----------------------------------------------------------------------------


def _descriptors() -> dict[tuple[int, int, int], int] | None:
    """(descriptor, device, inode) of what is open, and its mode.

    Not its path: that changes when the file is renamed or removed.
    """
    for directory in DESCRIPTORS:
        with suppress(OSError):
            return dict(_looked_at(map(int, os.listdir(directory))))
    return None


def _looked_at(descriptors: Iterator[int]) -> Iterator[tuple[tuple[int, int, int], int]]:
    for descriptor in descriptors:
        with suppress(OSError):  # the one that the list itself was read by
            found = os.fstat(descriptor)
            yield (descriptor, found.st_dev, found.st_ino), found.st_mode


def _descriptors_left(before: Snapshot) -> Iterator[Leak]:
    if before.descriptors is None:
        return
    helpers = {getattr(module, name, None) for module, name in _helpers("fd")}
    for key, mode in sorted((_descriptors() or {}).items()):
        if key not in before.descriptors and key[0] not in helpers:
            yield Leak(_kind(mode), _named(key[0]), key[0])


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "file" if stat.S_IFMT(mode) else "descriptor"


def _named(descriptor: int) -> str:
    with suppress(OSError):
        return f"{os.readlink(f'/proc/self/fd/{descriptor}')} (descriptor {descriptor})"
    return f"with descriptor {descriptor}"
