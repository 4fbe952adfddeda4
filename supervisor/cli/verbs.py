"""What the verbs that ask a server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from .connection import Where, connected, require_target

if TYPE_CHECKING:
    from .._client import Client

__all__ = ["ask_server", "complete_id", "json_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def ask_server(where: Where, ask: Callable[[Client], Awaitable[int]]) -> int:
    """Connect, ask, and return the code to exit with.

    Raises:
        CliError: there is no server.
        SupervisorError: it refuses.
    """
    import trio

    target = require_target(where)

    async def connect_and_ask() -> int:
        async with connected(target) as client:
            return await ask(client)

    return trio.run(connect_and_ask)


def complete_id(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Ids for the shell's completion; none if there is no server to ask."""
    ids: list[str] = []

    async def collect(client: Client) -> int:
        from .ids import all_jobs

        ids.extend([job.id async for job in all_jobs(client) if job.id.startswith(beginning)])
        return 0

    try:
        given: dict[str, Any] = ctx.params
        ask_server(Where(url=given.get("url"), token_file=given.get("token_file")), collect)
    except Exception:  # completion has nowhere to complain
        return []
    return ids
