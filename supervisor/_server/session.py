"""One client: its requests, its waits, its subscriptions, its jobs.

One task reads, and hands over what came to its `Intake`. Nobody waits to write: answers and events
go to the outbox.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from .._errors import ReplayGone, Unauthenticated
from .._methods import Scope, SubscribeParams
from .._wire import encode_notification
from .auth import Token
from .intake import HOW, Intake
from .linger import Owned, new_secret
from .stream import PING, OutboxStream, text_frame
from .subscriptions import Subscription
from .turnstile import Lane

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Session"]

log = logging.getLogger("supervisor.server")

TOO_SLOW: Final = (1013, "too slow for the events")
EVENTS_FAILED: Final = (1011, "events could not be passed on; the server's log says more")
"""How a connection is closed that cannot be sent its events."""

LAST_BURSTS = 20
"""How many bursts of events a subscription may still be sent with the goodbye."""


class Session:
    """One websocket connection, from its handshake to its end.

    Attributes:
        token: who it is; None until it has said hello.
        presumed: whether that is known by its uid only; a token it says hello with counts more.
        client: what it says of itself; never taken for who it is.
        owned: the jobs it started that depend on it.
        greeted: whether it has said hello.
        bulk: where its work of more than a millisecond waits for its turn.
        intake: takes its messages.
        subscriptions: those that are open, by id.
        resume_tokens: what it may be resumed by; the first is the newest.
    """

    def __init__(
        self,
        server: Server,
        stream: OutboxStream,
        token: Token | None,
        on_admitted: Callable[[], None] = lambda: None,
        *,
        presumed: bool = False,
    ) -> None:
        self.server = server
        self.sup = server.sup
        self.stream = stream
        self.id = f"s{secrets.token_hex(6)}"
        self.token: Token | None = None
        self.client: str | None = None
        self.owned = Owned(server.sup)
        self.greeted = False
        self.bulk = Lane(server.turnstile)
        self._large = trio.StrictFIFOLock()
        self.intake = Intake(self, self.send)
        self.subscriptions: dict[str, Subscription] = {}
        self.resume_tokens: tuple[str, ...] = (new_secret(),)
        self._numbers = itertools.count(1)
        self._on_admitted = on_admitted
        self._admitted = trio.Event()
        self._scope = trio.CancelScope()
        self._tasks: trio.Nursery
        self.presumed = False
        if token is not None:
            self.admit(token)
            self.presumed = presumed

    def __repr__(self) -> str:
        who = self.name if self.token is not None else "unauthenticated"
        return f"<Session {self.id} of {who}, {len(self.intake.calls)} requests under way>"

    # --- who it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The requester on record."""
        if self.token is None:
            raise RuntimeError("an unauthenticated session does nothing on record")
        return self.token.name

    def admit(self, token: Token) -> None:
        """It has proved who it is."""
        if self.token is None or self.presumed:
            self.token = token
            self.presumed = False
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

    def resume(self, token: str) -> int | None:
        """Take back the lingering jobs of an earlier connection.

        How many of them are alive; None: nothing is known under this token.
        """
        jobs = self.server.take_over(token, self)
        if jobs is None:
            jobs = self.server.lingering.resume(self.name, token)
        if jobs is None:
            return None
        # The answer to this may get lost, too: then the client comes back with the token it has.
        self.resume_tokens = (self.resume_tokens[0], token)
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
            self.intake.end()
            if self.token is not None:
                self.server.lingering.leave(self.name, self.resume_tokens, self.owned)
        with trio.move_on_after(self.server.limits.close_seconds):
            await self.stream.closed.wait()

    async def _read(self, websocket: WebSocketConnection) -> None:
        limits = self.server.limits
        while True:
            await self.stream.wait_for_room()
            try:
                message = await websocket.get_message()
            except ConnectionClosed:
                return
            size = self.stream.message_received()
            if self.token is None and len(message) > limits.unauthenticated_bytes:
                self.close_nowait(1009, "too large a message before session.hello")
            else:
                await self.intake.take(message, size)
            if self.intake.farewell is not None:
                self.close_nowait(*self.intake.farewell)

    async def _expect_hello(self) -> None:
        with trio.move_on_after(self.server.limits.hello_seconds):
            await self._admitted.wait()
        if self.token is None:
            self.close_nowait(4408, "no session.hello in time")

    async def _heartbeat(self) -> None:
        """A peer that is silent is asked; one that does not answer is gone.

        While the outbox is full we may not be listening, and the write deadline tells who is gone.
        """
        pause = self.server.limits.heartbeat_seconds
        while True:
            seen = self.stream.received
            await trio.sleep(pause)
            if self.stream.received == seen:
                self.stream.send_nowait(PING)
                await trio.sleep(pause)
                if self.stream.received == seen and not self.stream.full:
                    self.stream.abort()
                    return

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """A task that ends with the session."""
        self._tasks.start_soon(fn, *args)

    @asynccontextmanager
    async def room_for_large(self) -> AsyncIterator[None]:
        """Large answers are made one after the other, each once there is room to send it."""
        async with self._large:
            await self.stream.wait_for_room()
            yield

    def new_subscription(self, params: SubscribeParams, from_seq: int) -> Subscription:
        """Room for a subscription, which is yet to be run."""
        subscription = Subscription(f"e{next(self._numbers)}", params, from_seq, self.stream)
        self.subscriptions[subscription.id] = subscription
        return subscription

    def close_nowait(self, code: int, reason: str) -> None:
        """Close the connection; what was sent before goes out before."""
        self.stream.send_close(code, reason)
        self.intake.end()
        self._scope.cancel()

    def put_out(self, code: int, reason: str, reconnect_after: float) -> None:
        """Say that this is the end, and why, and close."""
        if self.token is not None:
            about = {"reason": reason, "reconnect_after": reconnect_after}
            self.send(encode_notification("session.closing", about))
        self.close_nowait(code, reason)

    def say_goodbye(self, reason: str, reconnect_after: float) -> None:
        """Send the last events, say that this is the end, and close."""
        code, why = self._drain() or (1001, reason)
        if self.token is not None:
            about = {"reason": reason, "reconnect_after": reconnect_after}
            self.send(encode_notification("session.closing", about))
        self.close_nowait(code, why)

    def _drain(self) -> tuple[int, str] | None:
        """Send the last events; how to close if that cannot be done."""
        frames, now = self.server.fanout.frames, trio.current_time()
        for subscription in [*self.subscriptions.values()]:
            for _ in range(LAST_BURSTS):
                if not subscription.pass_on(frames, now, hurry=True):
                    break
            else:
                return TOO_SLOW
            if subscription.error is not None:
                return self.failed(subscription)
        return None

    def failed(self, subscription: Subscription) -> tuple[int, str]:
        """How to close the connection when a subscription cannot go on.

        The client believes that it hears everything: it must not go on like this.
        """
        if isinstance(subscription.error, ReplayGone):
            return TOO_SLOW
        log.error("%r: %r failed", self, subscription, exc_info=subscription.error)
        return EVENTS_FAILED

    def send(self, payload: bytes | None) -> None:
        """Send an encoded message, if there is one."""
        if payload is not None and not self.stream.send_message(text_frame(payload)):
            self.close_nowait(1013, "too slow: too much waits to be sent")
