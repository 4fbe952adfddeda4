"""One connection's life, from hello until something is wrong with it.

One task reads, one writes, one asks now and then whether the other end is still there and has seen
as many messages as were sent. Whatever is not as it should be - a message that cannot be read, an
event that does not follow on the last one, counts that differ - ends the connection: the next one
takes up everything where it was good.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio
import trio_websocket
from wsproto.utilities import ProtocolError as WebsocketError

from .._backoff import wish
from .._errors import (
    ConnectionLost,
    Forbidden,
    Overloaded,
    ProtocolError,
    ReplayGone,
    SupervisorError,
    Unauthenticated,
)
from .._methods import HelloResult, SubscribeResult
from .._model import JobPage
from .._wire import (
    CODES,
    RESUMED_ELSEWHERE,
    Batch,
    ErrorReply,
    Item,
    Malformed,
    Notification,
    Result,
    decode,
    encode_notification,
    encode_request,
    exception_of,
)
from .._wire_records import from_wire
from .calls import HOPELESS, Call, TakenOver
from .remote_watch import RemoteWatch
from .websocket import BoundedStream

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Link"]

CROWDED_MESSAGES: Final = 1000
CROWDED_BYTES: Final = 1024 * 1024
"""When so much waits to be sent, callers wait before they ask for more."""

BATCH_ITEMS: Final = 10_000
"""Messages in a batch of the server's; we send none, so that it has nothing to answer in one."""

HEARTBEAT: Final = 20.0
HEARTBEAT_BOUNDS: Final = (0.05, 300.0)
"""Seconds between two questions whether anybody is there, and what a server may make of it."""

LIST_LIMIT: Final = 1000

_FINAL_CODES: Final[Mapping[int, type[SupervisorError]]] = {4401: Unauthenticated, 4403: Forbidden}
"""Close codes that no further attempt would change."""


class _Question:
    """A request of the link's own; it ends with the link."""

    __slots__ = ("on_error", "on_result")

    def __init__(
        self, on_result: Callable[[Any], None], on_error: Callable[[SupervisorError], None]
    ) -> None:
        self.on_result = on_result
        self.on_error = on_error


def _ignore(_: object) -> None:
    pass


class Link:
    """One connection of a channel.

    Attributes:
        error: why it has ended, or None.
        at_fault: whether we ended it because something was wrong with it.
        progressed: whether it was of use: something was answered, or told anew.
        wait: seconds that the server asked to be left alone for.
    """

    _connection: trio_websocket.WebSocketConnection

    def __init__(self, channel: Channel, stream: BoundedStream) -> None:
        self._channel = channel
        self._stream = stream
        self._outbox: deque[tuple[bytes, Callable[[], None] | None]] = deque()
        self._outbox_bytes = 0
        self._filled = trio.Event()
        self.room = trio.Event()
        self._questions: dict[int, _Question] = {}
        self._watches: dict[str, RemoteWatch] = {}
        self._bookmarks: dict[object, int] = {}
        self._left: set[object] = set()  # requests whose callers have left
        self._unsubscribed: set[str] = set()
        self._doubled = False
        self._greeted = trio.Event()
        self._scope = trio.CancelScope()
        self._received = 0
        self._sent = 0
        self.error: SupervisorError | None = None
        self.at_fault = False
        self.progressed = False
        self.wait = 0.0

    def __repr__(self) -> str:
        state = "open" if self.error is None else f"ended: {self.error}"
        return f"<Link {state}, {len(self._outbox)} messages to send>"

    def why(self) -> SupervisorError:
        """Why it has ended."""
        return self.error or _lost("it broke")

    # --- its life --------------------------------------------------------------------------------

    async def run(
        self, connection: trio_websocket.WebSocketConnection, hello: Mapping[str, Any]
    ) -> None:
        """Say hello, then read and write until `error` is there."""
        self._connection = connection
        self.ask("session.hello", hello, self._welcome, self._unwelcome)
        with self._scope:
            async with trio.open_nursery() as nursery:  # all three end with the connection
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                nursery.start_soon(self._beat)

    def _end(self, error: SupervisorError) -> None:
        """The first reason counts."""
        if self.error is None:
            self.error = error
        self.room.set()
        self._scope.cancel()

    def fail(self, why: str) -> None:
        """Something is wrong with the connection: it is worth nothing any more."""
        self.at_fault = True
        self._end(_lost(why))

    async def _read(self) -> None:
        while True:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed:
                self._end(self._closed())
                return
            self._stream.message_received()
            self._dispatch(message)

    def _closed(self) -> SupervisorError:
        closed = self._connection.closed
        if closed is None:
            return _lost("it broke")
        why = closed.reason or closed.name
        if (closed.code, closed.reason) == RESUMED_ELSEWHERE:
            return TakenOver(
                f"the connection to the supervisor has ended ({why}): another client has come with "
                "this session's resume token, and the jobs are with that one now"
            )
        if closed.code in _FINAL_CODES:
            return _FINAL_CODES[closed.code](f"the server has closed the connection: {why}")
        return _lost(f"{closed.code} {why}")

    async def _write(self) -> None:
        # The only task that sends: a send that is cancelled midway would corrupt the stream.
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            while self._outbox:
                message, on_sent = self._outbox.popleft()
                self._outbox_bytes -= len(message)
                self._sent += 1
                if on_sent is not None:
                    on_sent()
                try:
                    await self._connection.send_message(message.decode())
                except (trio_websocket.ConnectionClosed, WebsocketError):
                    return  # the reader finds out why
                if not self.crowded:
                    self.room.set()

    async def _beat(self) -> None:
        """Ask whether anybody is there, and whether every message has arrived."""
        await self._greeted.wait()
        pause = _heartbeat(self._channel.hello)
        while True:
            await trio.sleep(pause)
            answered = trio.Event()
            self._ping(answered)
            with trio.move_on_after(pause):
                await answered.wait()
            if not answered.is_set():
                self.fail(f"no answer to a ping within {pause:g} s")

    # --- out -------------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether so much waits to be sent that callers should wait."""
        return len(self._outbox) >= CROWDED_MESSAGES or self._outbox_bytes >= CROWDED_BYTES

    def _send(self, message: bytes, on_sent: Callable[[], None] | None = None) -> None:
        self._outbox.append((message, on_sent))
        self._outbox_bytes += len(message)
        self._filled.set()
        if self.crowded and self.room.is_set() and self.error is None:
            self.room = trio.Event()

    def send_call(self, call: Call) -> None:
        """Send a caller's request; its answer goes to the channel's calls."""
        self._send(call.encode(), partial(call.sent_to, self._channel.hello.instance))

    def cancel_request(self, id: int) -> None:
        """The caller of this request has left."""
        self._left.add(id)
        self._send(encode_notification("$/cancelRequest", {"id": id}))

    def ask(
        self,
        method: str,
        params: Mapping[str, Any],
        on_result: Callable[[Any], None] = _ignore,
        on_error: Callable[[SupervisorError], None] = _ignore,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """Ask something for the connection's own sake."""
        id = self._channel.next_id()
        self._questions[id] = _Question(on_result, on_error)
        self._send(encode_request(id, method, params), on_sent)

    def _ping(self, answered: trio.Event) -> None:
        sent = 0

        def on_sent() -> None:
            nonlocal sent
            sent = self._sent

        def on_result(pong: Any) -> None:
            answered.set()
            self._compare(pong, sent)

        self.ask("session.ping", {}, on_result, lambda _: answered.set(), on_sent)

    def _compare(self, pong: Any, sent: int) -> None:
        """Whether each side has received what the other one sent."""
        received, theirs = _count(pong, "received"), _count(pong, "sent")
        if received is not None and received != sent:
            self.fail(f"of {sent} messages to the server {received} arrived")
        elif theirs is not None and theirs != self._received - 1:
            self.fail(f"of {theirs} messages from the server {self._received - 1} arrived")
        elif self._doubled and (self._questions or self._channel.calls.pending):
            # One that came twice makes up, in the counts, for one that did not come.
            self.fail("a message has come twice, and what is not answered may be lost")

    # --- in --------------------------------------------------------------------------------------

    def _dispatch(self, message: str | bytes) -> None:
        self._received += 1
        event = decode(message, batch_items=BATCH_ITEMS)
        for item in event.items if isinstance(event, Batch) else (event,):
            self._take(item)

    def _take(self, item: Item) -> None:
        match item:
            case Notification(method=method, params=params):
                self._notified(method, params)
            case Result(id=id, result=result):
                self._answered(id, result)
            case ErrorReply(id=None, message=message):
                self.fail(f"the server could not read a message: {message}")
            case ErrorReply():
                self._refused(item)
            case Malformed(error=error):
                self.fail(f"a message that cannot be read: {error}")
            case _:
                pass  # a request; nothing was offered that it could ask for

    def _answered(self, id: object, result: Any) -> None:
        question = self._questions.pop(id, None) if isinstance(id, int) else None
        if question is None:
            self._note_answer(id, self._channel.calls.answered(id, result))
            return
        try:
            question.on_result(result)
        except ProtocolError as exc:
            self.fail(str(exc))

    def _refused(self, reply: ErrorReply) -> None:
        if reply.code == CODES["invalid_request"] and reply.data.get("path") == "$.id":
            self._doubled = True  # the first one is under way
            return
        error = exception_of(reply.code, reply.message, reply.data)
        question = self._questions.pop(reply.id, None) if isinstance(reply.id, int) else None
        if question is None:
            self._note_answer(reply.id, self._channel.calls.refused(reply.id, error))
        else:
            question.on_error(error)

    def _note_answer(self, id: object, is_new: bool) -> None:
        if is_new:
            self.progressed = True
        elif id in self._left:
            self._left.discard(id)
        else:
            self._doubled = True

    def _notified(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "session.closing":
            self.wait = wish(params.get("reconnect_after"))
            return
        id = params.get("subscription_id")
        watch = self._watches.get(id) if isinstance(id, str) else None
        if watch is None:
            self._doubled |= isinstance(id, str) and id not in self._unsubscribed
            return
        try:
            is_new = watch.take(method, params)
            self.progressed |= is_new
            if method == "events.bookmark":
                is_new = self._is_next_bookmark(id, params)
            self._doubled |= not is_new
        except ProtocolError as exc:
            self.fail(str(exc))

    def _is_next_bookmark(self, id: object, params: Mapping[str, Any]) -> bool:
        """Whether a bookmark has not come before; its position alone does not tell."""
        number = _count(params, "number")
        if number is None:
            return True  # a server that does not count them
        if number <= self._bookmarks.get(id, 0):
            return False
        self._bookmarks[id] = number
        return True

    # --- hello, and what follows ---------------------------------------------------------------

    def _welcome(self, value: Any) -> None:
        hello = from_wire(HelloResult, value)
        self._greeted.set()
        self._channel.connected(self, hello)

    def _unwelcome(self, error: SupervisorError) -> None:
        if isinstance(error, HOPELESS):
            self._end(error)
        else:
            self.fail(f"hello was refused: {error}")

    def open_watch(self, id: str, watch: RemoteWatch) -> None:
        """What comes for this subscription goes to the watch."""
        self._watches[id] = watch

    def drop_watch(self, watch: RemoteWatch) -> None:
        """Nobody wants to hear it any more."""
        for id in [id for id, other in self._watches.items() if other is watch]:
            del self._watches[id]
            self._bookmarks.pop(id, None)
            self.unsubscribe(id)

    def unsubscribe(self, id: str) -> None:
        """End a subscription at the server."""
        self._unsubscribed.add(id)
        self.ask(
            "events.unsubscribe",
            {"subscription_id": id},
            lambda _: self._unsubscribed.discard(id),
            lambda _: self._unsubscribed.discard(id),
        )

    def take_leave(self, id: int) -> None:
        """Nobody waits for this request to subscribe: end what it may have opened all the same."""
        self._questions[id] = _Question(
            lambda value: self.unsubscribe(from_wire(SubscribeResult, value).subscription_id),
            _ignore,
        )

    def resubscribe(self, watch: RemoteWatch) -> None:
        """Take a watch up where it stood on the connection before."""
        if watch.instance != self._channel.hello.instance:
            self._begin_anew(watch)  # at once: what is repeated after this belongs to the watch
            return
        # Lines are asked for twice: before, so that those from the outage are told before an end
        # that is replayed; and after, because some may have come in between.
        self._count_lines(watch)
        self.ask(
            "events.subscribe",
            watch.params(replay=True),
            partial(self._subscribed, watch),
            partial(self._not_subscribed, watch),
        )
        self._count_lines(watch)

    def _begin_anew(self, watch: RemoteWatch) -> None:
        self.ask(
            "events.subscribe",
            watch.params(replay=False),
            partial(self._begun_anew, watch),
            partial(self._not_subscribed_at_all, watch),
        )

    def _subscribed(self, watch: RemoteWatch, value: Any) -> None:
        opened = from_wire(SubscribeResult, value)
        if watch not in self._channel.watches:
            self.unsubscribe(opened.subscription_id)
        elif (opened.instance, opened.from_seq) != (watch.instance, watch.reached):
            self.fail(f"a watch from {watch.reached} was begun at {opened.from_seq}")
        else:
            self.open_watch(opened.subscription_id, watch)

    def _not_subscribed(self, watch: RemoteWatch, error: SupervisorError) -> None:
        if isinstance(error, ReplayGone):
            self._begin_anew(watch)
        else:
            self._not_subscribed_at_all(watch, error)

    def _begun_anew(self, watch: RemoteWatch, value: Any) -> None:
        opened = from_wire(SubscribeResult, value)
        if watch not in self._channel.watches:
            self.unsubscribe(opened.subscription_id)
            return
        watch.lose(opened.instance, opened.from_seq)
        self.open_watch(opened.subscription_id, watch)
        self.progressed = True

    def _not_subscribed_at_all(self, watch: RemoteWatch, error: SupervisorError) -> None:
        if isinstance(error, Overloaded):
            self.wait = wish(error.data.get("retry_after"))
            self.fail(str(error))
        else:
            self._channel.end_watch(watch, error)

    def _count_lines(self, watch: RemoteWatch) -> None:
        jobs = watch.open_jobs()
        for first in range(0, len(jobs), LIST_LIMIT):
            some = jobs[first : first + LIST_LIMIT]
            self._list_lines(watch, {"job_ids": some, "limit": LIST_LIMIT}, LIST_LIMIT)

    def _list_lines(self, watch: RemoteWatch, params: dict[str, Any], pages: int) -> None:
        instance = watch.instance

        def on_result(value: Any) -> None:
            page = from_wire(JobPage, value)
            if page.instance != instance or watch.instance != instance:
                return  # jobs of another history
            for job in page:
                watch.lines_exist(job)
            if page.next_cursor is not None and pages > 1:
                self._list_lines(watch, {**params, "cursor": page.next_cursor}, pages - 1)

        self.ask("job.list", params, on_result)


def _lost(why: str) -> ConnectionLost:
    return ConnectionLost(f"the connection to the supervisor has ended ({why})")


def _count(pong: Any, name: str) -> int | None:
    value = pong.get(name) if isinstance(pong, Mapping) else None
    return value if type(value) is int else None


def _heartbeat(hello: HelloResult) -> float:
    seconds = hello.limits.get("heartbeat_seconds", HEARTBEAT)
    least, most = HEARTBEAT_BOUNDS
    return HEARTBEAT if math.isnan(seconds) else min(max(seconds, least), most)
