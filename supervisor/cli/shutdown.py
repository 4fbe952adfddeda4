"""`shutdown`: end all jobs, then the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .connection import Where, where_options
from .exits import usage_error
from .output import print_document, say
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]


@click.command("shutdown")
@click.option("--cancel", is_flag=True, help="Cancel what runs (default).")
@click.option("--drain", is_flag=True, help="Let what runs end by itself.")
@click.option("--grace", type=click.FloatRange(min=0), metavar="S", help="At most so long a grace.")
@where_options
@json_option
def command(
    cancel: bool, drain: bool, grace: float | None, url: str | None, token_file: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Let the server take no new jobs, end those there are, and leave."""
    if cancel and drain:
        raise usage_error("give either --cancel or --drain, not both")
    mode = "drain" if drain else "cancel"

    async def ask(client: Client) -> int:
        await client.shutdown(mode, grace=grace)
        if as_json:
            print_document({"ok": True})
        else:
            jobs = "ends its jobs" if mode == "cancel" else "waits for its jobs"
            say(f"the server takes no new jobs, {jobs}, and leaves")
        return 0

    return ask_server(Where(url=url, token_file=token_file), ask)
