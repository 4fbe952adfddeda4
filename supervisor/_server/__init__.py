"""The control channel's server: one port, one door.

| file | idea |
|---|---|
| `listener.py` | the ways to serve: `serve`, `serve_unix` |
| `places.py` | a port, or a path |
| `unix.py` | a socket's path, taken from nobody |
| `peers.py` | who is at the other end of a Unix socket |
| `tls.py` | the handshake, and its end |
| `server.py` | what all connections share, and one connection from its first byte to its last |
| `http.py`, `door.py` | the request head, and who gets in |
| `auth.py` | tokens |
| `stream.py`, `meter.py` | the outbox below a websocket; what comes in and is no message |
| `session.py` | one client: who it is, its life, one reader |
| `intake.py`, `calls.py` | its messages in their order, its requests under way |
| `throttle.py` | how much it may ask for |
| `turnstile.py` | bulk work of all connections, a small piece at a time |
| `dispatch.py` | what each method does |
| `subscriptions.py` | events on their way to a client |
| `fanout.py`, `frames.py` | the one task that passes them on to all; what all share is made once |
| `linger.py` | jobs whose client is gone |
"""

from __future__ import annotations

from .auth import Auth, Token
from .limits import Limits
from .listener import serve, serve_places, serve_unix
from .peers import Peers
from .places import Address, TcpPlace, UnixAddress, UnixPlace
from .server import Server, open_server

__all__ = [
    "Address",
    "Auth",
    "Limits",
    "Peers",
    "Server",
    "TcpPlace",
    "Token",
    "UnixAddress",
    "UnixPlace",
    "open_server",
    "serve",
    "serve_places",
    "serve_unix",
]
