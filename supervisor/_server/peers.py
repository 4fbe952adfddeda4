"""Who is at the other end of a Unix socket: the kernel knows (SO_PEERCRED, unix(7)).

- What counts is the effective uid at the time of `connect`: whoever was handed the connection by
  that process speaks in its name.
- A uid that has no number in our user namespace is shown as the overflow uid (user_namespaces(7)).
  That may be anybody, so it is never trusted, and neither is `nobody`, with whom it is confused.
- A program that speaks for others, such as a web server that passes requests on, is known by its
  own uid, and so would they be: see `RELAYED` in `door.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

import trio

from .auth import Token

__all__ = ["Peers", "overflow_uids", "uid_of"]

_UCRED = struct.Struct("=iII")  # pid_t, uid_t, gid_t
NOBODY = 65534
LARGEST = 2**32 - 2
"""The number after it, -1, means "no uid"."""


class Peers:
    """The users of this machine that need no token on a Unix socket, and who they are.

    Args:
        tokens: by uid. The secret of such a token lets nobody in, unless it is in `Auth`, too.

    Raises:
        ValueError: a uid can be none, or anybody's.
    """

    def __init__(self, tokens: Mapping[int, Token]) -> None:
        never = overflow_uids()
        for uid in tokens:
            if type(uid) is not int or not 0 <= uid <= LARGEST:
                raise ValueError(f"{uid!r} is no uid; peers are given by their number")
            if uid in never:
                raise ValueError(
                    f"uid {uid} is what the kernel shows of users it has no number for: "
                    "it may be anybody, and cannot be trusted"
                )
        self._tokens = dict(tokens)

    def __repr__(self) -> str:
        named = ", ".join(f"{uid} as {token.name}" for uid, token in self._tokens.items())
        return f"<Peers {named or 'none'}>"

    def find(self, stream: trio.abc.Stream) -> Token | None:
        """Who is there, if it is one of these; else None, and a token is needed."""
        uid = uid_of(stream)
        return None if uid is None else self._tokens.get(uid)


def uid_of(stream: trio.abc.Stream) -> int | None:
    """The uid of whoever connected; None where there is none to be known."""
    if not isinstance(stream, trio.SocketStream) or stream.socket.family != socket.AF_UNIX:
        return None
    data = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(data)[1]
    return None if uid > LARGEST else uid


def overflow_uids() -> frozenset[int]:
    """The uids that stand for "somebody else"."""
    found = {NOBODY}
    with suppress(OSError, ValueError), open("/proc/sys/kernel/overflowuid") as file:
        found.add(int(file.read()))
    return frozenset(found)
