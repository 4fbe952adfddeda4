"""A few descriptors kept in hand, so that a job's end can be proven when the process has run out.

Starting a job may fail for want of descriptors. Ending it must not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
RAN_OUT = (errno.EMFILE, errno.ENFILE)


AT_ONCE = 2
"""What one act needs at most: a pidfd, and a file to look who that is."""


class SpareFds:
    """`count` places in the descriptor table that `use` gives up when there is no other."""

    def __init__(self, count: int = 3 * AT_ONCE) -> None:
        self._count = count
        self._fds: list[int] = []
        self.refill()

    def refill(self) -> None:
        """Take back the places that were given up, as far as there are any."""
        while len(self._fds) < self._count:
            try:
                self._fds.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return

    def use(self, act: Callable[[], T]) -> T:
        """Call `act`; if it runs out of descriptors, once more with spare ones free."""
        try:
            return act()
        except OSError as error:
            if error.errno not in RAN_OUT or not self._fds:
                raise
        self.give_up()
        try:
            return act()
        finally:
            self.refill()

    def give_up(self) -> None:
        """Free what one act needs, until `refill`."""
        for _ in range(min(AT_ONCE, len(self._fds))):
            os.close(self._fds.pop())

    def close(self) -> None:
        """Give all of them up, for good."""
        self._count = 0
        while self._fds:
            os.close(self._fds.pop())
