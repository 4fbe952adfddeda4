"""Requests that wait for their answers, and which of them may be sent a second time.

A request is kept until it is answered. When the connection ends first, it is sent again on the next
one, if a second one does no more than the first: a start by its id finds its own job, a cancel
joins the first, a question is a question. What is not like that is given up, and its caller is
told that nobody knows whether it took effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import trio

from .._errors import (
    ConnectionLost,
    Forbidden,
    InvalidArguments,
    ProtocolError,
    SupervisorError,
    Unauthenticated,
    VersionNotSupported,
)
from .._wire import encode_request

__all__ = ["HOPELESS", "Call", "Calls", "fresh", "may_repeat"]

WHAT_NEXT: Final = (
    "; whether it took effect is unknown: connect again and look, or repeat it by its id"
)

SENT_AT_MOST: Final = 20
"""Connections that one request may be sent on. It may be what ends them."""

HOPELESS: Final = (Unauthenticated, Forbidden, VersionNotSupported, InvalidArguments)
"""What a server answers to a connection that it would answer to the next one, too."""

_HARMLESS: Final = frozenset(
    {
        "session.ping",
        "job.cancel",
        "job.cancel_many",
        "job.get",
        "job.wait",
        "job.list",
        "job.logs",
        "events.subscribe",
        "server.info",
        "server.shutdown",
        "rpc.discover",
    }
)

_OF_THIS_SERVER: Final = frozenset({"server.shutdown", "job.cancel_many"})
"""Meant for the server that was asked, and not for one that took its place."""


def may_repeat(method: str, params: Mapping[str, Any]) -> bool:
    """Whether sending this twice does no more than sending it once."""
    if method in ("job.start", "job.run"):
        return _names_its_job(params)
    if method == "job.start_many":
        return all(_names_its_job(job) for job in params.get("jobs", ()))
    return method in _HARMLESS


def _names_its_job(params: Mapping[str, Any]) -> bool:
    return (
        "job_id" in params
        and params.get("id_conflict_policy", "use_existing") == "use_existing"
        and params.get("id_reuse_policy", "use_existing") == "use_existing"
    )


def fresh(error: SupervisorError, more: str = "") -> SupervisorError:
    """The same error for one more to raise: exceptions are not shared between tasks."""
    copy = type(error)(f"{error}{more}")
    copy.data = dict(error.data)
    copy.__cause__ = error.__cause__
    return copy


class Call:
    """A request that waits for its answer.

    Args:
        id: it has this on every connection.
        method: what is asked.
        params: with what.
        read: makes of the result what the caller gets, in the order in which answers come.
        instance: of the server that is asked.
        deadline: when the parameter `timeout` is over, on Trio's clock; None: it has none.
    """

    __slots__ = (
        "_message", "answer", "deadline", "done", "id", "instance", "method", "params", "read",
        "repeatable", "sent",
    )  # fmt: skip

    def __init__(
        self,
        id: int,
        method: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Any],
        *,
        instance: str,
        deadline: float | None = None,
    ) -> None:
        self.id = id
        self.method = method
        self.params = params
        self.read = read
        self.instance = instance
        self.deadline = deadline
        self.repeatable = may_repeat(method, params)
        self.sent = 0
        self._message: bytes | None = None
        self.done = trio.Event()
        self.answer: Any = None

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method}, sent {self.sent} times>"

    def encode(self) -> bytes:
        """The message; a `timeout` in it is what is left of it by now."""
        if self.deadline is not None:
            left = max(0.0, self.deadline - trio.current_time())
            return encode_request(self.id, self.method, {**self.params, "timeout": left})
        if self._message is None:
            self._message = encode_request(self.id, self.method, self.params)
        return self._message

    def finish(self, answer: Any) -> None:
        """What `read` made of the result, or the exception to raise."""
        self.answer = answer
        self.done.set()


class Calls:
    """All requests under way, oldest first."""

    def __init__(self) -> None:
        self.pending: dict[int, Call] = {}

    def __len__(self) -> int:
        return len(self.pending)

    def add(self, call: Call) -> None:
        """It waits from now on."""
        self.pending[call.id] = call

    def forget(self, call: Call) -> bool:
        """Its caller has left; False: it is answered already."""
        return self.pending.pop(call.id, None) is not None

    def answered(self, id: object, result: Any) -> bool:
        """A result came; False: nobody waits for it."""
        call = self.pending.pop(id, None) if isinstance(id, int) else None
        if call is None:
            return False
        try:
            call.finish(call.read(result))
        except ProtocolError as exc:
            call.finish(exc)
        return True

    def refused(self, id: object, error: SupervisorError) -> bool:
        """An error came; False: nobody waits for it."""
        call = self.pending.pop(id, None) if isinstance(id, int) else None
        if call is None:
            return False
        call.finish(error)
        return True

    def disconnected(self, lost: SupervisorError) -> None:
        """Give up what must not be sent again."""
        self._give_up(
            (
                call
                for call in self.pending.values()
                if call.sent and not (call.repeatable and call.sent < SENT_AT_MOST)
            ),
            lost,
        )

    def connected(self, instance: str) -> None:
        """Give up what was meant for another server than this one."""
        self._give_up(
            (
                call
                for call in self.pending.values()
                if call.method in _OF_THIS_SERVER and call.instance != instance
            ),
            ConnectionLost("the server has been replaced by another one"),
        )

    def end(self, lost: SupervisorError) -> None:
        """Give up everything."""
        self._give_up(self.pending.values(), lost)

    def _give_up(self, calls: Iterable[Call], lost: SupervisorError) -> None:
        for call in [*calls]:
            del self.pending[call.id]
            more = WHAT_NEXT if isinstance(lost, ConnectionLost) else ""
            call.finish(fresh(lost, more))
