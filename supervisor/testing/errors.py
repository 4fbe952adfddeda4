"""What the race kit raises about its own use; a race that it finds is a `RaceFound`."""

from __future__ import annotations


class KitError(Exception):
    """The base of all errors of the kit."""


class BadScenario(KitError, TypeError):
    """What was passed cannot be run as a scenario; the message says what to pass instead."""


class BadOption(KitError, ValueError):
    """An option has a value that it cannot have."""


class InsideTrio(KitError, RuntimeError):
    """The kit was called from inside a Trio run; it makes runs of its own."""


class NestedRun(KitError, RuntimeError):
    """The kit was called from inside a scenario of the kit."""


class UnsupportedTrio(KitError, RuntimeError):
    """This Trio cannot be driven step by step; the message names its version."""


class ReplayMismatch(KitError, ValueError):
    """A replay text is not of this scenario, this version of the kit, or this code."""


class LeavesTheKit(KitError):
    """The scenario does what no schedule decides, so that no run of it could be repeated."""


class UsesThreads(LeavesTheKit):
    """A task of the scenario waits for a thread."""


class UsesRealIO(LeavesTheKit):
    """A task of the scenario waits for the operating system: a socket, a pipe, a process."""


class UsesRealTime(LeavesTheKit):
    """The scenario calls `time.sleep`, which no clock of a test can shorten."""


class NotDeterministic(LeavesTheKit):
    """The same schedule led to another run than before."""


class Unfinished(KitError):
    """A run was ended by the kit, because it would not have ended by itself.

    Attributes:
        waiting: for each task that was there, its name and where it stood.
    """

    def __init__(self, message: str, waiting: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.waiting = waiting


class Deadlock(Unfinished):
    """Every task waits, and nothing is left that could wake one."""


class NeverEnds(Unfinished):
    """The run took more steps than it may."""
