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
        messages_per_second: requests and notifications of one connection, those in batches too;
            cancels and pings are counted apart, with the same bounds. What is beyond is answered
            `overloaded`; who goes on far beyond is put out with 4429.
        messages_burst: how many may come at once.
        bytes_per_second: of the messages of one connection, likewise.
        bytes_burst: how many may come at once; at least one message of `message_bytes` may.
        bookmark_seconds: without an event, after which a subscription is sent a bookmark.
        outbox_bytes: what may wait to be sent on one connection before it counts as too slow. When
            half of it waits, the client's next messages do, too.
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
    messages_per_second: float = 10_000.0
    messages_burst: int = 50_000
    bytes_per_second: float = 32.0 * 1024 * 1024
    bytes_burst: int = 64 * 1024 * 1024
    bookmark_seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
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
            "messages_per_second": self.messages_per_second,
            "messages_burst": self.messages_burst,
            "bytes_per_second": self.bytes_per_second,
            "bytes_burst": self.bytes_burst,
            "bookmark_seconds": self.bookmark_seconds,
            "heartbeat_seconds": self.heartbeat_seconds,
            "linger_seconds": self.linger_seconds,
        }
