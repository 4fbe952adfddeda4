"""Requests under way: each is answered exactly once, alone or as a part of its batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from .._wire import Id, encode_batch, encode_error, encode_result

__all__ = ["BatchReply", "Call", "Later"]


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


class BatchReply:
    """The answers of one batch, sent together, in the order of the requests, when all are there.

    Args:
        size: how many messages the batch had.
        send: takes the encoded answer.
        release: takes the keys of the requests that are answered with it.
    """

    def __init__(
        self,
        size: int,
        send: Callable[[bytes], None],
        release: Callable[[list[object]], None],
    ) -> None:
        self._answers: list[bytes | None] = [None] * size
        self._open = size
        self._send = send
        self._release = release
        self._keys: list[object] = []
        self.sent = trio.Event()

    def hold(self, key: object) -> None:
        """This request is in flight until the batch is answered."""
        self._keys.append(key)

    def put(self, place: int, answer: bytes | None) -> None:
        """The answer to the message at this place; None: there is nothing to say."""
        self._answers[place] = answer
        self._open -= 1
        if self._open == 0:
            answers = [one for one in self._answers if one is not None]
            if answers:
                self._send(encode_batch(answers))
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
        """The client no longer wants to wait."""
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
        self._reply(encoded)
        self.on_answered()

    async def answer_first(self, result: Any) -> None:
        """Answer, and return once the answer is on its way, if that takes the rest of a batch."""
        self.answer(result)
        if self._batch is not None:
            await self._batch.sent.wait()


def _nothing() -> None:
    pass
