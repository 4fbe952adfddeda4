"""Events on their way to a client, from the supervisor's watch to the outbox.

A slow client's events stay in its watch; then the watch decides what may be dropped (log lines,
which are counted) and when the client is too far behind (state events are never dropped: the
connection is closed). What is taken from the watch is taken by the outbox.

Every event says which position the subscription had before it, so that a client can see a gap,
also where a filter makes the numbers skip. When nothing comes for a while, a bookmark moves the
position on: everything that matches, up to it, was sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .._errors import ReplayGone
from .._methods import SubscribeParams
from .calls import CONTAINED
from .fanout import Fanout, Ticket
from .frames import Frames
from .stream import OutboxStream
from .turnstile import Lane

if TYPE_CHECKING:
    from .._supervisor import Supervisor
    from .._watch import Watch

__all__ = ["Subscription"]


BURST = 50
"""How many items are passed on before the next subscription has its turn."""

BURST_BYTES = 64 * 1024


class Subscription:
    """One client's interest in events. `run` is its life; a `Fanout` does its work.

    Attributes:
        id: names it on the connection.
        entered: set once nothing can be missed any more, or it has failed.
        live: whether events are sent for it.
        queued: whether it waits for its turn; the fan-out's own.
        sent_at: when it was sent an event or bookmark last, on Trio's clock.
        error: why it could not go on, if so.
    """

    def __init__(
        self, id: str, params: SubscribeParams, from_seq: int, stream: OutboxStream
    ) -> None:
        self.id = id
        self.from_seq = from_seq
        self.entered = trio.Event()
        self.live = False
        self.queued = False
        self.sent_at = 0.0
        self._seq = from_seq
        self._bookmarks = 0
        self._params = params
        self._stream = stream
        self._scope = trio.CancelScope()
        self._watch: Watch
        self._come_again: Callable[[], None]
        self._ticket: Ticket | None = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<Subscription {self.id} from {self.from_seq}, at {self._seq}>"

    def cancel(self) -> None:
        """End it; nothing more is sent for it."""
        self.live = False
        self._scope.cancel()

    async def run(
        self,
        sup: Supervisor,
        fanout: Fanout,
        bulk: Lane,
        answer: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Watch, answer the request, then pass on what comes until cancelled.

        Raises:
            ReplayGone: before the answer: it cannot begin there. After: the client is too slow.
        """
        params = self._params
        filter = None if params.filter is None else params.filter.to_filter()
        try:
            with self._scope:
                async with AsyncExitStack() as stack:
                    watch = sup.watch(
                        self.from_seq, filter=filter, logs=params.logs, progress=params.progress
                    )
                    if sup.head_seq - self.from_seq > BURST:
                        async with bulk.turn():
                            self._watch = await stack.enter_async_context(watch)
                    else:
                        self._watch = await stack.enter_async_context(watch)
                    self.entered.set()
                    await answer(
                        {
                            "subscription_id": self.id,
                            "instance": sup.instance,
                            "from_seq": self.from_seq,
                            "head_seq": sup.head_seq,
                        }
                    )
                    self._begin(fanout)
                    await trio.sleep_forever()
        finally:
            self.live = False
            self.entered.set()
            if self._ticket is not None:
                self._ticket.subscription = None
        if self.error is not None:
            raise self.error

    def _begin(self, fanout: Fanout) -> None:
        self.live = True
        self.sent_at = trio.current_time()
        self._come_again = self._watch.on_item = partial(fanout.add, self)
        self._come_again()
        self._ticket = fanout.expect_quiet(self)

    def pass_on(self, frames: Frames, now: float, *, hurry: bool = False) -> bool:
        """Send a burst of what there is to read; whether to come again.

        Args:
            frames: the frames that all share.
            now: on Trio's clock.
            hurry: also if the outbox is crowded: the connection is about to be closed.
        """
        if not self.live:
            return False
        if self._stream.crowded and not hurry:
            self._stream.tell_when_room(self._come_again)
            return False
        try:
            return self._pass_on(frames, now)
        except CONTAINED as exc:
            self._fail(exc)
            return False

    def _pass_on(self, frames: Frames, now: float) -> bool:
        burst: list[bytes] = []
        size = 0
        try:
            while len(burst) < BURST and size < BURST_BYTES:
                raw = self._watch.take_raw()
                if raw is None:
                    break
                frame, seq = frames.of(self._watch, raw, self.id, self._seq)
                if seq != self._seq:
                    self._seq, self.sent_at = seq, now
                burst.append(frame)
                size += len(frame)
        finally:
            self._send(burst)
        return bool(self._watch)

    def _send(self, burst: list[bytes]) -> None:
        if burst and not self._stream.send_messages(burst):
            self._fail(ReplayGone("too much waits to be sent on this connection"))

    def _fail(self, error: BaseException) -> None:
        self.error = error
        self.cancel()

    def bookmark(self, frames: Frames, now: float) -> None:
        """Say how far this subscription is, unless there is something to read or to wait for."""
        seq = self._watch.position
        if seq is None or not self.live or self._stream.crowded:
            return
        self._bookmarks += 1
        self._send(
            [frames.bookmark(self.id, self._bookmarks, self._seq, self._watch.instance, seq)]
        )
        self._seq, self.sent_at = seq, now
