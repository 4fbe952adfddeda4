"""From an address to a stream that reaches it; nothing is said on it yet.

| url | what it names |
|---|---|
| `ws://host:port/ws`, `wss://host:port/ws` | a port, plain or with TLS |
| `ws+unix:///path/to/socket`, the same and `:/ws` | a Unix socket, as npm's `ws` has it |

In the path of a socket, `%` and what a url cannot hold are percent-encoded, and so is `:` before
a slash.
"""

from __future__ import annotations

import errno
import ssl
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import trio

from .._errors import ConnectionLost, InvalidArguments

__all__ = ["Address", "TcpAddress", "UnixAddress", "dial", "parse_url"]

RESOURCE = "/ws"
FORMS = "ws://127.0.0.1:8765/ws, wss://host:8765/ws or ws+unix:///run/user/1000/supervisor.sock"


@attrs.frozen(kw_only=True)
class TcpAddress:
    """A control channel at a port.

    Attributes:
        url: as it was given.
        host: name or number, without brackets.
        port: of the host.
        resource: the path of the websocket.
        secure: whether TLS is spoken.
    """

    url: str = attrs.field(eq=False)
    host: str
    port: int
    resource: str
    secure: bool

    @property
    def authority(self) -> str:
        """What goes into the `Host` header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}"


@attrs.frozen(kw_only=True)
class UnixAddress:
    """A control channel at a Unix socket.

    Attributes:
        url: as it was given.
        path: of the socket.
        resource: the path of the websocket.
    """

    url: str = attrs.field(eq=False)
    path: str
    resource: str

    secure = False

    @property
    def authority(self) -> str:
        """What goes into the `Host` header: the socket has no name of its own."""
        return "localhost"


Address: TypeAlias = TcpAddress | UnixAddress


# --- reading -------------------------------------------------------------------------------------


def parse_url(url: str) -> Address:
    """The address in a `ws://`, `wss://` or `ws+unix://` url.

    Raises:
        InvalidArguments: it is no such url.
    """
    try:
        parts = urlsplit(url)
        port = parts.port if parts.scheme != "ws+unix" else None
    except ValueError as exc:
        raise InvalidArguments(f"{url!r} is no url: {exc}", path="$.url") from exc
    if parts.scheme == "ws+unix":
        return _unix_address(url, parts)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise _no_url(url)
    secure = parts.scheme == "wss"
    return TcpAddress(
        url=url,
        host=parts.hostname,
        port=port or (443 if secure else 80),
        resource=parts.path or RESOURCE,
        secure=secure,
    )


def _unix_address(url: str, parts: SplitResult) -> UnixAddress:
    path, colon, resource = parts.path.partition(":/")
    path = unquote(path, errors="surrogateescape")
    if parts.netloc or not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise _no_url(url)
    return UnixAddress(url=url, path=path, resource=f"/{resource}" if colon else RESOURCE)


def _no_url(url: str) -> InvalidArguments:
    return InvalidArguments(f"url must look like {FORMS}, not {url!r}", path="$.url")


# --- connecting ----------------------------------------------------------------------------------


async def dial(
    address: Address, *, timeout: float, ssl_context: ssl.SSLContext | None = None
) -> trio.abc.Stream:
    """A connection to the address, TLS included.

    Args:
        address: where to.
        timeout: seconds until it must stand.
        ssl_context: for `wss`; the system's default otherwise.

    Raises:
        ConnectionLost: nobody answers there, or somebody whose certificate is not to be trusted.
        InvalidArguments: there is an ssl_context, but the address is one without TLS.
    """
    if ssl_context is not None and not address.secure:
        raise InvalidArguments(
            f"there is an ssl_context, but {address.url} is not encrypted; connect to wss://",
            path="$.ssl_context",
        )
    try:
        with trio.fail_after(timeout):
            return await _open(address, ssl_context)
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as exc:
        raise _unreachable(address, exc) from exc


async def _open(address: Address, context: ssl.SSLContext | None) -> trio.abc.Stream:
    if isinstance(address, UnixAddress):
        return await _open_unix(address.path)
    stream = await trio.open_tcp_stream(address.host, address.port)
    return await _secured(stream, address, context) if address.secure else stream


async def _open_unix(path: str) -> trio.SocketStream:
    stream = await trio.open_unix_socket(path)
    try:
        stream.socket.getpeername()
    except OSError as exc:
        # If too many wait to be accepted, the kernel says EAGAIN, which Trio takes for "soon".
        stream.socket.close()
        raise OSError(errno.EAGAIN, "too many wait there to be let in") from exc
    return stream


async def _secured(
    stream: trio.SocketStream, address: TcpAddress, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    # A websocket says itself where it ends: a close_notify is not waited for.
    secured = trio.SSLStream(
        stream,
        context or ssl.create_default_context(),
        server_hostname=address.host,
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except BaseException:
        stream.socket.close()
        raise
    return secured


# --- what went wrong -----------------------------------------------------------------------------


def _unreachable(address: Address, exc: BaseException) -> ConnectionLost:
    if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
        return ConnectionLost(
            f"cannot connect to {address.url}: the certificate there is not trusted: "
            f"{exc.__cause__.verify_message.rstrip('.')}; "
            "if that is the right server, give the certificate of whoever signed it (ssl_context; "
            "--tls-ca on the command line), and address the server by a name in its certificate"
        )
    if isinstance(exc.__cause__, ssl.SSLError):
        reason = str(exc.__cause__.reason or exc.__cause__).lower().replace("_", " ")
        return ConnectionLost(
            f"cannot connect to {address.url}: no TLS connection can be made ({reason}); "
            "does that server speak TLS? without it, the url begins with ws://"
        )
    return ConnectionLost(f"cannot connect to {address.url}: {_why(exc)}; is the server running?")


def _why(exc: BaseException) -> str:
    if isinstance(exc, trio.TooSlowError):
        return "it does not answer in time"
    if isinstance(exc, trio.BrokenResourceError):
        return "the connection was closed during the TLS handshake"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
