"""Who gets in: decided from the request head alone, before any state is touched.

Whoever is turned away is told how to get in.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import attrs

from .._openrpc import document_json
from .._wire import SUBPROTOCOL
from .auth import Auth, Token
from .http import Head

__all__ = ["Admitted", "Answered", "Door"]

HOW = (
    "Send 'Authorization: Bearer TOKEN' with the request, or, on a websocket, call "
    "session.hello with the token as its first message. The token is in the token file of "
    "whoever runs this server."
)

OURS = ("localhost", "127.0.0.1", "[::1]")

RELAYED = ("origin", "forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Headers of requests that a program passes on for others: its own uid says nothing of them."""


@attrs.frozen
class Admitted:
    """A websocket may be opened; without a token yet, it has to say hello."""

    token: Token | None
    subprotocol: str | None


@attrs.frozen
class Answered:
    """The request is answered, and that is all: with a line of text, or bytes of JSON."""

    status: int
    body: str | bytes
    headers: tuple[tuple[str, str], ...] = ()


class Door:
    """The rules of one server.

    Args:
        auth: its tokens.
        hosts: what clients may call it in `Host`, besides the loopback names; without port.
            Any other name is refused: a foreign page could point a name of its own at us.
        origins: web pages that may connect, as `https://host:port`; `null` never may.
    """

    def __init__(
        self, auth: Auth, *, hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        for name, value in (("allowed_hosts", hosts), ("allowed_origins", origins)):
            if isinstance(value, str):
                raise TypeError(f"{name} is a list of names, not the single string {value!r}")
        self._auth = auth
        self._hosts = frozenset(host.lower() for host in (*OURS, *hosts))
        self._origins = frozenset(origins) - {"null"}

    def decide(self, head: Head, *, ready: bool, peer: Token | None = None) -> Admitted | Answered:
        """What becomes of this request."""
        if head.method != "GET":
            return Answered(405, "only GET is served here", (("Allow", "GET"),))
        if head.path == "/healthz":
            return Answered(200, "ok")
        if head.path == "/readyz":
            return Answered(200, "ready") if ready else Answered(503, "shutting down")
        refusal = self._wrong_host(head) or self._wrong_origin(head)
        if refusal is not None:
            return refusal
        token = self._token(head) or _known(head, peer)
        if isinstance(token, Answered):
            return token
        if head.path == "/ws":
            return _upgrade(head, token)
        if token is None:
            return _unauthorized("this page needs a token")
        if head.path == "/openrpc.json":
            return Answered(200, document_json())
        return Answered(
            404, "there is nothing here; the websocket is at /ws, its description at /openrpc.json"
        )

    def _wrong_host(self, head: Head) -> Answered | None:
        hosts = head.all("host")
        if len(hosts) == 1 and _without_port(hosts[0]).lower() in self._hosts:
            return None
        return Answered(
            421,
            f"this server is not {_clip(', '.join(hosts)) or 'nameless'}; connect to it as "
            f"{', '.join(sorted(self._hosts))}, or start it with allowed_hosts naming this host "
            "(serve --allow-host NAME)",
        )

    def _wrong_origin(self, head: Head) -> Answered | None:
        origins = head.all("origin")
        if not origins or (len(origins) == 1 and origins[0] in self._origins):
            return None
        return Answered(
            403,
            f"pages of origin {_clip(', '.join(origins))} may not connect; start the server with "
            "allowed_origins naming it, or connect without an Origin header (programs need none)",
        )

    def _token(self, head: Head) -> Token | Answered | None:
        values = head.all("authorization")
        if not values:
            return None
        scheme, _, secret = values[0].partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer" or not secret.strip():
            return _unauthorized("the Authorization header is not of the form 'Bearer TOKEN'")
        return self._auth.find(secret.strip()) or _unauthorized("this token is not known here")


def _known(head: Head, peer: Token | None) -> Token | None:
    """Who it is by its uid, unless it speaks for somebody else."""
    return None if any(head.all(name) for name in RELAYED) else peer


HANDSHAKE_HEADERS = ("sec-websocket-", "upgrade", "connection")


def _upgrade(head: Head, token: Token | None) -> Admitted | Answered:
    if "websocket" not in [word.lower() for word in head.words("upgrade")] or "upgrade" not in [
        word.lower() for word in head.words("connection")
    ]:
        return Answered(
            426, "this is a websocket; connect to it with ws://", (("Upgrade", "websocket"),)
        )
    if (problem := _unreadable(head)) is not None:
        return Answered(400, problem)
    if head.version != "1.1":  # RFC 6455, 4.2.1
        return Answered(400, f"the websocket handshake needs HTTP/1.1, not HTTP/{head.version}")
    if head.all("sec-websocket-version") != ["13"] or not _is_key(head.all("sec-websocket-key")):
        return Answered(
            400,
            "the websocket handshake needs Sec-WebSocket-Version: 13 and one Sec-WebSocket-Key, "
            "16 bytes in base64",
            (("Sec-WebSocket-Version", "13"),),
        )
    offered = head.words("sec-websocket-protocol")
    if offered and SUBPROTOCOL not in offered:
        return Answered(
            400,
            f"none of the subprotocols offered ({_clip(', '.join(offered))}) is spoken here; "
            f"offer {SUBPROTOCOL}, or none",
        )
    return Admitted(token, SUBPROTOCOL if offered else None)


def _unreadable(head: Head) -> str | None:
    """What the websocket library would stumble over, though it means an upgrade."""
    for name, value in head.headers:
        if name.startswith(HANDSHAKE_HEADERS) and not value.isascii():
            return f"the header {_clip(name)} may hold ASCII only"
    # Of several headers, the library reads the last.
    upgrade = head.all("upgrade")[-1].strip().lower()
    connection = [word.strip().lower() for word in head.all("connection")[-1].split(",")]
    if upgrade == "websocket" and "upgrade" in connection:
        return None
    return (
        "the websocket handshake needs one header 'Upgrade: websocket' that names nothing else, "
        "and one header 'Connection: Upgrade'"
    )


def _is_key(values: list[str]) -> bool:
    """Whether this is one websocket key: 16 bytes in base64 (RFC 6455, 4.2.1)."""
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == 16
    except ValueError:
        return False


def _unauthorized(problem: str) -> Answered:
    return Answered(401, f"{problem}. {HOW}", (("WWW-Authenticate", "Bearer"),))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and port.isascii() else host


def _clip(text: str) -> str:
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= 200 else f"{shown[:197]}..."
