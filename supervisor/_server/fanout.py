"""Passing events on: one task for the subscriptions of all connections.

A task for each would be woken for each event, which costs more than all the rest. This one goes
through the subscriptions that have something to read, the longest waiting first, a burst from each,
and lets everybody else run after every millisecond: neither a thousand watchers nor a replay of ten
thousand events holds up a cancel.

Another task sends bookmarks to those that were sent nothing for a while.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

import attrs
import trio

from .frames import Frames

if TYPE_CHECKING:
    from .subscriptions import Subscription

__all__ = ["SLICE", "Fanout", "Ticket"]

SLICE = 0.001
"""Seconds of work between two checkpoints."""


@attrs.define(order=True)
class Ticket:
    """When to look whether a subscription was quiet; None: it has ended."""

    due: float
    number: int
    subscription: Subscription | None = attrs.field(order=False)


class Fanout:
    """All subscriptions of a server. `run` must run as long as there are any.

    Args:
        bookmark_seconds: see `Limits`.
    """

    def __init__(self, bookmark_seconds: float) -> None:
        self.frames = Frames()
        self._bookmark_seconds = bookmark_seconds
        self._ready: deque[Subscription] = deque()
        self._some_ready = trio.Event()
        self._quiet: list[Ticket] = []
        self._some_quiet = trio.Event()
        self._numbers = itertools.count()

    def __repr__(self) -> str:
        return f"<Fanout, {len(self._ready)} subscriptions have something to read>"

    def add(self, subscription: Subscription) -> None:
        """This one has something to read; it comes once, however often it is said."""
        if not subscription.queued:
            subscription.queued = True
            self._ready.append(subscription)
            if len(self._ready) == 1:
                self._some_ready.set()

    async def run(self) -> None:
        """Pass on what comes, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bookmark)
            while True:
                await self._some_ready.wait()
                self._some_ready = trio.Event()
                while self._ready:
                    self._pass_on()
                    await trio.lowlevel.checkpoint()

    def _pass_on(self) -> None:
        """For a while."""
        ends = perf_counter() + SLICE
        now = trio.current_time()
        while self._ready:
            subscription = self._ready.popleft()
            subscription.queued = False
            if subscription.pass_on(self.frames, now):
                self.add(subscription)
            if perf_counter() >= ends:
                return

    async def drain(self, subscriptions: list[Subscription]) -> None:
        """Send what there is, also to those that are slow, as far as they may be behind at all."""
        ends = perf_counter() + SLICE
        for subscription in subscriptions:
            while subscription.pass_on(self.frames, trio.current_time(), hurry=True):
                if perf_counter() >= ends:
                    await trio.lowlevel.checkpoint()
                    ends = perf_counter() + SLICE

    # --- the quiet ones ------------------------------------------------------------------------

    def expect_quiet(self, subscription: Subscription) -> Ticket:
        """From now on it gets bookmarks, for as long as the ticket names it."""
        due = trio.current_time() + self._bookmark_seconds
        ticket = Ticket(due, next(self._numbers), subscription)
        heapq.heappush(self._quiet, ticket)
        self._some_quiet.set()
        return ticket

    async def _bookmark(self) -> None:
        while True:
            if not self._quiet:
                self._some_quiet = trio.Event()
                await self._some_quiet.wait()
            await trio.sleep_until(self._quiet[0].due)
            self._send_due_bookmarks()

    def _send_due_bookmarks(self) -> None:
        """For a while: if there are more, the next time comes at once."""
        ends = perf_counter() + SLICE
        now = trio.current_time()
        while self._quiet and self._quiet[0].due <= now and perf_counter() < ends:
            ticket = self._quiet[0]
            if ticket.subscription is None:
                heapq.heappop(self._quiet)
                continue
            ticket.due = self._next_due(ticket.subscription, now)
            heapq.heapreplace(self._quiet, ticket)

    def _next_due(self, subscription: Subscription, now: float) -> float:
        """Send a bookmark if it is due; when to look again."""
        due = subscription.sent_at + self._bookmark_seconds
        if due > now:
            return due
        subscription.bookmark(self.frames, now)
        return now + self._bookmark_seconds
