"""Commands and their answers in words."""

from __future__ import annotations

from .commands import (
    Aside,
    Call,
    Cancel,
    CancelAll,
    Command,
    Disconnect,
    End,
    Get,
    Manner,
    Pass,
    Raise,
    Reconnect,
    Settle,
    Shutdown,
    Sleep,
    Speak,
    Start,
    Ticks,
    Wait,
)

__all__ = ["in_words"]


def in_words(command: Command) -> str:
    """What happens, in a few words."""
    match command:
        case Start():
            return f"start {command.job_id}{_listed(_of_start(command))}"
        case Cancel():
            return f"cancel {command.job_id}{_listed(_of_cancel(command))}"
        case CancelAll(grace=grace):
            return f"cancel all{_listed(_grace(grace))}"
        case Get(job_id=job_id):
            return f"look at {job_id}"
        case Wait(job_id=job_id):
            return f"wait for the end of {job_id}"
        case Shutdown(mode=mode, grace=grace):
            return f"shut down ({mode}){_listed(_grace(grace))}"
        case End(job_id=job_id):
            return f"{job_id} ends"
        case Raise(job_id=job_id):
            return f"{job_id} raises"
        case Speak():
            return "every work writes a line"
        case Pass(seconds=seconds):
            return f"{seconds:g} s pass at once"
        case Sleep(seconds=seconds):
            return f"{seconds:g} s go by"
        case Ticks(count=count):
            return f"{count} checkpoints"
        case Settle():
            return "everybody does what there is to do"
        case Disconnect():
            return "the connection ends"
        case Reconnect():
            return "the connection ends and comes back"
        case Call(function=function):
            return f"call {getattr(function, '__qualname__', function)}"
        case Aside(command=inner):
            return f"at the same time: {in_words(inner)}"


def _listed(words: list[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


def _grace(grace: float | None) -> list[str]:
    return [] if grace is None else [f"grace {grace:g} s"]


def _of_start(start: Start) -> list[str]:
    if start.work is None:
        words = _of_manner(start.manner)
    else:
        words = [getattr(start.work, "__qualname__", repr(start.work))]
    words += ["the same work again"] if start.same else []
    words += [f"timeout {start.timeout:g} s"] if start.timeout is not None else []
    words += [f"notice {start.notice:g} s"] if start.notice else []
    words += [f"if live: {start.conflict}"] if start.conflict != "use_existing" else []
    words += [f"if ended: {start.reuse}"] if start.reuse != "use_existing" else []
    words += ["even if cancelled before"] if start.remembered == "run" else []
    words += [f"if we are cut off: {start.on_disconnect}"] if start.on_disconnect != "keep" else []
    return words


def _of_manner(manner: Manner) -> list[str]:
    said = {
        "killable": manner.killable,
        "does not leave when asked": manner.swallows,
        "under a shield": manner.shielded,
        "does not die when killed": not manner.dies,
        "fails": manner.fails,
        f"spawned in {manner.spawn:g} s": manner.spawn,
        "cannot be spawned": manner.spawn_fails,
        f"cleans up for {manner.leaving:g} s": manner.leaving,
    }
    return [words for words, is_so in said.items() if is_so]


def _of_cancel(cancel: Cancel) -> list[str]:
    words = _grace(cancel.grace)
    words += ["by force"] if cancel.force else []
    words += [f"attempt {cancel.attempt}"] if cancel.attempt is not None else []
    words += ["remember it if unknown"] if cancel.if_unknown == "remember" else []
    words += ["until it is gone"] if cancel.wait else []
    words += ["twice"] if cancel.twice else []
    return words
