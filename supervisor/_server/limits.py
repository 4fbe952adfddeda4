"""The bounds of the server, all in one place. No client can make it hold more than these say."""

from __future__ import annotations

import attrs

__all__ = ["Limits"]


@attrs.frozen(kw_only=True)
class Limits:
    """What one server and one connection may cost.

    Args:
        message_bytes: the largest message a client may send.
        batch_items: messages in one batch.
        batch_bytes: what one connection's batches may hold of answers that wait for the rest.
        pending_requests: unanswered requests of one connection.
        subscriptions: open subscriptions of one connection.
        outbox_bytes: what may wait to be sent on one connection before it counts as too slow.
        write_seconds: how long a connection may take to accept 64 KiB.
        close_seconds: how long a closing handshake may take.
        heartbeat_seconds: of silence before the peer is pinged, and then before it counts as gone.
        linger_seconds: how long a job with `on_disconnect="linger"` outlives its connection.
        head_bytes: the largest request head.
        head_seconds: how long a request head may take to arrive.
        hello_seconds: how long a connection may take to authenticate after that.
        unauthenticated_sockets: connections that have not authenticated yet.
        unauthenticated_bytes: the largest message before authentication.
    """

    message_bytes: int = 1024 * 1024
    batch_items: int = 100
    batch_bytes: int = 8 * 1024 * 1024
    pending_requests: int = 1000
    subscriptions: int = 64
    outbox_bytes: int = 16 * 1024 * 1024
    write_seconds: float = 10.0
    close_seconds: float = 1.0
    heartbeat_seconds: float = 20.0
    linger_seconds: float = 10.0
    head_bytes: int = 16 * 1024
    head_seconds: float = 5.0
    hello_seconds: float = 5.0
    unauthenticated_sockets: int = 64
    unauthenticated_bytes: int = 4 * 1024

    def for_clients(self) -> dict[str, float]:
        """Those a client should know, as `session.hello` tells them."""
        return {
            "message_bytes": self.message_bytes,
            "batch_items": self.batch_items,
            "pending_requests": self.pending_requests,
            "subscriptions": self.subscriptions,
            "heartbeat_seconds": self.heartbeat_seconds,
            "linger_seconds": self.linger_seconds,
        }
