"""Events on their way to a client: one task per subscription, from the supervisor's watch to the
outbox.

A slow client slows its own task only; then the watch decides what may be dropped (log lines, which
are counted) and when the client is too far behind (state events are never dropped: the connection
is closed). What was taken from the watch is held until the outbox has taken it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from .._errors import ReplayGone
from .._methods import SubscribeParams
from .._model import JobEvent
from .._wire import json_bytes
from .._wire_records import item_to_wire
from .stream import OutboxStream, text_frame

if TYPE_CHECKING:
    from .._supervisor import Supervisor
    from .._watch import Watch
    from ..abc import WatchItem

__all__ = ["EventCache", "Subscription"]


BURST = 50
"""How many events are passed on between two checkpoints."""


class EventCache:
    """The newest state events as JSON, so that many watchers share the work."""

    SIZE = 256

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}

    def body(self, item: WatchItem) -> tuple[str, bytes]:
        """Method and params of its notification; the params are an open-ended object."""
        if not isinstance(item, JobEvent):
            return _encode(item)
        known = self._bodies.get(item.seq)
        if known is None:
            _, known = _encode(item)
            self._bodies[item.seq] = known
            if len(self._bodies) > self.SIZE:
                del self._bodies[next(iter(self._bodies))]
        return "events.event", known


def _encode(item: WatchItem) -> tuple[str, bytes]:
    method, params = item_to_wire(item)
    return method, json_bytes(params)


class Subscription:
    """One client's interest in events. `run` is its task.

    Attributes:
        id: names it on the connection.
        entered: set once nothing can be missed any more, or it has failed.
    """

    def __init__(self, id: str, params: SubscribeParams, from_seq: int) -> None:
        self.id = id
        self.from_seq = from_seq
        self.entered = trio.Event()
        self._params = params
        self._scope = trio.CancelScope()
        self._watch: Watch | None = None
        self._held: WatchItem | None = None
        self._live = False

    def __repr__(self) -> str:
        return f"<Subscription {self.id} from {self.from_seq}>"

    def cancel(self) -> None:
        """End it; nothing more is sent for it."""
        self._live = False
        self._scope.cancel()

    async def run(
        self,
        sup: Supervisor,
        stream: OutboxStream,
        cache: EventCache,
        answer: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Watch, answer the request, then pass on what comes.

        Raises:
            ReplayGone: before the answer: it cannot begin there. After: the client is too slow.
        """
        params = self._params
        filter = None if params.filter is None else params.filter.to_filter()
        try:
            with self._scope:
                async with sup.watch(
                    self.from_seq, filter=filter, logs=params.logs, progress=params.progress
                ) as self._watch:
                    self.entered.set()
                    await answer(
                        {
                            "subscription_id": self.id,
                            "instance": sup.instance,
                            "from_seq": self.from_seq,
                            "head_seq": sup.head_seq,
                        }
                    )
                    self._live = True
                    await self._forward(self._watch, stream, cache)
        finally:
            self._live = False
            self.entered.set()

    async def _forward(self, watch: Watch, stream: OutboxStream, cache: EventCache) -> None:
        async for self._held in watch:
            # Answers to other requests may have filled the outbox meanwhile.
            await stream.wait_room()
            self._pass_on(stream, cache)
            for _ in range(BURST):
                self._held = None if stream.crowded else watch.take_nowait()
                if self._held is None:
                    break
                self._pass_on(stream, cache)

    def _pass_on(self, stream: OutboxStream, cache: EventCache) -> None:
        if self._held is not None:
            if not stream.send_nowait(self._frame(self._held, cache)):
                raise ReplayGone("too much waits to be sent on this connection")
            self._held = None

    def _frame(self, item: WatchItem, cache: EventCache) -> bytes:
        method, body = cache.body(item)
        head = b'{"jsonrpc":"2.0","method":"%s","params":{"subscription_id":"%s",'
        return text_frame(head % (method.encode(), self.id.encode()) + body[1:] + b"}")

    def drain(self, stream: OutboxStream, cache: EventCache) -> None:
        """Pass on at once what is there: the connection is about to be closed.

        Raises:
            ReplayGone: the client is too slow to be sent all of it.
        """
        while self._live and self._watch is not None:
            self._pass_on(stream, cache)
            self._held = self._watch.take_nowait()
            if self._held is None:
                return
