"""`demo`: a server, a client, jobs of every kind, and the proof that all of them are gone.

Nothing is faked: the cancels go over a websocket, the commands are real, and the last look is at
the machine's processes, not at our records.
"""

from __future__ import annotations

from typing import Literal

import click

from .verbs import json_option

__all__ = ["command"]


@click.command("demo")
@click.option(
    "--containment", type=click.Choice(["auto", "process_group"]), default="auto",
    show_default=True, help="process_group: as on a machine without cgroups.",
)  # fmt: skip
@json_option
def command(containment: Literal["auto", "process_group"], as_json: bool) -> int:
    """Start jobs of every kind, cancel them, count what is left.

    The cancels go over a websocket; all of it takes some 5 seconds. Exits 1 if anything is alive
    afterwards, or ended otherwise than it should.
    """
    import trio

    from .demo_run import run_demo

    return trio.run(run_demo, as_json, containment)
