"""What a scripted child does: it succeeds, fails or hangs; and which child a script is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from ..._errors import InvalidArguments
from ..._model import JobRequest
from ..._options import check_count, check_seconds, check_text
from ..._records import JobSpec
from ..._view import describe_work
from ..errors import KitError

__all__ = ["Fails", "Hangs", "NotScripted", "Outcome", "Script", "Succeeds"]


class NotScripted(KitError, LookupError):
    """The job started a child of which the test says nothing."""


def _seconds(_: Any, field: attrs.Attribute[float], value: float) -> None:
    check_seconds(field.name, value)


def _lines(_: Any, __: Any, value: tuple[str, ...]) -> None:
    for line in value:
        check_text("a line of logs", line)


def _tuple_of(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidArguments(
            f"logs is a list of lines, not the single text {value!r}; write logs=[{value!r}]",
            path="$.logs",
        )
    return tuple(value)


@attrs.frozen
class Succeeds:
    """The child returns; a command exits with 0.

    Args:
        result: what it returns; a command has none.
        after: seconds that it takes.
        logs: lines that it writes when it begins.
    """

    result: Any = None
    after: float = attrs.field(default=0.0, kw_only=True, validator=_seconds)
    logs: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_tuple_of, validator=_lines
    )


def _error(error: str | Exception) -> Exception:
    return RuntimeError(error) if isinstance(error, str) else error


def _is_error(_: Any, __: Any, error: object) -> None:
    if not isinstance(error, Exception):
        raise InvalidArguments(
            f"a child fails with a text or an exception, not {error!r}", path="$.error"
        )


def _exit_code(_: Any, __: Any, code: int) -> None:
    check_count("exit_code", code, 1, 255)


@attrs.frozen
class Fails:
    """The child raises; a command writes the text to stderr and exits with `exit_code`.

    Args:
        error: the exception, or the text of a RuntimeError.
        after: seconds that it takes.
        logs: lines that it writes when it begins.
        exit_code: of a command, from 1 to 255.
    """

    error: Exception = attrs.field(
        factory=lambda: RuntimeError("scripted"), converter=_error, validator=_is_error
    )
    after: float = attrs.field(default=0.0, kw_only=True, validator=_seconds)
    logs: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_tuple_of, validator=_lines
    )
    exit_code: int = attrs.field(default=1, kw_only=True, validator=_exit_code)


@attrs.frozen
class Hangs:
    """The child runs until it is asked to stop.

    Args:
        leaving: seconds from being asked to being gone; `math.inf`: it never leaves by itself.
        logs: lines that it writes when it begins.
    """

    leaving: float = attrs.field(default=0.0, kw_only=True)
    logs: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_tuple_of, validator=_lines
    )

    @leaving.validator
    def _check_leaving(self, field: attrs.Attribute[float], value: float) -> None:
        if value != float("inf"):
            check_seconds(field.name, value)


Outcome: TypeAlias = Succeeds | Fails | Hangs


class Script:
    """Which outcome is for which child.

    Args:
        children: by the child's id, its name, the name it is registered by, or that of its
            function or program; a list is one outcome for each start, and its last one for all
            that follow.
    """

    def __init__(self, children: Mapping[str, Outcome | Sequence[Outcome]]) -> None:
        if not isinstance(children, Mapping):
            raise InvalidArguments(
                "children maps names of children to what they do, such as "
                f'{{"crawl": Succeeds(3)}}; it is not {type(children).__name__}',
                path="$.children",
            )
        self._outcomes = {name: _checked(name, given) for name, given in children.items()}
        self._starts = dict.fromkeys(self._outcomes, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """Of whom it says something."""
        return tuple(self._outcomes)

    def check(self, request: JobRequest) -> None:
        """Refuse a start of which the script says nothing.

        Raises:
            NotScripted: it is not in the script.
        """
        if not any(name in self._outcomes for name in names_of_request(request)):
            name = names_of_request(request)[-1]
            listed = ", ".join(map(repr, self.names)) or "none is"
            raise NotScripted(
                f"the job started a child that is not scripted: {name!r}; scripted: {listed}. "
                f'Add it: stub_job(children={{"{name}": Succeeds(...)}}), or Fails, or Hangs'
            )

    def next_for(self, spec: JobSpec) -> Outcome:
        """What the child that begins now does."""
        name = next(name for name in _names_of_spec(spec) if name in self._outcomes)
        outcomes, started = self._outcomes[name], self._starts[name]
        self._starts[name] += 1
        return outcomes[min(started, len(outcomes) - 1)]


def names_of_request(request: JobRequest) -> tuple[str, ...]:
    """What a script may call a child, the most particular first."""
    given = (request.job_id, request.name)
    return (*(name for name in given if isinstance(name, str)), *_names_of_work(request.work))


def _names_of_spec(spec: JobSpec) -> tuple[str, ...]:
    registered = () if spec.identity is None else (spec.identity[0],)
    return (spec.id, spec.name, *registered, *_names_of_work(spec.work))


def _names_of_work(work: Any) -> tuple[str, ...]:
    if isinstance(work, str):
        return (work,)
    name = describe_work(work)
    return (name, name.rpartition(".")[2])


def _checked(name: object, given: object) -> tuple[Outcome, ...]:
    if not isinstance(name, str):
        raise InvalidArguments(f"children are named by text, not by {name!r}", path="$.children")
    outcomes = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not outcomes:
        raise InvalidArguments(
            f"children[{name!r}] is an empty list; give it one outcome for each start",
            path="$.children",
        )
    for outcome in outcomes:
        if not isinstance(outcome, (Succeeds, Fails, Hangs)):
            raise InvalidArguments(
                f"children[{name!r}] must be Succeeds(...), Fails(...) or Hangs(), or a list of "
                f"them, not {outcome!r}",
                path="$.children",
            )
    return outcomes
