"""The stream below a websocket: everything that goes out passes through its buffer.

- `send_nowait` never blocks. When nothing waits and the transport is plain TCP, it writes at once;
  what the kernel does not take is left to one flusher, the only task that waits for the peer.
- Frames are appended whole, so a cancelled sender cannot tear one. The websocket library's own
  frames (pongs, the answer to a close) take the same way.
- Nothing is written after a close frame.
- A peer that does not take 64 KiB within the write deadline is cut off, and so is one that sends
  bytes on end without ever completing a message.

The server frames its messages itself: what a server sends is not masked, so a frame is the payload
behind a short header, and one payload can be framed once for many connections (RFC 6455, 5.2).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import trio

from .limits import Limits

__all__ = ["PING", "OutboxStream", "close_frame", "text_frame"]

CHUNK = 64 * 1024
CROWDED = 256 * 1024
"""Bytes in the outbox at which events wait, so that log lines are dropped early, not late."""

TRICKLE = 8 * 1024
"""Bytes a second that may always arrive without completing a message: pings, for one."""

DRAIN_BYTES = 1024 * 1024

PING = b"\x89\x00"
_CLOSE = 0x88


def text_frame(payload: bytes) -> bytes:
    """A text message in one unmasked frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to the 123 bytes that fit."""
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return bytes((_CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text


class OutboxStream(trio.abc.Stream):
    """A stream with an outbox. `flush` must run as long as it is open.

    Attributes:
        received: counts arrivals; if it stands still, the peer is silent.
        closed: set once the transport is closed, or the peer has closed its side.
    """

    def __init__(self, transport: trio.abc.Stream, limits: Limits) -> None:
        self._transport = transport
        self._limits = limits
        self._fileno: Callable[[], int] | None = None
        if isinstance(transport, trio.SocketStream):
            self._fileno = transport.socket.fileno
        self._out = bytearray()
        self._more = trio.Event()
        self._empty = trio.Event()
        self._empty.set()
        self._room = trio.Event()
        self._sealed = False
        self._closing = False
        self._calm = True
        self._aborted = False
        self._leave_by = math.inf
        self._writing = trio.CancelScope()
        self._head = b""
        self._rest = b""
        self._gate: trio.Event | None = None
        self.received = 0
        self.closed = trio.Event()
        self._patience = limits.unauthenticated_bytes * 4
        self._budget = self._patience
        self._last_refill = 0.0

    def __repr__(self) -> str:
        return f"<OutboxStream over {self._transport!r}, {len(self._out)} bytes waiting>"

    # --- out -----------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether so much waits that what can wait should."""
        return len(self._out) > min(CROWDED, self._limits.outbox_bytes)

    async def wait_room(self) -> None:
        """Return once it is not crowded, or nothing will be sent any more.

        The next thing to be sent, if it is sent at once, is taken.
        """
        while self.crowded and not self._sealed:
            if self._room.is_set():  # several may wait, and all for the same event
                self._room = trio.Event()
            await self._room.wait()

    def send_nowait(self, data: bytes) -> bool:
        """Send soon, in order. False: too much waits already, and this was not taken."""
        if len(self._out) > self._limits.outbox_bytes:
            return False
        self._send(data)
        return True

    def _send(self, data: bytes) -> None:
        if self._sealed:
            return  # after a close frame everything is dropped, and nobody minds
        if self._out:
            self._out += data
            return
        sent = self._write_at_once(data) if self._calm else 0
        self._calm = False
        if sent < len(data):
            self._out += data[sent:] if sent else data
            self._empty = trio.Event()
            self._more.set()

    def _write_at_once(self, data: bytes) -> int:
        if self._fileno is None:
            return 0
        try:
            # Trio's sockets are non-blocking; its own send would cost a trip around the scheduler.
            return os.write(self._fileno(), data)
        except OSError:
            return 0  # not now, or never: the flusher finds out which

    def send_close(self, code: int, reason: str) -> None:
        """Send a close frame, after which nothing is sent any more. Only the first one counts.

        From now on the peer has `close_seconds` to answer and go.
        """
        self._send(close_frame(code, reason))
        self._leave_by = min(self._leave_by, trio.current_time() + self._limits.close_seconds)
        self._seal()

    def _seal(self) -> None:
        self._sealed = True
        self._room.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """For the websocket library, which sends whole frames."""
        await trio.lowlevel.checkpoint()
        if data:
            if not self.send_nowait(bytes(data)):
                self.abort()
            if data[0] == _CLOSE:
                self._seal()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def flush(self) -> None:
        """Write what waits, for as long as the stream is open."""
        try:
            while not (self._closing and not self._out):
                await self._more.wait()
                await self._write_out()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._seal()
            self._out.clear()
            self._empty.set()
            if not self._closing:
                # Whoever reads must notice, too.
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(self._transport)

    async def _gather(self) -> None:
        """Let what follows closely come along: a system call costs more than a turn of the loop.

        One answer takes up to two turns: the websocket library's reader, and ours.
        """
        before = -1
        while before < len(self._out) < CHUNK and not self._closing:
            before = len(self._out)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

    async def _write_out(self) -> None:
        await self._gather()
        while self._out or self._aborted:
            chunk = bytes(self._out[:CHUNK])
            with trio.move_on_after(self._limits.write_seconds) as self._writing:
                if not self._aborted:
                    await self._transport.send_all(chunk)
            if self._aborted or self._writing.cancelled_caught:
                raise trio.BrokenResourceError("the peer does not read")
            del self._out[: len(chunk)]
            if not self.crowded:
                self._room.set()
        self._empty.set()
        self._calm = True
        if not self._closing:
            self._more = trio.Event()

    def abort(self) -> None:
        """Give up on the peer: what waits is dropped, and the transport is closed."""
        self._seal()
        self._aborted = True
        self._writing.cancel()
        self._more.set()

    # --- in ------------------------------------------------------------------------------------

    def replay(self, head: bytes, rest: bytes) -> None:
        """Let the next reader see these bytes: the head now, the rest after `open_gate`.

        The websocket library would lose what comes before it has accepted.
        """
        self._head, self._rest = head, rest
        self._gate = trio.Event()

    def open_gate(self) -> None:
        """The handshake is over: frames may come in."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.set()

    def be_patient(self) -> None:
        """The peer is authenticated: messages may be large."""
        self._patience = self._budget = 2 * self._limits.message_bytes

    def message_received(self) -> None:
        """A message is complete."""
        self._budget = self._patience

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray
        if self._head:
            await trio.lowlevel.checkpoint()
            data, self._head = self._head, b""
            return data
        if self._gate is not None:
            await self._gate.wait()
        if self._rest:
            data, self._rest = self._rest, b""
        else:
            try:
                data = await self._transport.receive_some(max_bytes)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.closed.set()
                raise
        self.received += 1
        self._calm = True
        if not data:
            self.closed.set()
        self._budget -= len(data)
        if self._budget < 0:
            self._spend_time()
        return data

    def _spend_time(self) -> None:
        """Bytes without a message: a trickle is fine, a flood is not."""
        now = trio.current_time()
        earned = (now - self._last_refill) * TRICKLE
        self._last_refill = now
        self._budget = int(min(self._budget + earned, self._patience))
        if self._budget < 0:
            self.send_close(1009, "too many bytes without a message")
            raise trio.BrokenResourceError("too many bytes without a message")

    # --- the end -------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send what waits, let the peer take it, and close; bounded."""
        if self._closing:
            await self.closed.wait()
            return
        self._closing = True
        self._seal()
        self._more.set()
        leave_by = min(self._leave_by, trio.current_time() + self._limits.close_seconds)
        try:
            with trio.CancelScope(shield=True, deadline=leave_by):
                await self._empty.wait()
                await self._say_goodbye()
        finally:
            self._writing.cancel()
            self._more.set()
            try:
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(self._transport)
            finally:
                self.closed.set()

    async def _say_goodbye(self) -> None:
        """Wait for the peer's end of the stream.

        Closing a socket on which something unread has arrived resets it, and the peer may lose
        what we said last.
        """
        try:
            if isinstance(self._transport, trio.abc.HalfCloseableStream):
                await self._transport.send_eof()
            for _ in range(DRAIN_BYTES // CHUNK):
                if not await self._transport.receive_some(CHUNK):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass
