"""Which server a command talks to.

`--url` and `--token-file` come first, then TRIO_SUPERVISOR_URL and TRIO_SUPERVISOR_TOKEN, then the
endpoint file of a server of this user. A server that is found by such a file is trusted by the
certificate in it; any other by --tls-ca, TRIO_SUPERVISOR_CA, or what the system trusts.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from .endpoint import Endpoint, file_of, find_endpoints
from .exits import CliError, Exit, usage_error
from .output import say
from .private import read_token

if TYPE_CHECKING:
    import ssl

    from .._client.client import Client
    from .._client.dial import Address

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
CA = "TRIO_SUPERVISOR_CA"

F = TypeVar("F", bound=Callable[..., Any])


def _tls_ca() -> Path | None:
    """What the command now running was given with --tls-ca."""
    context = click.get_current_context(silent=True)
    given = context.meta.get(CA) if context is not None else os.environ.get(CA)
    return Path(given) if given else None


@attrs.frozen(kw_only=True)
class Where:
    """What the user said about the server; None: nothing.

    `tls_ca` comes from the running command by itself: see `where_options`.
    """

    url: str | None = None
    token_file: Path | None = None
    tls_ca: Path | None = attrs.field(factory=_tls_ca)


@attrs.frozen(kw_only=True)
class Target:
    """A server to talk to.

    Args:
        url: of its control channel.
        token: to get in with; None at a Unix socket that may know us by our uid.
        local: whether it is a server of this user on this machine, found by its endpoint file.
        endpoint_file: that file.
        certificate: in PEM, if this one alone is trusted.
        tls_ca: a file with certificates of those who may have signed the server's.
    """

    url: str
    token: str | None = attrs.field(repr=False)
    local: bool = False
    endpoint_file: Path | None = None
    certificate: str | None = attrs.field(default=None, repr=False)
    tls_ca: Path | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """How to tell that it is the right server; None if that is not encrypted.

        Raises:
            CliError: the file cannot be used.
        """
        from .certificates import context_for_certificate, context_of_authority

        if not self.url.startswith("wss:"):
            return None
        if self.certificate is not None:
            return context_for_certificate(self.certificate)
        return context_of_authority(self.tls_ca)


def where_options(command: F) -> F:
    """The options that say which server; see `Where`.

    `--tls-ca` is not handed to the command: `Where` takes it from the command's context.
    """
    command = click.option(
        "--tls-ca",
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar=CA,
        show_envvar=True,
        expose_value=False,
        callback=_keep_tls_ca,
        help="Certificates to trust for wss:// addresses.",
    )(command)
    command = click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"File with the token (or set {TOKEN} to the token).",
    )(command)
    return click.option(
        "--url", metavar="URL", envvar=URL, show_envvar=True, help="Server to talk to."
    )(command)


def _keep_tls_ca(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    ctx.meta[CA] = value


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
    url = where.url
    address = _checked(url)
    for endpoint in live:
        if _is_at(endpoint, address):
            return _target_of(where, endpoint, address)
    if where.tls_ca is not None and url.startswith("ws:"):
        raise usage_error(
            f"{url} is not encrypted; write wss:// to use the certificates in {where.tls_ca}, "
            f"or leave --tls-ca and {CA} out"
        )
    token = _given_token(where)
    if token is None and not url.startswith("ws+unix:"):
        known = any(_is_at(it, address) for it in stale)
        gone = "; the server that was there is gone" if known else ""
        raise CliError(
            f"no token for {url}{gone}; give --token-file, or set {TOKEN}", Exit.REFUSED
        )
    return Target(url=address.url, token=token, tls_ca=where.tls_ca)


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
async def connected(
    target: Target, tell: Callable[[str], None] = say, reconnect_timeout: float | None = None
) -> AsyncIterator[Client]:
    """A connection to the server; what becomes of it is told.

    Args:
        target: the server.
        tell: how to tell.
        reconnect_timeout: seconds of one outage after which it is given up; see `link`.

    Raises:
        CliError: the certificates that we should trust cannot be read.
        SupervisorError: nobody listens there, or the server does not let us in.
    """
    from .link import RECONNECT_SECONDS, open_link

    seconds = RECONNECT_SECONDS if reconnect_timeout is None else reconnect_timeout
    async with open_link(target, tell, seconds) as client:
        yield client


def _only(live: list[Endpoint]) -> Endpoint:
    if len(live) > 1:
        listed = ", ".join(endpoint.url for endpoint in live)
        raise usage_error(f"{len(live)} servers run here: {listed}; choose one with --url")
    return live[0]


def _target_of(where: Where, endpoint: Endpoint, address: Address | None = None) -> Target:
    token = _given_token(where)
    if token is None:
        token = read_token(Path(endpoint.token_file))
    url = endpoint.url if address is None else address.url
    return Target(
        url=url,
        token=token,
        local=True,
        endpoint_file=file_of(endpoint),
        certificate=endpoint.certificate,
    )


def _given_token(where: Where) -> str | None:
    if where.token_file is not None:
        return read_token(where.token_file)
    return os.environ.get(TOKEN) or None


def _checked(url: str) -> Address:
    from .._client.dial import parse_url
    from .._errors import InvalidArguments

    try:
        return parse_url(url.rstrip("/"))
    except InvalidArguments:
        raise usage_error(
            f"{url!r} is no address of a server; it looks like ws://127.0.0.1:8765/ws, "
            "wss://HOST:PORT/ws or ws+unix:///PATH"
        ) from None


def _is_at(endpoint: Endpoint, address: Address) -> bool:
    from .._client.dial import parse_url

    return address in map(parse_url, {endpoint.url, *endpoint.urls})
