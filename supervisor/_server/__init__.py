"""The control channel's server: one port, one door.

| file | idea |
|---|---|
| `listener.py` | the port: `serve` |
| `server.py` | what all connections share, and one connection from its first byte to its last |
| `http.py`, `door.py` | the request head, and who gets in |
| `auth.py` | tokens |
| `stream.py` | the outbox below a websocket |
| `session.py` | one client: its requests, one reader |
| `dispatch.py` | what each method does |
| `subscriptions.py` | events on their way to a client |
| `linger.py` | jobs whose client is gone |
"""

from __future__ import annotations

from .auth import Auth, Token
from .limits import Limits
from .listener import Address, serve
from .server import Server, open_server

__all__ = ["Address", "Auth", "Limits", "Server", "Token", "open_server", "serve"]
