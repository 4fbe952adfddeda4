"""Keeps a channel connected: one connection after the other, until that is no longer of use.

An outage is given up when it has lasted for `reconnect_timeout`. It ends when a new connection was
of some use - something was answered, an event came, or it held for a while - and not merely when it
stood: a server that breaks every connection right after hello is an outage, too.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import trio

from .._backoff import CAP, backoff
from .._errors import ConnectionLost, SupervisorError
from .._methods import HelloResult
from .._model import Connected, Disconnected
from .calls import HOPELESS, TakenOver, fresh
from .channel import Channel
from .link import Link
from .websocket import BoundedStream, hold_websocket

__all__ = ["Dial", "Keeper", "NobodyThere"]

Dial = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a stream to the server."""


class NobodyThere(ConnectionLost):
    """What a `Dial` raises that knows that there is no server any more: nothing is tried again."""


QUICK_ATTEMPTS: Final = 2
"""How many attempts of an outage are short enough to be repeated while jobs linger."""

HELD: Final = CAP
"""Seconds after which a connection counts as one that works, also when nothing was asked of it."""


class Keeper:
    """Owns the connections of one client. `run` is its task.

    Args:
        dial: opens a stream.
        token: sent as a bearer token; None: none is sent.
        host: what goes into the `Host` header.
        resource: the path of the websocket.
        resume_token: that of an earlier client.
        connect_timeout: seconds until a connection must stand.
        reconnect_timeout: seconds of one outage; 0: there is only one connection.
        on_change: told of connections that come and go.
        jitter: chance, from 0 to 1.

    Attributes:
        channel: what it keeps connected.
        ready: set once the first connection stands, or `refusal` says why not.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        token: str | None,
        host: str,
        resource: str,
        resume_token: str | None,
        connect_timeout: float,
        reconnect_timeout: float,
        on_change: Callable[[Connected | Disconnected], None] | None,
        jitter: Callable[[], float],
    ) -> None:
        self.channel = Channel(self._connected)
        self.ready = trio.Event()
        self.refusal: SupervisorError | None = None
        self._dial = dial
        self._hold = partial(hold_websocket, host=host, resource=resource, token=token)
        self._resume_token = resume_token
        self._connect_timeout = connect_timeout
        self._reconnect_timeout = reconnect_timeout
        self._on_change = on_change or _nobody
        self._jitter = jitter
        self._limit = trio.CancelScope()
        self._stood: float | None = None
        self._down_since = math.nan
        self._first_error: SupervisorError | None = None

    def __repr__(self) -> str:
        return f"<Keeper {self.channel!r}>"

    async def run(self) -> None:
        """Connect, and connect again, until there is no hope; leaves nothing when cancelled."""
        try:
            error = await self._keep()
            self.channel.end(error)
            if self.ready.is_set():
                self._on_change(Disconnected(reason=str(error), reconnects=False))
            else:
                self.refusal = error
                self.ready.set()
        finally:
            self.channel.end(ConnectionLost("the client is closed"))

    async def _keep(self) -> SupervisorError:
        """Why there is no connection any more."""
        failures = 0
        while True:
            error, link = await self._attempt(self._seconds_for(failures))
            now = trio.current_time()
            if not self.ready.is_set():
                return error
            if self._was_of_use(link, now):
                failures, self._down_since, self._first_error = 0, now, error
            else:
                failures += 1
            wait = link.wait if link is not None else 0.0
            delay = backoff(failures, self._jitter(), at_least=wait)
            left = self._down_since + self._reconnect_timeout - now
            if _is_hopeless(error):
                return error
            if left <= 0:
                return self._given_up(error)
            if self._stood is not None:
                self.channel.disconnected(error)
                self._on_change(Disconnected(reason=str(error), reconnects=True))
            await trio.sleep(min(delay, left))
            if delay >= left:
                return self._given_up(error)

    def _was_of_use(self, link: Link | None, now: float) -> bool:
        if self._stood is None:
            return False
        used = link is not None and link.progressed
        return self._first_error is None or used or now - self._stood >= HELD

    def _given_up(self, error: SupervisorError) -> SupervisorError:
        first = self._first_error or error
        if self._reconnect_timeout <= 0:
            return first
        more = f"; there was no other for {self._reconnect_timeout:g} s"
        if error is not first:
            more += f": {error}"
        return fresh(first, more)

    # --- one connection --------------------------------------------------------------------------

    def _seconds_for(self, failures: int) -> float:
        """How long the next attempt may take.

        The first of an outage give up early: one that hangs must not outlast the server's patience
        with the jobs that linger. The others have all the time: the network may be slow.
        """
        if not self.ready.is_set():
            return self._connect_timeout
        left = self._down_since + self._reconnect_timeout - trio.current_time()
        seconds = min(self._connect_timeout, left)
        if failures >= QUICK_ATTEMPTS:
            return seconds
        return min(seconds, _quick(self.channel.hello))

    async def _attempt(self, seconds: float) -> tuple[SupervisorError, Link | None]:
        """One connection, from dialling to its end; why it ended."""
        self._stood = None
        result: tuple[SupervisorError, Link | None] | None = None
        with trio.CancelScope(deadline=trio.current_time() + seconds) as self._limit:
            try:
                result = await self._connect()
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                error = ConnectionLost(f"cannot connect: {exc}")
                error.__cause__ = exc
                return error, None
            except SupervisorError as exc:
                return exc, None
        if result is None:
            text = f"the server did not answer within {seconds:g} s"
            return ConnectionLost(text), None
        return result

    async def _connect(self) -> tuple[SupervisorError, Link | None]:
        stream = BoundedStream(await self._dial())
        link = Link(self.channel, stream)
        error: SupervisorError | None = None
        async with trio.open_nursery() as nursery:  # holds nothing beyond this connection
            try:
                websocket = await nursery.start(self._hold, stream)
            except SupervisorError as exc:
                error = exc
            else:
                await link.run(websocket, self._hello())
                if link.at_fault:
                    # No farewell over a connection that does not do what it should.
                    await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
        return error or link.why(), link

    def _hello(self) -> dict[str, Any]:
        hello = {"client": "trio-supervisor"}
        if self._resume_token is not None:
            hello["resume_token"] = self._resume_token
        return hello

    def _connected(self, hello: HelloResult) -> None:
        """The channel has a connection again."""
        now = self._stood = trio.current_time()
        self._limit.deadline = math.inf
        outage = now - self._down_since if self.ready.is_set() else None
        self._resume_token = hello.resume_token
        self.ready.set()
        self._on_change(
            Connected(
                instance=hello.instance,
                session_id=hello.session_id,
                resumed=hello.resumed,
                outage=outage,
            )
        )


def _quick(hello: HelloResult) -> float:
    """Seconds for an attempt of which several fit into the time that jobs linger."""
    lingers = hello.limits.get("linger_seconds", math.inf)
    return max(1.0, lingers / (QUICK_ATTEMPTS + 1)) if lingers > 0 else math.inf


def _nobody(change: Connected | Disconnected) -> None:
    pass


def _is_hopeless(error: SupervisorError) -> bool:
    """Whether the next attempt would end like this one."""
    return isinstance(error, (*HOPELESS, NobodyThere, TakenOver)) or any(
        isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
