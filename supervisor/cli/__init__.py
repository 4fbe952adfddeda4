"""The command line: one file per verb.

Nothing heavy is imported before a verb runs, so that `--help`, completion and a mistyped option
answer at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click

from .exits import Exit, PipeClosed, explain, single
from .output import open_safely, say

__all__ = ["main"]

VERBS = (
    "serve", "run", "start", "list", "show", "logs", "events", "cancel", "wait", "top", "jobs",
    "schema", "call", "shutdown", "demo", "completion",
)  # fmt: skip
ALIASES = {"ls": "list"}


class Verbs(click.Group):
    """The verbs, each in the module of its name, imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS]  # once the verb of that name is imported, `list` is its module here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = ALIASES.get(cmd_name, cmd_name)
        if verb not in VERBS:
            return None
        command = importlib.import_module(f".{verb}", __package__).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise PipeClosed from None  # click would make exit code 1 of it
        except BaseExceptionGroup as group:
            raise single(group) from None


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 job failed, 2 usage, 3 cancelled by another, 4 no such job, "
    "5 wait timed out, 69 cannot connect, 77 refused, 130 Ctrl+C, 143 TERM.",
)
@click.version_option(package_name="trio-supervisor", prog_name="trio-supervisor")
def trio_supervisor() -> None:
    """Run jobs, cancel any of them from anywhere, and know that they are gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the code to exit with."""
    open_safely()
    try:
        code = _run(arguments)
    except PipeClosed:
        code = Exit.PIPE_CLOSED
    unread = [_is_gone(stream) for stream in (sys.stdout, sys.stderr)]
    return int(code) or (Exit.PIPE_CLOSED if unread[0] else Exit.DONE)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = trio_supervisor.main(
            arguments, prog_name="trio-supervisor", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except PipeClosed:
        raise
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        say(str(told))
        return told.code
    return code if isinstance(code, int) else Exit.DONE


def _is_gone(stream: TextIO | None) -> bool:
    """Flush; if nobody reads it any more, let what is in its buffer go nowhere, silently."""
    if stream is None or stream.closed:
        return False
    try:
        stream.flush()
    except OSError:  # EPIPE of a pipe, EIO of a terminal
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return True
    return False
