"""`completion`: the script that teaches a shell our verbs, options, job ids and names."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from .exits import usage_error
from .output import is_terminal, print_document, print_text, say

__all__ = ["command"]

PROGRAM = "trio-supervisor"
VARIABLE = "_TRIO_SUPERVISOR_COMPLETE"
"""What Click looks for in the environment of a program of this name."""

INSTALL = {
    "bash": 'add to ~/.bashrc: eval "$(trio-supervisor completion bash)"',
    "zsh": 'add to ~/.zshrc, below compinit: eval "$(trio-supervisor completion zsh)"',
    "fish": "run once: trio-supervisor completion fish > "
    "~/.config/fish/completions/trio-supervisor.fish",
}


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice([*INSTALL]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the script in it.")
@click.pass_context
def command(ctx: click.Context, shell: str | None, as_json: bool) -> None:
    """Print a script that lets the shell complete.

    It completes verbs, options, and, asking the server, ids and names of jobs. Without an argument
    it is for the shell that SHELL names.

    \b
      eval "$(trio-supervisor completion bash)"
      trio-supervisor completion fish > ~/.config/fish/completions/trio-supervisor.fish
    """
    shell = shell or _own_shell()
    script = _script(ctx.find_root().command, shell)
    if as_json:
        print_document({"shell": shell, "install": INSTALL[shell], "script": script})
        return
    # Below it: the first line of a script for zsh may say what it completes.
    print_text(f"{script}\n# {INSTALL[shell]}")
    if is_terminal(sys.stdout):
        say(f"to install it, {INSTALL[shell]}")


def _own_shell() -> str:
    shell = PurePath(os.environ.get("SHELL", "")).name
    if shell not in INSTALL:
        raise usage_error(f"say which shell: {', '.join(INSTALL)}")
    return shell


def _script(root: click.Command, shell: str) -> str:
    cls = get_completion_class(shell)
    assert cls is not None
    return cls(root, {}, PROGRAM, VARIABLE).source().strip("\n")
