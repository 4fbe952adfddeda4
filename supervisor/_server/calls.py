"""Requests under way: each is answered exactly once, alone or as a part of its batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .._errors import Overloaded
from .._wire import Id, encode_batch, encode_error, encode_result

__all__ = ["CONTAINED", "BatchReply", "Call", "Later", "Room"]

CONTAINED = (Exception, SystemExit)
"""What code of a job, such as the conversion of its result, may raise into the request that meets
it; it ends that request, never the server. A cancellation and the user's interrupt pass."""

SMALL = 16 * 1024
"""An answer of up to so many bytes always has room in its batch."""


class NoRoom(Overloaded):
    """The request was done, but its answer is too large to wait for the rest of its batch."""

    retryable = False


@attrs.frozen
class Later:
    """The rest of a request that cannot be answered at once.

    Args:
        run: does it and returns the result; it may also answer by itself, with `Call.answer`.
        barrier: the next request is dispatched once this is set.
        interrupt: what `$/cancelRequest` does; False: nothing special, its wait just ends.
    """

    run: Callable[[Call], Awaitable[Any]]
    barrier: trio.Event | None = None
    interrupt: Callable[[], bool] | None = None


class Room:
    """What the batches of one connection hold of answers that wait for the rest.

    Args:
        limit: bytes; see `Limits.batch_bytes`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def full(self) -> bool:
        """Whether no more work should be done whose answer has to wait."""
        return self.used >= self.limit


class BatchReply:
    """The answers of one batch, sent together, in the order of the requests, when all are there.

    Args:
        size: how many messages the batch had.
        send: takes the encoded answer.
        release: takes the keys of the requests that are answered with it.
        room: for the answers that wait.
    """

    def __init__(
        self,
        size: int,
        send: Callable[[bytes], None],
        release: Callable[[list[object]], None],
        room: Room,
    ) -> None:
        self._answers: list[bytes | None] = [None] * size
        self._open = size
        self._send = send
        self._release = release
        self._keys: list[object] = []
        self._room = room
        self._bytes = 0
        self.sent = trio.Event()

    def hold(self, key: object) -> None:
        """This request is in flight until the batch is answered."""
        self._keys.append(key)

    def require_room(self) -> None:
        """Do nothing if there is room for another answer.

        Raises:
            Overloaded: there is none; the request is not to be done.
        """
        if self._room.full:
            raise Overloaded(
                f"the answers of open batches have {self._room.limit} bytes already; "
                "this request was not done, send it again outside",
                retry_after=1.0,
            )

    def fitting(self, id: Id, answer: bytes) -> bytes:
        """The answer if there is room for it, else one that says so."""
        if len(answer) <= SMALL or self._room.used + len(answer) <= self._room.limit:
            return answer
        problem = NoRoom(
            f"this was done, but its answer of {len(answer)} bytes does not fit into the batch; "
            "ask outside of one"
        )
        return encode_error(id, problem)

    def put(self, place: int, answer: bytes | None) -> None:
        """The answer to the message at this place; None: there is nothing to say."""
        self._answers[place] = answer
        size = 0 if answer is None else len(answer)
        self._bytes += size
        self._room.used += size
        self._open -= 1
        if self._open == 0:
            answers = [one for one in self._answers if one is not None]
            if answers:
                self._send(encode_batch(answers))
            self._room.used -= self._bytes
            self.sent.set()
            self._release(self._keys)


class Call:
    """One request that is under way.

    Args:
        id: the request's; None for a notification, which is never answered.
        reply: takes the encoded answer.
        later: what is to be done.
        batch: the batch it came in.
    """

    __slots__ = ("_batch", "_interrupt", "_reply", "answered", "id", "on_answered", "scope")

    def __init__(
        self,
        id: Id | None,
        reply: Callable[[bytes | None], None],
        later: Later,
        batch: BatchReply | None,
    ) -> None:
        self.id = id
        self.scope = trio.CancelScope()
        self.answered = False
        self.on_answered: Callable[[], None] = _nothing
        self._reply = reply
        self._batch = batch
        self._interrupt = later.interrupt

    def __repr__(self) -> str:
        return f"<Call {self.id!r}{' answered' if self.answered else ''}>"

    def interrupt(self) -> None:
        """The client no longer wants to wait.

        An answer that only waits for the rest of its batch stands, and what it tells of lives on.
        """
        if self.answered:
            return
        if self._interrupt is None or not self._interrupt():
            self.scope.cancel()

    def answer(self, result: Any) -> None:
        """Answer with a result; later answers are dropped."""
        if not self.answered:
            self._finish(None if self.id is None else encode_result(self.id, result))

    def refuse(self, error: BaseException) -> None:
        """Answer with an error; later answers are dropped."""
        if not self.answered:
            self._finish(None if self.id is None else encode_error(self.id, error))

    def _finish(self, encoded: bytes | None) -> None:
        self.answered = True
        if self._batch is not None and self.id is not None and encoded is not None:
            encoded = self._batch.fitting(self.id, encoded)
        self._reply(encoded)
        self.on_answered()

    async def answer_first(self, result: Any) -> None:
        """Answer, and return once the answer is on its way, if that takes the rest of a batch."""
        self.answer(result)
        if self._batch is not None:
            await self._batch.sent.wait()


def _nothing() -> None:
    pass
