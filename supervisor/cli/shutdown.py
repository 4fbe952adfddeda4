"""`shutdown`: end all jobs, then the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .connection import Where, where_options
from .output import print_document, say
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["command"]


@click.command("shutdown")
@click.option(
    "--cancel", "mode", flag_value="cancel", default="cancel", help="Cancel what runs (default)."
)
@click.option("--drain", "mode", flag_value="drain", help="Let what runs end by itself.")
@click.option("--grace", type=click.FloatRange(min=0), metavar="S", help="At most so long a grace.")
@where_options
@json_option
def command(
    mode: str, grace: float | None, url: str | None, token_file: Path | None, as_json: bool
) -> int:
    """Let the server take no new jobs, end those there are, and leave."""

    async def ask(client: Client) -> int:
        await client.shutdown(mode, grace=grace)
        if as_json:
            print_document({"ok": True})
        else:
            jobs = "ends its jobs" if mode == "cancel" else "waits for its jobs"
            say(f"the server takes no new jobs, {jobs}, and leaves")
        return 0

    return ask_server(Where(url=url, token_file=token_file), ask)
