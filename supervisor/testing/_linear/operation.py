"""What a history is made of, and what it is compared with."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final, Protocol, final

import attrs

__all__ = ["UNANSWERED", "Model", "Operation"]


@final
class _Unanswered:
    __slots__ = ()

    def __repr__(self) -> str:
        return "UNANSWERED"

    def __reduce__(self) -> str:
        return "UNANSWERED"


UNANSWERED: Final = _Unanswered()
"""The answer of an operation that was never answered."""


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_process(_: Any, __: Any, process: Any) -> None:
    if not isinstance(process, str):
        raise TypeError(f"process is the name of whoever called, a str, not {process!r}")


def _check_call(_: Any, __: Any, call: Any) -> None:
    if not _is_step(call):
        raise TypeError(f"call is the number of the step at which it was called, not {call!r}")


def _check_back(operation: Operation, _: Any, back: object) -> None:
    if back is None:
        return
    if not _is_step(back):
        raise TypeError(
            f"back is the number of the step at which the answer came, or None if none did, "
            f"not {back!r}"
        )
    if operation.back is not None and operation.back < operation.call:
        raise ValueError(
            f"{operation.what!r} of {operation.process}: answered at step {operation.back}, "
            f"before it was called at step {operation.call}"
        )


def _check_answer(operation: Operation, _: Any, answer: object) -> None:
    if operation.back is not None and answer is UNANSWERED:
        raise ValueError(
            f"{operation.what!r} of {operation.process} was answered at step {operation.back}, "
            "but not with what: pass answer=..., or leave `back` out if no answer came"
        )


@attrs.frozen
class Operation:
    """One call of a history, and its answer.

    Steps are whole numbers that grow with time; only their order counts. An operation that was
    answered at a lower step than another was called came before it; of any two others nothing is
    known.

    Args:
        process: who called; only shown.
        call: the step of the call.
        back: the step of the answer. None: it was never answered, and may have taken effect at any
            time after its call, or not at all.
        what: what was asked for; given to the model.
        answer: what came back; given to the model. `UNANSWERED` unless something did.
    """

    process: str = attrs.field(validator=_check_process)
    call: int = attrs.field(validator=_check_call)
    back: int | None = attrs.field(default=None, validator=_check_back)
    what: Any = None
    answer: Any = attrs.field(default=UNANSWERED, validator=_check_answer)


class Model(Protocol):
    """A sequential object: one call after the other.

    A model may also have `partition(operations)`. It returns lists of operations that do not
    concern each other, such as those on each key of a map; each list is judged by itself, from
    `initial` on, which takes far less time than to judge them together.

    Attributes:
        initial: the state before the first call.
    """

    @property
    def initial(self) -> Hashable: ...

    def step(self, state: Any, what: Any, answer: Any) -> Iterable[Hashable]:
        """The states that `what` may lead to from `state` if it is answered with `answer`.

        Empty: from this state it cannot be answered so. More than one where the answer does not
        tell which. `answer` is `UNANSWERED` for an operation that nobody answered. A state is
        never changed: a call that changes something leads to a new one.
        """
