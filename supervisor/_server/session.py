"""One client: its requests, its waits, its subscriptions, its jobs.

One task reads, and never blocks: what a request does it does at once, in the order of arrival; what
has to wait becomes a task of its own. Nobody waits to write: answers and events go to the outbox.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from .._errors import (
    Overloaded,
    ReplayGone,
    RequestCancelled,
    SupervisorError,
    Unauthenticated,
)
from .._methods import Scope, SubscribeParams, method_named, parse_params
from .._wire import (
    Batch,
    Event,
    InvalidRequest,
    Item,
    Malformed,
    Notification,
    Request,
    decode,
    encode_error,
    encode_notification,
    encode_result,
)
from .auth import Token
from .calls import CONTAINED, BatchReply, Call, Later, Room
from .dispatch import EVENTS_FAILED, HANDLERS, TOO_SLOW, rebased
from .linger import Owned, new_secret
from .stream import PING, OutboxStream, text_frame
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Session"]

log = logging.getLogger("supervisor.server")

MAY_WAIT = frozenset(
    {
        "job.run",
        "job.wait",
        "job.cancel",
        "job.start_many",
        "job.cancel_many",
        "events.subscribe",
    }
)

HOW = (
    "say session.hello with a token first, or connect with the header 'Authorization: Bearer TOKEN'"
)

TURN = 20
"""How many messages of a batch are taken between two checkpoints."""

LARGE = 64 * 1024
"""Bytes of an answer that make up for a whole turn."""

Reply = Callable[[bytes | None], None]


class Session:
    """One websocket connection, from its handshake to its end.

    Attributes:
        token: who it is; None until it has said hello.
        client: what it says of itself; never taken for who it is.
        owned: the jobs it started that depend on it.
        calls: its requests under way, by id; None for one that waits for the rest of its batch.
        resume_tokens: what it may be resumed by; the first is the newest.
    """

    def __init__(
        self,
        server: Server,
        stream: OutboxStream,
        token: Token | None,
        on_admitted: Callable[[], None] = lambda: None,
    ) -> None:
        self.server = server
        self.sup = server.sup
        self.stream = stream
        self.id = f"s{secrets.token_hex(6)}"
        self.token: Token | None = None
        self.client: str | None = None
        self.owned = Owned(server.sup)
        self.calls: dict[object, Call | None] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.resume_tokens: tuple[str, ...] = (new_secret(),)
        self._room = Room(server.limits.batch_bytes)
        self._numbers = itertools.count(1)
        self._on_admitted = on_admitted
        self._admitted = trio.Event()
        self._quiet = trio.Event()
        self._farewell: tuple[int, str] | None = None
        self._scope = trio.CancelScope()
        self._tasks: trio.Nursery
        if token is not None:
            self.admit(token)

    def __repr__(self) -> str:
        who = self.name if self.token is not None else "unauthenticated"
        return f"<Session {self.id} of {who}, {len(self.calls)} requests under way>"

    # --- who it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The requester on record."""
        if self.token is None:
            raise RuntimeError("an unauthenticated session does nothing on record")
        return self.token.name

    def admit(self, token: Token) -> None:
        """It has proved who it is."""
        if self.token is None:
            self.token = token
            self.stream.be_patient()
            self._admitted.set()
            self._on_admitted()

    def require(self, scope: Scope, what: str) -> None:
        """Do nothing if the session may do this.

        Raises:
            Unauthenticated: nobody knows yet who it is.
            Forbidden: its token lacks the scope.
        """
        if self.token is None:
            raise Unauthenticated(HOW)
        self.token.require(scope, what)

    def resume(self, token: str) -> int:
        """Take back the lingering jobs of an earlier connection; how many are alive."""
        if token in self.resume_tokens:
            return 0
        found = self.server.take_over(token, self) or self.server.lingering.resume(self.name, token)
        if found is None:
            return 0
        tokens, jobs = found
        # The answer to this may get lost, too: then the client comes back with the old token.
        self.resume_tokens = (self.resume_tokens[0], tokens[0])
        return self.owned.adopt(jobs)

    def is_resumed_by(self, token: str, other: Session) -> bool:
        """Whether this resume token, said by that session, means this one."""
        return token in self.resume_tokens and self.token is other.token

    # --- its life ------------------------------------------------------------------------------

    async def run(self, websocket: WebSocketConnection) -> None:
        """Serve it until it leaves, or is told to."""
        self.server.sessions.add(self)
        try:
            async with trio.open_nursery() as self._tasks:
                self._tasks.start_soon(self._heartbeat)
                if self.token is None:
                    self._tasks.start_soon(self._expect_hello)
                with self._scope:
                    await self._read(websocket)
                self._tasks.cancel_scope.cancel()
        finally:
            self.server.sessions.discard(self)
            self._quiet.set()
            if self.token is not None:
                self.server.lingering.leave(self.name, self.resume_tokens, self.owned)
        with trio.move_on_after(self.server.limits.close_seconds):
            await self.stream.closed.wait()

    async def _read(self, websocket: WebSocketConnection) -> None:
        while True:
            try:
                message = await websocket.get_message()
            except ConnectionClosed:
                return
            self.stream.message_received()
            if self.token is None and len(message) > self.server.limits.unauthenticated_bytes:
                self.close_nowait(1009, "too large a message before session.hello")
            else:
                await self._take(decode(message, batch_items=self.server.limits.batch_items))
            if self._farewell is not None:
                self.close_nowait(*self._farewell)

    async def _expect_hello(self) -> None:
        with trio.move_on_after(self.server.limits.hello_seconds):
            await self._admitted.wait()
        if self.token is None:
            self.close_nowait(4408, "no session.hello in time")

    async def _heartbeat(self) -> None:
        """A peer that is silent is asked; one that does not answer is gone."""
        pause = self.server.limits.heartbeat_seconds
        while True:
            seen = self.stream.received
            await trio.sleep(pause)
            if self.stream.received == seen:
                self.stream.send_nowait(PING)
                await trio.sleep(pause)
                if self.stream.received == seen:
                    self.stream.abort()
                    return

    def new_subscription(self, params: SubscribeParams, from_seq: int) -> Subscription:
        """Room for a subscription, which is yet to be run."""
        subscription = Subscription(f"e{next(self._numbers)}", params, from_seq)
        self.subscriptions[subscription.id] = subscription
        return subscription

    def close_nowait(self, code: int, reason: str) -> None:
        """Close the connection; what was sent before goes out before."""
        self.stream.send_close(code, reason)
        self._scope.cancel()

    async def quiet(self) -> None:
        """Return once no request is under way."""
        while self.calls and not self._scope.cancel_called:
            self._quiet = trio.Event()
            await self._quiet.wait()

    def say_goodbye(self, reason: str, reconnect_after: float) -> None:
        """Send the events there are, say that this is the end, and close."""
        code, why = self._drain() or (1001, reason)
        if self.token is not None:
            self._send(
                encode_notification(
                    "session.closing", {"reason": reason, "reconnect_after": reconnect_after}
                )
            )
        self.close_nowait(code, why)

    def _drain(self) -> tuple[int, str] | None:
        """Send the events there are; how to close if that cannot be done."""
        try:
            for subscription in [*self.subscriptions.values()]:
                subscription.drain(self.stream, self.server.events)
        except ReplayGone:
            return TOO_SLOW
        except CONTAINED as exc:
            log.error("%r: the last events could not be sent", self, exc_info=exc)
            return EVENTS_FAILED
        return None

    # --- messages ------------------------------------------------------------------------------

    def _send(self, payload: bytes | None) -> None:
        if payload is not None and not self.stream.send_nowait(text_frame(payload)):
            self.close_nowait(1013, "too slow: too much waits to be sent")

    async def _take(self, event: Event) -> None:
        if type(event) is Request:
            barrier = self._request(event, self._send, None)
            if barrier is not None:
                await barrier.wait()
        elif isinstance(event, Batch):
            await self._take_batch(event.items)
        else:
            await self._dispatch(event, self._send, None)

    async def _take_batch(self, items: Sequence[Item]) -> None:
        batch = BatchReply(len(items), self._send, self._release, self._room)
        for place, item in enumerate(items):
            before = self._room.used
            await self._dispatch(item, partial(batch.put, place), batch)
            if place % TURN == TURN - 1 or self._room.used - before > LARGE:
                await trio.lowlevel.checkpoint()  # the others have their turn

    async def _dispatch(self, item: Item, reply: Reply, batch: BatchReply | None) -> None:
        answer = None
        if type(item) is Request:
            barrier = self._request(item, reply, batch)
            if barrier is not None:
                await barrier.wait()
            return
        if type(item) is Malformed and item.answer:
            answer = encode_error(item.id, item.error)
        elif type(item) is Notification:
            self._notified(item)
        # Nothing was asked of the client, so its answers answer nothing.
        reply(answer)

    def _request(
        self, request: Request, reply: Reply, batch: BatchReply | None
    ) -> trio.Event | None:
        id = request.id
        if id in self.calls:
            problem = InvalidRequest(f"a request with id {id!r} is under way", path="$.id")
            reply(encode_error(id, problem))
            return None
        try:
            if batch is not None:
                batch.require_room()
            outcome = self._perform(request.method, request.params)
            answer = None if type(outcome) is Later else encode_result(id, outcome)
        except CONTAINED as exc:
            outcome, answer = None, encode_error(id, self._explained(exc, request.method))
        if type(outcome) is Later:
            return self._begin(Call(id, reply, outcome, batch), id, outcome, batch)
        if batch is not None:
            batch.hold(id)
            self.calls[id] = None
            answer = batch.fitting(id, answer) if answer is not None else None
        reply(answer)
        return None

    def _notified(self, notification: Notification) -> None:
        """A request that wants no answer, not even that it was wrong."""
        try:
            outcome = self._perform(notification.method, notification.params)
        except CONTAINED as exc:
            error = self._explained(exc, notification.method)
            log.debug("%r: notification %s: %s", self, notification.method[:64], error)
            return
        if type(outcome) is Later:
            call = Call(None, lambda _: None, outcome, None)
            self._begin(call, call, outcome, None)

    def _perform(self, name: str, params: Mapping[str, Any]) -> Any:
        """Do what is asked, as far as that can be done at once."""
        if self.token is None and name != "session.hello":
            raise Unauthenticated(HOW)
        method = method_named(name)
        if method.scope is not None:
            self.require(method.scope, name)
        if name in MAY_WAIT:
            self._check_pending(method.scope)
        return HANDLERS[name](self, parse_params(method, params))

    def _check_pending(self, scope: Scope | None) -> None:
        """Whoever waits for too much at once must still be able to cancel."""
        limit = self.server.limits.pending_requests * (2 if scope is Scope.CANCEL else 1)
        if len(self.calls) >= limit:
            raise Overloaded(f"{limit} requests of this connection are under way", retry_after=1.0)

    def _explained(self, error: BaseException, method: str) -> BaseException:
        if isinstance(error, Unauthenticated):
            self._farewell = (4401, "unauthenticated")
        if isinstance(error, SupervisorError):
            return rebased(error)
        log.error("%r: %s failed", self, method, exc_info=error)
        return error

    # --- requests that take their time ------------------------------------------------------------

    def _begin(
        self, call: Call, key: object, later: Later, batch: BatchReply | None
    ) -> trio.Event | None:
        self.calls[key] = call
        if batch is not None:
            batch.hold(key)
        else:
            call.on_answered = partial(self._release, (key,))
        self._tasks.start_soon(self._continue, call, later)
        return later.barrier

    async def _continue(self, call: Call, later: Later) -> None:
        try:
            with call.scope:
                call.answer(await later.run(call))
            if call.scope.cancelled_caught:
                call.refuse(RequestCancelled("this request was cancelled by its client"))
        except CONTAINED as exc:
            call.refuse(self._explained(exc, repr(call)))

    def _release(self, keys: Iterable[object]) -> None:
        """These requests are answered; their ids can be used again."""
        for key in keys:
            self.calls.pop(key, None)
        if not self.calls:
            self._quiet.set()
