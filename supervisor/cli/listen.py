"""`--listen`: from what the user wrote to places to listen at, and why one cannot be had."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import attrs

from .exits import CliError, Exit, single, usage_error

if TYPE_CHECKING:
    from .._server.places import Opened, Place

__all__ = ["Listen", "Port", "Socket", "Told", "parse_host", "parse_listen"]

HIGHEST_PORT = 65535

LOOPBACK = ("127.", "::1", "localhost")


@attrs.frozen
class Port:
    """HOST:PORT."""

    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether it can be reached from other machines."""
        return not self.host.startswith(LOOPBACK)

    def refusal(self, exc: OSError) -> CliError:
        """Why it cannot be had."""
        if exc.errno == errno.EADDRINUSE:
            return CliError(
                f"port {self.port} of {self.host} is taken; choose another with --listen, "
                f"or any free one with --listen {self.host}:0",
                Exit.UNAVAILABLE,
            )
        place = f"{self.host}:{self.port}"
        if exc.errno in (errno.EACCES, errno.EPERM):
            return CliError(
                f"listening on {place} is not allowed; choose a port from 1024 on with --listen",
                Exit.REFUSED,
            )
        why = exc.strerror or str(exc)
        if isinstance(exc, socket.gaierror):
            why = f"there is no address of that name ({why})"
        return CliError(f"cannot listen on {place}: {why}; see --listen", Exit.UNAVAILABLE)


@attrs.frozen
class Socket:
    """unix:PATH."""

    path: str

    def refusal(self, exc: OSError) -> CliError:
        """Why it cannot be had."""
        if exc.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            code = Exit.USAGE
        elif exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            code = Exit.REFUSED
        else:
            code = Exit.UNAVAILABLE
        return CliError(f"cannot listen on unix:{self.path}: {exc.strerror or exc}", code)


Listen: TypeAlias = Port | Socket


def parse_listen(text: str) -> Listen:
    """`HOST:PORT`, `[IPV6]:PORT`, `PORT` (on the loopback), or `unix:PATH`.

    Raises:
        CliError: it is none of these.
    """
    if text.startswith("unix:"):
        path = re.sub("^/+", "/", text.removeprefix("unix:"))  # some write unix:///PATH
        if path:
            return Socket(path)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]:|([^:\[\]]+):)?([0-9]+)", text)
    if found is None:
        raise usage_error(
            f"--listen {text!r}: write it as HOST:PORT, such as 127.0.0.1:8765, [::1]:8765, or "
            "0.0.0.0:8765 for all addresses; or as unix:PATH"
        )
    digits = found[3].lstrip("0") or "0"
    # Their count comes first: int() refuses thousands of them.
    if len(digits) > 5 or int(digits) > HIGHEST_PORT:
        raise usage_error(
            f"--listen {text!r}: that port is too large; the highest is {HIGHEST_PORT}"
        )
    return Port(found[1] or found[2] or "127.0.0.1", int(digits))


def parse_host(text: str) -> str:
    """A name or address as it stands in the `Host` header, without a port.

    Raises:
        CliError: it is none.
    """
    if re.fullmatch(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", text):
        return f"[{text}]"  # an IPv6 address
    if re.fullmatch(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]", text):
        return text
    raise usage_error(
        f"--allow-host {text!r}: write a name or an address, such as build.example or 192.0.2.7, "
        "without scheme and port"
    )


@attrs.frozen
class Told:
    """A place that, if it cannot be had, says so to the user."""

    place: Place
    listen: Listen

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Opened]:
        """Listen while the block lasts.

        Raises:
            CliError: it cannot be had.
        """
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(self.place.open())
            except (OSError, ExceptionGroup) as exc:
                error = single(exc)
                raise (self.listen.refusal(error) if isinstance(error, OSError) else error) from exc
            yield opened
