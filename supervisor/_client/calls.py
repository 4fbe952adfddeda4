"""Requests that wait for their answers, and which of them may be sent a second time.

A request is kept until it is answered. When the connection ends first, it is sent again on the next
one, if a second one does no more than the first: a start by its id finds its own job, a cancel
joins the first, a question is a question. What is not like that is given up, and its caller is
told that nobody knows whether it took effect.

All of that holds at the server that was asked. At another one that took its place nothing is known
of what the first one did: a start would run its job a second time. So there only questions about
the server itself are repeated.
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

__all__ = ["HOPELESS", "Call", "Calls", "TakenOver", "fresh", "may_repeat"]

WHAT_NEXT: Final = (
    "; whether it took effect is unknown: connect again and look, or repeat it by its id"
)

REPLACED: Final = "the server has been replaced by another one"

SENT_AT_MOST: Final = 20
"""Connections that one request may be sent on. It may be what ends them."""

HOPELESS: Final = (Unauthenticated, Forbidden, VersionNotSupported, InvalidArguments)
"""What a server answers to a connection that it would answer to the next one, too."""

_HARMLESS: Final = frozenset(
    {
        "session.ping",
        "job.cancel",
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
"""Meant for the server that was asked even if it was never sent to it."""

_OF_ANY_SERVER: Final = frozenset(
    {"session.ping", "job.list", "events.subscribe", "server.info", "rpc.discover"}
)
"""Questions that another server answers as well as the one that was asked."""

_OF_A_JOB: Final = frozenset({"job.get", "job.wait", "job.logs"})
"""Questions whose answer is gone with the server that was asked."""


class TakenOver(ConnectionLost):
    """Another client has resumed this session: to come back would take the jobs from it."""


def may_repeat(method: str, params: Mapping[str, Any]) -> bool:
    """Whether sending this twice does no more than sending it once."""
    if method in ("job.start", "job.run"):
        return _names_its_job(params)
    if method == "job.start_many":
        return all(_names_its_job(job) for job in params.get("jobs", ()))
    if method == "job.cancel_many":
        # By another filter a repeat would meet jobs that came after the first one.
        return bool(params.get("filter", {}).get("job_ids"))
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
        instance: of the server that is asked, or was last.
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

    def sent_to(self, instance: str) -> None:
        """It goes out now, to this server."""
        self.sent += 1
        self.instance = instance

    def is_meant_for(self, instance: str) -> bool:
        """Whether it may go to this server."""
        if self.instance == instance or self.method in _OF_ANY_SERVER:
            return True
        return not self.sent and self.method not in _OF_THIS_SERVER

    def finish(self, answer: Any) -> None:
        """What `read` made of the result, or the exception to raise."""
        self.answer = answer
        self.done.set()


def _left_behind(call: Call) -> str:
    """What is to be known of a request whose server has been replaced."""
    if not call.sent:
        return f"{call.method} was not sent, as it was not meant for this one"
    if call.method in _OF_A_JOB:
        return "what the first one knew of its jobs is gone with it"
    return f"whether {call.method} took effect at the first one is unknown, and it is not repeated"


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
        for call in [*self.pending.values()]:
            if not call.is_meant_for(instance):
                del self.pending[call.id]
                call.finish(ConnectionLost(f"{REPLACED}; {_left_behind(call)}"))

    def end(self, lost: SupervisorError) -> None:
        """Give up everything."""
        self._give_up(self.pending.values(), lost)

    def _give_up(self, calls: Iterable[Call], lost: SupervisorError) -> None:
        for call in [*calls]:
            del self.pending[call.id]
            more = WHAT_NEXT if isinstance(lost, ConnectionLost) else ""
            call.finish(fresh(lost, more))
