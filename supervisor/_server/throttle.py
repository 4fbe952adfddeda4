"""How much a connection may ask for: buckets of messages and of bytes.

A bucket holds a burst, and fills at its rate. What ends a job or a wait, and the ping that proves
the connection, has buckets of its own: whoever has asked for too much can still cancel.

What is refused takes from a second pair of buckets of the same size. A client that only asks a
little too fast is refused now and then, for ever; one that goes far beyond empties these too, and
is put out.

The clock is looked at only when a bucket has run dry, because nearly always none has. So a client
that was idle may find two bursts, one in the bucket and one in the time that passed.
"""

from __future__ import annotations

from enum import Enum

from .limits import Limits

__all__ = ["URGENT", "Bucket", "Throttle", "Verdict"]

URGENT = frozenset({"job.cancel", "job.cancel_many", "$/cancelRequest", "session.ping"})


class Bucket:
    """A burst at once, a rate for ever. The clock is the caller's, and may go backwards.

    Args:
        rate: what comes in, per second.
        burst: what it holds; it is full at first.
        now: the time, in seconds.
    """

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._level = float(burst)
        self._at = now

    def spend(self, amount: float) -> bool:
        """Take so much of what is there, without a look at the clock; False: nothing was taken."""
        if amount > self._level:
            return False
        self._level -= amount
        return True

    def take(self, amount: float, now: float) -> float:
        """Take so much: 0.0; or, if there is not so much, nothing: the seconds until there is.

        More than a burst counts as a burst: it comes through when the bucket is full.
        """
        level = self._level
        if now > self._at:
            level += (now - self._at) * self._rate
            if level > self._burst:
                level = self._burst
        self._at = now
        if amount > self._burst:
            amount = self._burst
        if amount <= level:
            self._level = level - amount
            return 0.0
        self._level = level
        return (amount - level) / self._rate


class Verdict(Enum):
    """What becomes of a message."""

    TAKE = "take"
    REFUSE = "refuse"
    PUT_OUT = "put out"


class _Pair:
    """Messages and bytes."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.messages = Bucket(limits.messages_per_second, limits.messages_burst, now)
        self.bytes = Bucket(limits.bytes_per_second, limits.bytes_burst, now)

    def spend(self, size: int) -> bool:
        return self.bytes.spend(size) and self.messages.spend(1)

    def take(self, size: int, now: float) -> float:
        few, small = self.messages.take(1, now), self.bytes.take(size, now)
        return few if few > small else small


class Throttle:
    """The buckets of one connection.

    Attributes:
        retry_after: seconds until the last message that was refused would have been taken.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.retry_after = 0.0
        self._ordinary = _Pair(limits, now)
        self._urgent = _Pair(limits, now)
        self._refused = _Pair(limits, now)

    def spend(self, size: int, *, urgent: bool) -> bool:
        """Count a message, if there is still enough in the buckets; if not, `judge` it."""
        return (self._urgent if urgent else self._ordinary).spend(size)

    def judge(self, size: int, now: float, *, urgent: bool) -> Verdict:
        """Count a message, with what time has brought.

        Args:
            size: in bytes.
            now: on a clock in seconds.
            urgent: whether its method is in `URGENT`.
        """
        wait = (self._urgent if urgent else self._ordinary).take(size, now)
        if not wait:
            return Verdict.TAKE
        self.retry_after = wait
        return Verdict.PUT_OUT if self._refused.take(size, now) else Verdict.REFUSE
