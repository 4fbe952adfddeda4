"""The interface of containment.

A `Containment` lives as long as its launcher. It makes one `Box` for each attempt, before anything
is started; whatever the attempt starts is in the box, or cannot be told from the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from ..._model import Proof

if TYPE_CHECKING:
    import trio

    from .._spawner import Child, Helper, Spawner


class Box(ABC):
    """What one attempt runs in.

    Attributes:
        cgroup: the cgroup to be born in; "" if that is not how it works.
        cookie: what the environment gets as TRIO_SUPERVISOR_COOKIE; None leaves it untouched.
    """

    cgroup: str = ""
    cookie: bytes | None = None

    def started(self, child: Child, helper: Helper, pipes: frozenset[int]) -> None:
        """The program runs; `pipes` are the inodes of its output."""
        return None

    @abstractmethod
    async def terminate(self) -> None:
        """Send SIGTERM (and SIGCONT, or a stopped process never sees it) to everything in it."""

    @abstractmethod
    def kill(self) -> None:
        """Kill everything in it; again, if called again."""

    @abstractmethod
    async def gone(self) -> Proof:
        """Wait until nothing in it is alive, give back what the box took, and return the proof."""

    @abstractmethod
    def discard(self) -> None:
        """Give back what the box took; nothing was started in it."""

    @abstractmethod
    def survivors(self) -> tuple[str, ...]:
        """What is alive in it, one line each."""


class Containment(ABC):
    """A way to contain commands."""

    name: ClassVar[str]

    @abstractmethod
    def open(self, nursery: trio.Nursery) -> AbstractAsyncContextManager[Spawner]:
        """Its lifetime, and that of the helper that starts the commands.

        Its tasks live in `nursery`, and have ended when it is left.

        Raises:
            ContainmentUnavailable: it does not work here.
        """

    @abstractmethod
    def box(self) -> Box:
        """A box for a new attempt. No checkpoint.

        Raises:
            OSError: it could not be made.
        """


class ContainmentUnavailable(Exception):
    """This way does not work here; the message says why."""
