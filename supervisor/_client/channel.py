"""What a client holds over all its connections: its requests, its watches, and where they stand.

Callers ask here and wait. While there is a connection, what they ask goes out on it; when there is
none, it waits for the next one, or until it is certain that there will be none.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import trio

from .._backoff import wish
from .._errors import ConnectionLost, InvalidArguments, Overloaded, SupervisorError
from .._methods import HelloResult, SubscribeResult
from .._model import JobFilter
from .._wire_records import from_wire
from .calls import Call, Calls, fresh
from .link import Link
from .remote_watch import RemoteWatch, subscribe_params

__all__ = ["Channel"]

T = TypeVar("T")

OVERLOADED_AT_MOST: Final = 5
"""How often one request is sent before the caller is told that the server is too busy for it."""

MESSAGE_BYTES: Final = 1024 * 1024
"""What a server takes in one message, unless its hello says otherwise."""


class Channel:
    """All that outlives a connection.

    Attributes:
        hello: what the server said of itself on the newest connection.
        calls: the requests under way.
        watches: the open watches, oldest first.
        lost: why there will be no further connection, or None.
    """

    hello: HelloResult

    def __init__(self, on_connected: Callable[[HelloResult], None]) -> None:
        self.calls = Calls()
        self.watches: dict[RemoteWatch, None] = {}
        self.lost: SupervisorError | None = None
        self._on_connected = on_connected
        self._link: Link | None = None
        self._ids = itertools.count(1)

    def __repr__(self) -> str:
        where = "connected" if self._link else "lost" if self.lost else "reconnecting"
        return f"{where}: {len(self.calls)} requests, {len(self.watches)} watches"

    def next_id(self) -> int:
        """Of a request; none is used on two connections but by a request that is repeated."""
        return next(self._ids)

    # --- connections -----------------------------------------------------------------------------

    def connected(self, link: Link, hello: HelloResult) -> None:
        """Hello was answered: take up the watches, then repeat what is not answered yet."""
        self.hello = hello
        self._link = link
        self.calls.connected(hello.instance)
        for watch in self.watches:
            link.resubscribe(watch)
        for call in self.calls.pending.values():
            link.send_call(call)
        self._on_connected(hello)

    def disconnected(self, error: SupervisorError) -> None:
        """The connection has ended; another one may come."""
        self._link = None
        self.calls.disconnected(error)

    def end(self, error: SupervisorError) -> None:
        """There will be no further connection: whoever waits is told. Only the first one counts."""
        if self.lost is not None:
            return
        self._link = None
        self.lost = error
        self.calls.end(error)
        for watch in [*self.watches]:
            more = "; connect again and watch from `since`" if _is_loss(error) else ""
            self.end_watch(watch, fresh(error, more))

    # --- requests --------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Any], T],
        *,
        deadline: float | None = None,
    ) -> T:
        """Ask, wait, and read the answer; see `Client.request`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        times = 0
        while True:
            call = self._new_call(method, params, read, deadline)
            answer = await self._answer_to(call)
            if not isinstance(answer, BaseException):
                result: T = answer
                return result
            times += 1
            pause = _pause(answer) if call.repeatable and times < OVERLOADED_AT_MOST else None
            if pause is None:
                raise answer
            await trio.sleep(pause)

    def _new_call(
        self,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Any],
        deadline: float | None,
    ) -> Call:
        self._check()
        call = Call(
            self.next_id(), method, params, read, instance=self.hello.instance, deadline=deadline
        )
        limit = self.message_bytes
        if (size := len(call.encode())) > limit:
            raise InvalidArguments(
                f"{method} makes a message of {size} bytes; the server takes up to {limit:g}",
                path="$.params",
            )
        return call

    @property
    def message_bytes(self) -> float:
        """How large a message the server takes."""
        limit = self.hello.limits.get("message_bytes", MESSAGE_BYTES)
        return limit if limit > 0 else MESSAGE_BYTES

    def _check(self) -> None:
        if self.lost is not None:
            raise fresh(self.lost)

    async def _answer_to(self, call: Call) -> Any:
        while (link := self._link) is not None and link.crowded:
            await link.room.wait()
        self._check()
        self.calls.add(call)
        if self._link is not None:
            self._link.send_call(call)
        try:
            await call.done.wait()
        except trio.Cancelled:
            self._abandon(call)
            raise
        return call.answer

    def _abandon(self, call: Call) -> None:
        """Its caller has left; on this connection the answer would still come."""
        if not self.calls.forget(call):
            # It was answered after its caller was cancelled, and before it knew of that.
            if isinstance(call.answer, RemoteWatch):
                self._drop_watch(call.answer)
        elif self._link is not None:
            if call.method == "events.subscribe":
                self._link.take_leave(call.id)
            self._link.cancel_request(call.id)

    # --- watches ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def watching(
        self,
        since: int | None,
        instance: str | None,
        filter: JobFilter | None,
        logs: bool,
        progress: bool,
    ) -> AsyncIterator[RemoteWatch]:
        """A watch for as long as the block lasts."""
        self._check()
        history = self.hello.instance if instance is None else instance
        position = None if since is None else (history, since)
        params = subscribe_params(position, filter, logs, progress)
        read = partial(self._open_watch, filter, logs, progress)
        watch = await self.request("events.subscribe", params, read)
        try:
            yield watch
        finally:
            self._drop_watch(watch)

    def _open_watch(
        self, filter: JobFilter | None, logs: bool, progress: bool, value: Any
    ) -> RemoteWatch:
        """Runs when the answer is read, so that the events right behind it find their watch."""
        opened = from_wire(SubscribeResult, value)
        watch = RemoteWatch(
            instance=opened.instance,
            from_seq=opened.from_seq,
            filter=filter,
            logs=logs,
            progress=progress,
        )
        assert self._link is not None, "answers come over a connection"
        self.watches[watch] = None
        self._link.open_watch(opened.subscription_id, watch)
        return watch

    def _drop_watch(self, watch: RemoteWatch) -> None:
        """Nobody reads it any more."""
        if self.watches.pop(watch, self) is None and self._link is not None:
            self._link.drop_watch(watch)

    def end_watch(self, watch: RemoteWatch, error: Exception) -> None:
        """It cannot go on; its reader is told."""
        self.watches.pop(watch, None)
        watch.close(error)


def _is_loss(error: SupervisorError) -> bool:
    return isinstance(error, ConnectionLost)


def _pause(error: BaseException) -> float | None:
    """Seconds after which a request that was not even looked at may be sent again."""
    if not isinstance(error, Overloaded) or "retry_after" not in error.data:
        return None
    return wish(error.data["retry_after"]) + 0.05
