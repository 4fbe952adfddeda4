"""Which server a command talks to.

`--url` and `--token-file` come first, then TRIO_SUPERVISOR_URL and TRIO_SUPERVISOR_TOKEN, then the
endpoint file of a server of this user.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
import click

from .endpoint import Endpoint, find_endpoints
from .exits import CliError, Exit, usage_error
from .private import read_token

if TYPE_CHECKING:
    from .._client import Client

__all__ = [
    "Target",
    "Where",
    "connected",
    "find_target",
    "gone_server",
    "require_target",
    "where_options",
]

URL = "TRIO_SUPERVISOR_URL"
TOKEN = "TRIO_SUPERVISOR_TOKEN"

F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Where:
    """What the user said about the server; None: nothing."""

    url: str | None = None
    token_file: Path | None = None


@attrs.frozen(kw_only=True)
class Target:
    """A server to talk to.

    Args:
        url: of its control channel.
        token: to get in with.
        local: whether it is a server of this user on this machine, found by its endpoint file.
    """

    url: str
    token: str = attrs.field(repr=False)
    local: bool = False


def where_options(command: F) -> F:
    """The options that say which server; see `Where`."""
    command = click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"File with the token (or set {TOKEN} to the token).",
    )(command)
    return click.option(
        "--url", metavar="URL", envvar=URL, show_envvar=True, help="Server to talk to."
    )(command)


def find_target(where: Where) -> Target | None:
    """The server to talk to, or None if nothing says that there is one.

    Raises:
        CliError: several servers run, a server is gone, or there is no usable token.
    """
    live, stale = find_endpoints()
    if where.url is None and live:
        return _target_of(where, _only(live))
    if where.url is None:
        return None
    url = _checked(where.url)
    for endpoint in live:
        if _same(url, endpoint):
            return _target_of(where, endpoint)
    token = _given_token(where)
    if token is None:
        gone = "; the server that was there is gone" if any(_same(url, it) for it in stale) else ""
        raise CliError(
            f"no token for {url}{gone}; give --token-file, or set {TOKEN}", Exit.REFUSED
        )
    return Target(url=url, token=token)


def gone_server() -> str | None:
    """The address of a server that left its endpoint file behind; None if there is none."""
    _, stale = find_endpoints()
    return stale[0].url if stale else None


def require_target(where: Where) -> Target:
    """The server to talk to.

    Raises:
        CliError: as `find_target`, and if there is none.
    """
    target = find_target(where)
    if target is not None:
        return target
    gone = gone_server()
    found = "no server was found" if gone is None else f"the server at {gone} is gone"
    raise CliError(
        f"{found}; start one with `trio-supervisor serve`, or say where it is with --url",
        Exit.UNAVAILABLE,
    )


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Client]:
    """A connection to the server.

    Raises:
        CliError: nobody listens there.
        SupervisorError: the server does not let us in.
    """
    from .._connect import connect

    async with connect(target.url, token=target.token) as client:
        yield client


def _only(live: list[Endpoint]) -> Endpoint:
    if len(live) > 1:
        listed = ", ".join(endpoint.url for endpoint in live)
        raise usage_error(f"{len(live)} servers run here: {listed}; choose one with --url")
    return live[0]


def _target_of(where: Where, endpoint: Endpoint) -> Target:
    token = _given_token(where)
    if token is None:
        token = read_token(Path(endpoint.token_file))
    return Target(url=endpoint.url, token=token, local=True)


def _given_token(where: Where) -> str | None:
    if where.token_file is not None:
        return read_token(where.token_file)
    return os.environ.get(TOKEN) or None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("ws", "wss") and parts.hostname is not None
        _ = parts.port
    except ValueError:
        known = False
    if not known:
        raise usage_error(f"{url!r} is no address of a server; it looks like ws://127.0.0.1:8765/ws")
    return url


def _same(url: str, endpoint: Endpoint) -> bool:
    return url.rstrip("/").removesuffix("/ws") == endpoint.url.rstrip("/").removesuffix("/ws")
