"""What the verbs that ask a server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from .connection import Where, connected, require_target
from .output import say

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = [
    "ask_server", "complete_id", "complete_name", "complete_registered", "json_option",
    "silently",
]  # fmt: skip

silently: Callable[[], str] = str
"""The farewell of a verb that has nothing to say."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def ask_server(
    where: Where,
    ask: Callable[[Client], Awaitable[int]],
    *,
    farewell: Callable[[], str] | None = None,
    tell: Callable[[str], None] = say,
) -> int:
    """Connect, ask, and return the code to exit with.

    Args:
        where: what the user said about the server.
        ask: what to ask it.
        farewell: of a verb that takes long and may be left: what to say to who leaves early.
        tell: how to say that the connection is lost, or back.

    Raises:
        CliError: there is no server.
        SupervisorError: it refuses.
    """
    import trio

    target = require_target(where)

    async def connect_and_ask() -> int:
        async with connected(target, tell) as client:
            return await ask(client)

    if farewell is None:
        return trio.run(connect_and_ask)
    from .signals import until_stopped

    return trio.run(until_stopped, connect_and_ask, farewell)


# --- completion by the shell ---------------------------------------------------------------------

COMPLETION_SECONDS = 2.0
"""Whoever pressed Tab does not wait longer."""


def complete_id(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Ids of jobs, the newest first; none if there is no server to ask."""

    async def ids(client: Client) -> list[str]:
        from .ids import all_jobs

        return [job.id async for job in all_jobs(client)]

    return _beginning_so(beginning, _ask_for_completion(ctx, ids)[::-1])


def complete_name(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Names that jobs have."""

    async def names(client: Client) -> list[str]:
        from .ids import all_jobs

        return [job.name async for job in all_jobs(client)]

    return _beginning_so(beginning, sorted(_ask_for_completion(ctx, names)))


def complete_registered(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Names that jobs can be started by; only the first word is one."""
    if ctx.params.get("words"):
        return []

    async def names(client: Client) -> list[str]:
        return [str(job["name"]) for job in (await client.server_info()).jobs]

    return _beginning_so(beginning, sorted(_ask_for_completion(ctx, names)))


def _beginning_so(beginning: str, words: list[str]) -> list[str]:
    """Each once. What has a control character in it could be taken for several by the shell."""
    found = dict.fromkeys(word for word in words if word.startswith(beginning))
    return [word for word in found if word.isprintable()]


def _ask_for_completion(
    ctx: click.Context, ask: Callable[[Client], Awaitable[list[str]]]
) -> list[str]:
    import trio

    async def in_time() -> list[str]:
        given: dict[str, Any] = ctx.params
        where = Where(url=given.get("url"), token_file=given.get("token_file"))
        words: list[str] = []
        with trio.move_on_after(COMPLETION_SECONDS):
            async with connected(require_target(where), _silent) as client:
                words = await ask(client)
        return words

    try:
        return trio.run(in_time)
    except Exception:  # completion has nowhere to complain
        return []


def _silent(text: str) -> None:
    """Say nothing: the terminal shows what is being typed."""
