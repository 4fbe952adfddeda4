"""What one client asks for: its messages, in their order, and its requests under way.

A message is taken as far as that goes at once; what has to wait becomes a task of its own. The next
one is taken only when the one before has taken effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .._errors import Overloaded, RequestCancelled, SupervisorError, Unauthenticated
from .._methods import Scope, method_named, parse_params
from .._wire import (
    Batch,
    InvalidRequest,
    Item,
    Malformed,
    Notification,
    Request,
    decode,
    encode_error,
    encode_result,
)
from .calls import CONTAINED, BatchReply, Call, Later, Room
from .dispatch import HANDLERS, rebased
from .throttle import URGENT, Throttle, Verdict

if TYPE_CHECKING:
    from .session import Session

__all__ = ["HOW", "Intake"]

log = logging.getLogger("supervisor.server")

MAY_WAIT = frozenset(
    {
        "job.run",
        "job.wait",
        "job.cancel",
        "job.start_many",
        "job.cancel_many",
        "job.list",
        "job.logs",
        "server.info",
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

LARGE_MESSAGE = 16 * 1024
"""Bytes from which on it takes long to read a message: it has to wait for its turn."""

Reply = Callable[[bytes | None], None]


class Intake:
    """Takes the messages of one session.

    Args:
        session: whose they are.
        send: takes an encoded answer.

    Attributes:
        calls: the requests under way, by id; None for one that waits for the rest of its batch.
        received: counts the messages, a batch as one.
        farewell: code and reason, once the connection is to be closed for what was asked.
    """

    def __init__(self, session: Session, send: Reply) -> None:
        self.calls: dict[object, Call | None] = {}
        self.received = 0
        self.farewell: tuple[int, str] | None = None
        self._session = session
        self._limits = session.server.limits
        self._send = send
        self._room = Room(self._limits.batch_bytes)
        self._throttle = Throttle(self._limits, trio.current_time())
        self._quiet = trio.Event()
        self._ended = False

    async def quiet(self) -> None:
        """Return once no request is under way, or will ever be answered."""
        while self.calls and not self._ended:
            self._quiet = trio.Event()
            await self._quiet.wait()

    def end(self) -> None:
        """The connection is being closed."""
        self._ended = True
        self._quiet.set()

    async def take(self, message: str | bytes, size: int) -> None:
        """Do what a message says; its effect has begun when this returns.

        Args:
            message: as it came.
            size: how many bytes it had on the wire.
        """
        self.received += 1
        if size > LARGE_MESSAGE:
            async with self._session.bulk.turn():
                barrier = self._take(message, size)
        else:
            barrier = self._take(message, size)
        if isinstance(barrier, Batch):
            await self._take_batch(barrier.items, size // len(barrier.items))
        elif barrier is not None:
            await barrier.wait()

    def _take(self, message: str | bytes, size: int) -> Batch | trio.Event | None:
        """A batch is only read; otherwise what to wait for before the next message is taken."""
        event = decode(message, batch_items=self._limits.batch_items)
        if isinstance(event, Batch):
            return event
        if self._admitted(event, size, self._send):
            return self._dispatch(event, self._send, None)
        return None

    async def _take_batch(self, items: Sequence[Item], size: int) -> None:
        batch = BatchReply(len(items), self._send, self._release, self._room)
        for place, item in enumerate(items):
            before = self._room.used
            reply = partial(batch.put, place)
            if self._admitted(item, size, reply):
                barrier = self._dispatch(item, reply, batch)
                if barrier is not None:
                    await barrier.wait()
            if place % TURN == TURN - 1 or self._room.used - before > LARGE:
                await trio.lowlevel.checkpoint()  # the others have their turn

    def _admitted(self, item: Item, size: int, reply: Reply) -> bool:
        """Whether it is to be dispatched; if not, it is answered."""
        urgent = isinstance(item, (Request, Notification)) and item.method in URGENT
        if self._throttle.spend(size, urgent=urgent):
            return True
        verdict = self._throttle.judge(size, trio.current_time(), urgent=urgent)
        if verdict is Verdict.TAKE:
            return True
        problem = self._too_much()
        answer = None
        if type(item) is Request or (type(item) is Malformed and item.answer):
            answer = encode_error(item.id, problem)
        reply(answer)
        if verdict is Verdict.PUT_OUT:
            self._session.put_out(4429, "too many messages or bytes", self._throttle.retry_after)
        return False

    def _too_much(self) -> Overloaded:
        limits = self._limits
        return Overloaded(
            f"more than {limits.messages_per_second:g} messages or "
            f"{limits.bytes_per_second:g} bytes a second, and this was not done",
            retry_after=round(self._throttle.retry_after, 3),
        )

    def _dispatch(self, item: Item, reply: Reply, batch: BatchReply | None) -> trio.Event | None:
        """Begin it; what to wait for before the next one is taken."""
        if type(item) is Request:
            return self._request(item, reply, batch)
        answer = None
        if type(item) is Malformed and item.answer:
            answer = encode_error(item.id, item.error)
        elif type(item) is Notification:
            self._notified(item)
        # Nothing was asked of the client, so its answers answer nothing.
        reply(answer)
        return None

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
        session = self._session
        if session.token is None and name != "session.hello":
            raise Unauthenticated(HOW)
        method = method_named(name)
        if method.scope is not None:
            session.require(method.scope, name)
        if name in MAY_WAIT:
            self._check_pending(method.scope)
        return HANDLERS[name](session, parse_params(method, params))

    def _check_pending(self, scope: Scope | None) -> None:
        """Whoever waits for too much at once must still be able to cancel."""
        limit = self._limits.pending_requests * (2 if scope is Scope.CANCEL else 1)
        if len(self.calls) >= limit:
            raise Overloaded(f"{limit} requests of this connection are under way", retry_after=1.0)

    def _explained(self, error: BaseException, method: str) -> BaseException:
        if isinstance(error, Unauthenticated):
            self.farewell = (4401, "unauthenticated")
        if isinstance(error, SupervisorError):
            return rebased(error)
        log.error("%r: %s failed", self._session, method, exc_info=error)
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
        self._session.start_soon(self._continue, call, later)
        return later.barrier

    async def _continue(self, call: Call, later: Later) -> None:
        try:
            with call.scope:
                call.answer(await later.run(call))
            if call.scope.cancelled_caught:
                call.refuse(RequestCancelled("this request was cancelled by its client"))
        except CONTAINED as exc:
            call.refuse(self._explained(exc, repr(call)))
        finally:
            if later.barrier is not None:
                later.barrier.set()

    def _release(self, keys: Iterable[object]) -> None:
        """These requests are answered; their ids can be used again."""
        for key in keys:
            self.calls.pop(key, None)
        if not self.calls:
            self._quiet.set()
