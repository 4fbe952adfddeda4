"""What `run` and `start` are given: a registered job's name with `k=v`, or `-- ARGV...`."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

import attrs
import click

from .._model import Command, JobRequest
from .exits import usage_error
from .output import say
from .verbs import complete_registered

__all__ = ["Given", "JobCommand", "Place", "job_options", "parse_labels", "request_of"]

F = TypeVar("F", bound=Callable[..., Any])

DASHES = "\0--"
"""Stands where the user wrote `--`, which click drops. No argument of a program can hold a NUL."""

NO_ENV = frozenset({"TRIO_SUPERVISOR_TOKEN", "TRIO_SUPERVISOR_URL"})
"""Not for jobs: they would get in as the user."""


class JobCommand(click.Command):
    """A command whose arguments tell `NAME k=v` from `-- ARGV...`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--")
            args = [*args[: place + 1], DASHES, *args[place + 1 :]]
        return super().parse_args(ctx, args)


@attrs.frozen(kw_only=True)
class Given:
    """What the options of `run` and `start` said."""

    words: tuple[str, ...]
    args: str | None = None
    job_id: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    grace: float | None = None
    notice: float | None = None
    timeout: float | None = None
    cwd: str | None = None


def job_options(command: F) -> F:
    """The arguments and options that describe a job; the command gets them as `given`."""

    def gathered(
        words: tuple[str, ...], args: str | None, job_id: str | None, name: str | None,
        labels: tuple[str, ...], grace: float | None, notice: float | None,
        timeout: float | None, cwd: str | None, **others: Any,
    ) -> Any:  # fmt: skip
        given = Given(
            words=words, args=args, job_id=job_id, name=name, labels=labels, grace=grace,
            notice=notice, timeout=timeout, cwd=cwd,
        )  # fmt: skip
        return command(given=given, **others)

    gathered.__doc__ = command.__doc__
    gathered.__name__ = command.__name__
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for decorate in reversed(_OPTIONS):
        gathered = decorate(gathered)
    return gathered  # type: ignore[return-value]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument(
        "words", nargs=-1, type=click.UNPROCESSED, metavar="(NAME [K=V]... | -- ARGV...)",
        shell_complete=complete_registered,
    ),
    click.option("--args", metavar="JSON", help="Arguments of a registered job, as an object."),
    click.option("--id", "job_id", metavar="ID", help="The job's id; else one is made."),
    click.option("--name", metavar="TEXT", help="What lists call a command."),
    click.option("--label", "labels", multiple=True, metavar="K=V", help="Free text to filter by."),
    click.option("--grace", type=float, metavar="S", help="Seconds between cancel and kill."),
    click.option("--notice", type=float, metavar="S", help="Seconds of notice before a cancel."),
    click.option("--timeout", type=float, metavar="S", help="Seconds the job may run."),
    click.option("--cwd", metavar="DIR", help="Directory that a command runs in."),
)


class Place(Enum):
    """Where a command will run."""

    EMBEDDED = "embedded"
    """In this process, which has the right directory and environment."""
    HERE = "here"
    """In a server of the same user on the same machine: it gets ours, as any command would."""
    THERE = "there"
    """In a server that may be anywhere; it has its own."""


def request_of(given: Given, place: Place, *, on_disconnect: str | None = None) -> JobRequest:
    """The job that was meant, with an id, so that it can be watched before it starts.

    Args:
        given: what the user said.
        place: where it will run.
        on_disconnect: what becomes of the job when the connection ends.

    Raises:
        CliError: it names no job, or the job's id is empty.
    """
    if given.job_id == "":
        raise usage_error("--id is empty; give the job an id, or leave --id out and one is made")
    work, args = _work_of(given, place)
    return JobRequest(
        work,
        args=args,
        job_id=given.job_id or _new_id(given.name or _basename(work)),
        name=given.name,
        labels=parse_labels(given.labels) or None,
        grace=given.grace,
        notice=given.notice,
        timeout=given.timeout,
        on_disconnect=on_disconnect,
    )


def _work_of(given: Given, place: Place) -> tuple[str | Command, Mapping[str, Any] | None]:
    words = given.words
    if not words or words == (DASHES,):
        raise usage_error("say what to run: NAME k=v ... (a registered job) or -- ARGV ...")
    if words[0] == DASHES:
        if given.args is not None:
            raise usage_error("--args is for registered jobs; a command has its own after the --")
        return _command(words[1:], given.cwd, place), None
    if DASHES in words:
        raise usage_error(f"give either the job {words[0]!r} or a command after --, not both")
    if given.cwd is not None:
        raise usage_error("--cwd is for commands (after --), not for registered jobs")
    return words[0], _arguments(given.args, words[1:])


def _command(argv: Sequence[str], cwd: str | None, place: Place) -> Command:
    if place is Place.EMBEDDED:
        return Command(argv, cwd)
    if not _is_text("".join(argv)):
        raise usage_error("what goes to a server is text: an argument here is not UTF-8")
    if place is Place.THERE:
        return Command(argv, cwd)
    return Command(argv, os.path.abspath(cwd or "."), _own_environment())


def _own_environment() -> Mapping[str | bytes, str | bytes]:
    """Ours, without what lets in, and without what cannot go over a wire of text."""
    env = {name: value for name, value in os.environ.items() if name not in NO_ENV}
    odd = [name for name, value in env.items() if not _is_text(name + value)]
    if odd:
        say(f"not passed on, for it is not UTF-8: {', '.join(map(repr, odd))}")
    return {name: value for name, value in env.items() if name not in odd}


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- arguments -----------------------------------------------------------------------------------


def _arguments(document: str | None, words: Sequence[str]) -> dict[str, Any]:
    args: dict[str, Any] = {} if document is None else _object(document)
    seen: set[str] = set()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise usage_error(f"{word!r} is no argument; write name=value")
        if name in seen:
            raise usage_error(f"argument {name!r} is given twice; for a list write {name}='[1, 2]'")
        seen.add(name)
        args[name] = _value(text)
    return args


def _object(document: str) -> dict[str, Any]:
    try:
        value = json.loads(document, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise usage_error(f"--args is not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise usage_error('--args must be an object, such as \'{"times": 3}\'')
    return value


def _value(text: str) -> Any:
    """JSON where it is JSON, else text as it stands."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_labels(given: Sequence[str]) -> dict[str, str]:
    """Labels as they are given with --label.

    Raises:
        CliError: one is not K=V.
    """
    labels = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise usage_error(f"--label {text!r}: write it as key=value")
        labels[key] = value
    return labels


# --- ids -----------------------------------------------------------------------------------------


def _basename(work: str | Command) -> str:
    if isinstance(work, str):
        return work
    return os.path.basename(os.fsdecode(work.argv[0]))


def _new_id(name: str) -> str:
    """An id that tells what it is of: `make-3f9a61c2`."""
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", name)[:40].strip("-._")
    return f"{readable or 'job'}-{secrets.token_hex(4)}"
