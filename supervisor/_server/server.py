"""What all connections share, and one connection from its first byte to its last.

The stages of closing: no new connections; the requests that are under way get their answers; every
session is told and closed with 1001; what is left after that is cut off. All of it is bounded.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from .._wire import RESUMED_ELSEWHERE
from .auth import Auth, Token
from .calls import CONTAINED
from .door import Admitted, Door
from .fanout import Fanout
from .http import BadHead, read_head, response
from .limits import Limits
from .linger import Lingering
from .session import Session
from .stream import OutboxStream
from .tls import shake_hands
from .turnstile import Turnstile
from .verdicts import Verdicts

if TYPE_CHECKING:
    from .._supervisor import Supervisor

__all__ = ["Server", "open_server"]

log = logging.getLogger("supervisor.server")

QUEUE = 64
"""Messages that the websocket library may read ahead; with 1 a busy session delays pongs."""

RECEIVE_BYTES = 64 * 1024

RECONNECT_AFTER = 1.0
"""Seconds after which a client may look whether the server is back."""


CLOSING = response(503, "shutting down", (("Retry-After", "1"),))


class Server:
    """A supervisor's control channel, apart from the port. Made by `open_server`.

    Attributes:
        nursery: where connections live; closing cancels it last.
        sessions: the websocket connections that are open.
        lingering: the jobs whose client may come back.
        fanout: passes the events on.
        turnstile: where the bulk work of all sessions waits for its turn.
        verdicts: why the results of some jobs cannot be sent.
    """

    def __init__(
        self,
        sup: Supervisor,
        auth: Auth,
        door: Door,
        limits: Limits,
        nursery: trio.Nursery,
        background: trio.Nursery,
    ) -> None:
        self.sup = sup
        self.auth = auth
        self.door = door
        self.limits = limits
        self.nursery = nursery
        self.sessions: set[Session] = set()
        self.lingering = Lingering(sup, background, limits.linger_seconds)
        self.fanout = Fanout(limits.bookmark_seconds)
        self.turnstile = Turnstile()
        self.verdicts = Verdicts()
        self._streams: set[OutboxStream] = set()
        self._strangers: dict[OutboxStream, None] = {}  # the oldest first
        self._one_left = trio.Event()
        self._closing = False

    def __repr__(self) -> str:
        return f"<Server of {self.sup!r}, {len(self.sessions)} sessions>"

    # --- one connection ------------------------------------------------------------------------

    async def serve_stream(self, transport: trio.abc.Stream, *, peer: Token | None = None) -> None:
        """Serve one connection until it ends. Its failure stays its own.

        Args:
            transport: the connection.
            peer: who is there, if that is known without a token; see `Peers`.
        """
        stream = OutboxStream(transport, self.limits)
        self._streams.add(stream)
        self._make_room()
        self._strangers[stream] = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.flush)
                try:
                    if self._closing:
                        stream.send_nowait(CLOSING)
                    else:
                        await self._converse(stream, transport, peer)
                finally:
                    self._strangers.pop(stream, None)
                    with trio.CancelScope(shield=True):
                        await stream.aclose()
        except* (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            log.debug("a connection ended: %r", group.exceptions)
        except* Exception as group:
            log.warning("a connection failed; the others go on", exc_info=group)
        finally:
            self._streams.discard(stream)
            self._one_left.set()

    def _make_room(self) -> None:
        """Too many have yet to authenticate: the oldest goes.

        Were the newest turned away, silent connections could keep out those who have a token.
        """
        while self._strangers and len(self._strangers) >= self.limits.unauthenticated_sockets:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()

    async def _converse(
        self, stream: OutboxStream, transport: trio.abc.Stream, peer: Token | None
    ) -> None:
        admitted = await self._admit(stream, transport, peer)
        if admitted is None:
            return
        async with trio.open_nursery() as nursery:  # the websocket library's reader lives here
            with trio.move_on_after(self.limits.head_seconds) as handshake:
                proposal = await wrap_server_stream(
                    nursery,
                    stream,
                    message_queue_size=QUEUE,
                    max_message_size=self.limits.message_bytes,
                    receive_buffer_size=RECEIVE_BYTES,
                )
                websocket = await proposal.accept(subprotocol=admitted.subprotocol)
                stream.tell_faults(partial(_fault, websocket))
                stream.open_gate()
            if not handshake.cancelled_caught:
                known = partial(self._strangers.pop, stream, None)
                presumed = admitted.token is peer
                session = Session(self, stream, admitted.token, known, presumed=presumed)
                await session.run(websocket)
            nursery.cancel_scope.cancel()

    async def _admit(
        self, stream: OutboxStream, transport: trio.abc.Stream, peer: Token | None
    ) -> Admitted | None:
        """Read the request head and decide; whoever does not get in is answered."""
        try:
            with trio.fail_after(self.limits.head_seconds):
                await shake_hands(transport)
                got = await read_head(transport, max_bytes=self.limits.head_bytes)
        except trio.TooSlowError:
            stream.send_nowait(response(408, "no request came in time"))
            return None
        except BadHead as exc:
            stream.send_nowait(response(exc.status, str(exc)))
            return None
        if got is None:
            return None
        head, raw, rest = got
        decision = self.door.decide(head, ready=self.sup.accepting, peer=peer)
        if isinstance(decision, Admitted):
            stream.replay(raw, rest)
            return decision
        stream.send_nowait(response(decision.status, decision.body, decision.headers))
        return None

    # --- sessions ------------------------------------------------------------------------------

    def take_over(self, token: str, by: Session) -> dict[str, datetime] | None:
        """Hand the jobs of an open session to the one that resumes it, and close it.

        The client is faster than we are: it knows that the old connection is dead.
        """
        for session in self.sessions:
            if session is not by and session.is_resumed_by(token, by):
                jobs = session.owned.bequeath(by.owned)
                session.close_nowait(*RESUMED_ELSEWHERE)
                return jobs
        return None

    async def close(self, reason: str = "shutdown", *, let_finish: bool = False) -> None:
        """Close every connection. Bounded.

        Args:
            reason: is told to the clients.
            let_finish: first let the requests under way get their answers, which takes no time
                when all jobs have ended.
        """
        self._closing = True
        if let_finish:
            with trio.move_on_after(self.limits.close_seconds):
                for session in [*self.sessions]:
                    await session.intake.quiet()
        with trio.move_on_after(self.limits.close_seconds / 2):
            for session in [*self.sessions]:
                await self.fanout.drain([*session.subscriptions.values()])
        for session in [*self.sessions]:
            try:
                session.say_goodbye(reason, RECONNECT_AFTER)
            except CONTAINED as exc:
                log.error("%r: no goodbye could be said", session, exc_info=exc)
                session.stream.abort()
        for stream in self._streams - {session.stream for session in self.sessions}:
            stream.abort()
        with trio.move_on_after(self.limits.close_seconds):
            while self._streams:
                self._one_left = trio.Event()
                await self._one_left.wait()


def _fault(websocket: WebSocketConnection) -> tuple[int, str] | None:
    """What the peer did that no peer may, if the library has found something (RFC 6455, 7.4.1)."""
    closed = websocket.closed
    if closed is None or closed.code not in (1002, 1007):
        return None
    return closed.code, closed.reason or ""


@asynccontextmanager
async def open_server(
    sup: Supervisor,
    *,
    auth: Auth | Token,
    allowed_origins: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
    limits: Limits | None = None,
) -> AsyncIterator[Server]:
    """A control channel for as long as the block lasts; give it connections by `serve_stream`.

    For streams that do not come from a port: tests, sockets of other kinds. Otherwise see `serve`.
    """
    known = Auth.of(auth)
    door = Door(known, hosts=allowed_hosts, origins=allowed_origins)
    stop = trio.Event()

    async def live(
        task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        # Under a shield: a cancellation from outside means an orderly, bounded goodbye.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as background:
                async with trio.open_nursery() as connections:
                    server = Server(sup, known, door, limits or Limits(), connections, background)
                    connections.start_soon(server.fanout.run)
                    task_status.started(server)
                    await stop.wait()
                    await server.close()
                    connections.cancel_scope.cancel()
                server.lingering.end()

    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(live)
        try:
            yield server
        finally:
            stop.set()
