"""What can happen in a history: the words of which one is made, and the history itself.

They are plain records. What they do is in `player`, how they are drawn in `draw`; their repr can be
pasted into a test.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import attrs

from ..._policy import JOB_ID
from .._schedules.scenario import check_scenario
from ..errors import BadOption
from .faults import Fault, Pasted

__all__ = [
    "Aside",
    "Call",
    "Cancel",
    "CancelAll",
    "Command",
    "Disconnect",
    "End",
    "Get",
    "History",
    "Manner",
    "Pass",
    "Raise",
    "Reconnect",
    "Settle",
    "Shutdown",
    "Sleep",
    "Speak",
    "Start",
    "Ticks",
    "Wait",
]


# --- what a field may hold ----------------------------------------------------------------------


def is_job_id(value: object) -> bool:
    """Whether a job can be called so."""
    return isinstance(value, str) and JOB_ID.fullmatch(value) is not None


def _job_id(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not is_job_id(value):
        raise BadOption(
            f"{_of(instance, attribute)} cannot be {value!r}: a job id is 1 to 128 letters, digits "
            "and . _ : - that begin with a letter or digit"
        )


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise BadOption(
            f"{_of(instance, attribute)} must be a finite number of seconds, 0 or more, "
            f"not {value!r}"
        )


def _count(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadOption(f"{_of(instance, attribute)} must be a whole number from 1, not {value!r}")


def _word(*words: str) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise BadOption(
                f"{_of(instance, attribute)} must be one of {', '.join(map(repr, words))}, "
                f"not {value!r}"
            )

    return check


def _manner(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Manner):
        raise BadOption(
            f"{_of(instance, attribute)} must be a Manner(...), not {value!r}; "
            "a work of your own is passed as work="
        )


def _work(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not callable(value):
        raise BadOption(f"{_of(instance, attribute)} must be an async function, not {value!r}")


def _arguments(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes):
        raise BadOption(f"Start(arguments=) must be a list of arguments, not {value!r}")
    return tuple(value)


def _of(instance: object, attribute: attrs.Attribute[Any]) -> str:
    return f"{type(instance).__name__}({attribute.name}=)"


_optional = attrs.validators.optional


# --- jobs ---------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Manner(Pasted):
    """How a work behaves; said with its start.

    Args:
        killable: whether it can be killed, as a process can; otherwise it is an async function.
        swallows: whether it does not leave when it is asked to.
        shielded: whether the cancellation does not even reach it.
        dies: whether it goes when it is killed.
        fails: whether it raises, or exits with 1, when it ends by itself.
        spawn: seconds until it exists, if it is killable.
        spawn_fails: whether it cannot be made at all, if it is killable.
        leaving: seconds that its cleanup takes.
    """

    killable: bool = False
    swallows: bool = False
    shielded: bool = False
    dies: bool = True
    fails: bool = False
    spawn: float = attrs.field(default=0.0, validator=_seconds)
    spawn_fails: bool = False
    leaving: float = attrs.field(default=0.0, validator=_seconds)


@attrs.frozen(repr=False)
class Start(Pasted):
    """Somebody starts a job; the arguments are those of `JobControl.start`.

    Args:
        job_id: its id.
        manner: how it behaves.
        conflict: `id_conflict_policy`.
        reuse: `id_reuse_policy`.
        remembered: `if_remembered`.
        same: start the very work again that had this id last, so that it is a retry.
        notice: seconds in which it only sees that it was asked to stop.
        timeout: seconds that it may run.
        on_disconnect: what becomes of it when its client's connection ends.
        work: an async function of your own to be run, instead of one that behaves as `manner` says.
        arguments: what that function is called with.
    """

    job_id: str = attrs.field(validator=_job_id)
    manner: Manner = attrs.field(default=Manner(), validator=_manner)
    conflict: str = attrs.field(
        default="use_existing", validator=_word("use_existing", "fail", "replace")
    )
    reuse: str = attrs.field(
        default="use_existing",
        validator=_word("use_existing", "allow", "allow_failed_only", "reject"),
    )
    remembered: str = attrs.field(default="cancel", validator=_word("cancel", "run"))
    same: bool = False
    notice: float = attrs.field(default=0.0, validator=_seconds)
    timeout: float | None = attrs.field(default=None, validator=_optional(_seconds))
    on_disconnect: str = attrs.field(default="keep", validator=_word("keep", "cancel", "linger"))
    work: Callable[..., Awaitable[Any]] | None = attrs.field(
        default=None, validator=_optional(_work)
    )
    arguments: tuple[Any, ...] = attrs.field(default=(), converter=_arguments)

    def __attrs_post_init__(self) -> None:
        if self.work is not None:
            check_scenario(self.work, self.arguments, who="Start(work=)")


@attrs.frozen(repr=False)
class Cancel(Pasted):
    """Somebody asks a job to stop; the arguments are those of `JobControl.cancel`.

    Args:
        job_id: which.
        grace: seconds between being asked and being killed.
        force: kill it at once.
        attempt: only this attempt.
        if_unknown: "remember" keeps the cancel for a job that has yet to start.
        wait: wait until it is gone; the next command does not wait for that.
        twice: ask again as soon as it was answered.
    """

    job_id: str = attrs.field(validator=_job_id)
    grace: float | None = attrs.field(default=None, validator=_optional(_seconds))
    force: bool = False
    attempt: int | None = attrs.field(default=None, validator=_optional(_count))
    if_unknown: str = attrs.field(default="error", validator=_word("error", "remember"))
    wait: bool = False
    twice: bool = False


@attrs.frozen(repr=False)
class CancelAll(Pasted):
    """Somebody asks all live jobs to stop, in one request."""

    grace: float | None = attrs.field(default=None, validator=_optional(_seconds))


@attrs.frozen(repr=False)
class Get(Pasted):
    """Somebody asks how a job is."""

    job_id: str = attrs.field(validator=_job_id)


@attrs.frozen(repr=False)
class Wait(Pasted):
    """Somebody waits for the end of a job, until the end."""

    job_id: str = attrs.field(validator=_job_id)


@attrs.frozen(repr=False)
class Shutdown(Pasted):
    """Somebody shuts the supervisor down: "cancel" its jobs, or "drain" them."""

    mode: str = attrs.field(default="cancel", validator=_word("cancel", "drain"))
    grace: float | None = attrs.field(default=None, validator=_optional(_seconds))


# --- works --------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class End(Pasted):
    """The work ends by itself (or a shielded or stubborn one at last)."""

    job_id: str = attrs.field(validator=_job_id)


@attrs.frozen(repr=False)
class Raise(Pasted):
    """The work ends by itself, by raising (one that can be killed exits with 1)."""

    job_id: str = attrs.field(validator=_job_id)


@attrs.frozen(repr=False)
class Speak(Pasted):
    """Every work writes a line, the ended ones too: nobody must hear those."""


# --- time, the connection, and whatever you like ------------------------------------------------


@attrs.frozen(repr=False)
class Pass(Pasted):
    """The clock jumps; what was due in between is due together."""

    seconds: float = attrs.field(validator=_seconds)


@attrs.frozen(repr=False)
class Sleep(Pasted):
    """Time goes by, and everybody does what there is to do."""

    seconds: float = attrs.field(validator=_seconds)


@attrs.frozen(repr=False)
class Ticks(Pasted):
    """So many checkpoints go by."""

    count: int = attrs.field(default=1, validator=_count)


@attrs.frozen(repr=False)
class Settle(Pasted):
    """Everybody does what there is to do, and no time goes by."""


@attrs.frozen(repr=False)
class Disconnect(Pasted):
    """The connection ends; whoever asks something has to wait for `Reconnect` (none in-process)."""


@attrs.frozen(repr=False)
class Reconnect(Pasted):
    """The connection ends, if it stands, and comes back (none in-process)."""


@attrs.frozen(repr=False)
class Call(Pasted):
    """An async function of your own is called with the `JobControl`, and with the arguments."""

    function: Callable[..., Awaitable[Any]] = attrs.field(validator=_work)
    arguments: tuple[Any, ...] = attrs.field(default=(), converter=tuple)


def _asked_aside(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Start | Cancel | Get):
        raise BadOption(
            f"Aside() takes a Start, a Cancel or a Get, not {value!r}: only these have an answer "
            "that can be late"
        )


@attrs.frozen(repr=False)
class Aside(Pasted):
    """Somebody else asks this at the same time: the next command does not wait for the answer."""

    command: Start | Cancel | Get = attrs.field(validator=_asked_aside)


Command: TypeAlias = (
    Start
    | Cancel
    | CancelAll
    | Get
    | Wait
    | Shutdown
    | End
    | Raise
    | Speak
    | Pass
    | Sleep
    | Ticks
    | Settle
    | Disconnect
    | Reconnect
    | Call
    | Aside
)


# --- the history --------------------------------------------------------------------------------


def _tuple_of_commands(value: object) -> tuple[Any, ...]:
    return _as_tuple("commands", value)


def _tuple_of_faults(value: object) -> tuple[Any, ...]:
    return _as_tuple("faults", value)


def _as_tuple(what: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise BadOption(f"History({what}=) must be a list of {what}, not {value!r}")
    return tuple(value)


def _commands(instance: object, attribute: object, value: tuple[object, ...]) -> None:
    for number, command in enumerate(value):
        if not isinstance(command, Command):
            raise BadOption(
                f"command {number} of this History is {command!r}; a command is one of "
                f"{', '.join(kind.__name__ for kind in Command.__args__)}, "
                'such as Start("a") or Cancel("a", force=True)'
            )


def _faults(instance: object, attribute: object, value: tuple[object, ...]) -> None:
    for number, fault in enumerate(value):
        if not isinstance(fault, Fault):
            raise BadOption(
                f"fault {number} of this History is {fault!r}; a fault is one of "
                f"{', '.join(kind.__name__ for kind in Fault.__args__)}, "
                'such as Drop("up", 3)'
            )


@attrs.frozen(repr=False)
class History(Pasted):
    """A few jobs' life: commands, done one after the other.

    Args:
        commands: what happens.
        slots: how many jobs may run at once; None sets no bound.
        faults: what becomes of the connection, for a play over="faulty".
    """

    commands: tuple[Command, ...] = attrs.field(converter=_tuple_of_commands, validator=_commands)
    slots: int | None = attrs.field(default=None, validator=_optional(_count))
    faults: tuple[Fault, ...] = attrs.field(
        default=(), converter=_tuple_of_faults, validator=_faults
    )

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The ids that it names, sorted."""
        named = {
            command.job_id
            for each in self.commands
            for command in (each.command if isinstance(each, Aside) else each,)
            if hasattr(command, "job_id")
        }
        return tuple(sorted(named))
