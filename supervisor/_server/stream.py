"""The stream below a websocket: everything that goes out passes through its buffer.

- `send_nowait` never blocks. When nothing waits and the transport is plain TCP, it writes at once;
  what the kernel does not take is left to one flusher, the only task that waits for the peer.
- Frames are appended whole, so a cancelled sender cannot tear one. The websocket library's own
  frames (pongs, the answer to a close) take the same way.
- Nothing is written after a close frame.
- A peer that does not take 64 KiB within the write deadline is cut off, and so is one that sends
  bytes on end without ever completing a message (`meter.py`).
- When half of what may wait does, nothing more is done for the peer until it has read.
- What has arrived and was not looked at yet is bounded: when it is too much, nothing is read.

The server frames its messages itself: what a server sends is not masked, so a frame is the payload
behind a short header, and one payload can be framed once for many connections (RFC 6455, 5.2).
"""

from __future__ import annotations

import math
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from .limits import Limits
from .meter import FRAME_COST, FrameMeter, Patience
from .tls import end_tls

__all__ = ["PING", "OutboxStream", "close_frame", "text_frame"]

CHUNK = 64 * 1024
CROWDED = 256 * 1024
"""Bytes in the outbox at which events wait, so that log lines are dropped early, not late."""

IDLE_FRAMES = 10
"""How many frames that complete no message the websocket library is given at once: some hundred
microseconds of its work, which it does without a checkpoint."""

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


def _no_fault() -> None:
    pass


class OutboxStream(trio.abc.Stream):
    """A stream with an outbox. `flush` must run as long as it is open.

    Attributes:
        received: counts arrivals; if it stands still, the peer is silent.
        sent: counts the messages that were sent, each of a batch of frames for itself.
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
        self._want_room: dict[Callable[[], None], None] = {}
        self._emptier = trio.Event()
        self._sealed = False
        self._closing = False
        self._calm = True
        self._aborted = False
        self._leave_by = math.inf
        self._find_fault: Callable[[], tuple[int, str] | None] = _no_fault
        self._writing = trio.CancelScope()
        self._head = b""
        self._rest: bytes | bytearray = b""
        self._gate: trio.Event | None = None
        self.received = 0
        self.sent = 0
        self.closed = trio.Event()
        self._meter = FrameMeter()
        self._patience = Patience(4 * limits.unauthenticated_bytes, trio.current_time())
        self._unread: deque[int] = deque()  # sizes of messages that nobody has looked at yet
        self._unread_bytes = 0
        self._read_on: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<OutboxStream over {self._transport!r}, {len(self._out)} bytes waiting>"

    # --- out -----------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Whether so much waits that what can wait should."""
        return len(self._out) > min(CROWDED, self._limits.outbox_bytes)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be done for this peer."""
        return not self._sealed and 2 * len(self._out) > self._limits.outbox_bytes

    async def wait_for_room(self) -> None:
        """Return when it is not full any more, or nothing will be sent any more.

        At once, without a checkpoint, if that is so.
        """
        while self.full:
            await self._emptier.wait()

    def tell_when_room(self, call: Callable[[], None]) -> None:
        """Call this, once, when it is not crowded any more, or nothing will be sent any more."""
        self._want_room[call] = None

    def _tell_of_room(self) -> None:
        calls, self._want_room = self._want_room, {}
        for call in calls:
            call()

    def send_messages(self, frames: Sequence[bytes]) -> bool:
        """Send framed messages, in order and together, at once if nothing waits.

        False: too much waits already, and these were not taken.
        """
        if len(self._out) > self._limits.outbox_bytes:
            return False
        self.sent += len(frames)
        self._calm = True  # they were gathered before: what follows is not close behind
        self._send(frames[0] if len(frames) == 1 else b"".join(frames))
        return True

    def send_message(self, frame: bytes) -> bool:
        """Send a framed message soon, in order. False: too much waits, and it was not taken."""
        self.sent += 1
        return self.send_nowait(frame)

    def send_nowait(self, data: bytes) -> bool:
        """Send bytes soon, in order. False: too much waits already, and these were not taken."""
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

    def tell_faults(self, find: Callable[[], tuple[int, str] | None]) -> None:
        """The websocket library closes without a word on a peer that breaks the rules.

        From now on such a peer is told what it did.

        Args:
            find: returns code and reason to close with; None if there is no fault.
        """
        self._find_fault = find

    def _seal(self) -> None:
        self._sealed = True
        self._tell_of_room()
        self._emptier.set()

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
                self._let_go()
                raise trio.BrokenResourceError("the peer does not read")
            was_full = self.full
            del self._out[: len(chunk)]
            if was_full and not self.full:
                self._emptier.set()
                self._emptier = trio.Event()
            if self._want_room and not self.crowded:
                self._tell_of_room()
        self._empty.set()
        self._calm = True
        if not self._closing:
            self._more = trio.Event()

    def _let_go(self) -> None:
        """When the socket is closed, let the kernel drop what the peer does not take.

        It would keep up to megabytes of it for minutes, on behalf of nobody.
        """
        lowest = self._transport
        while isinstance(lowest, trio.SSLStream):
            lowest = lowest.transport_stream
        if isinstance(lowest, trio.SocketStream):
            with suppress(OSError):
                lowest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

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
        self._patience.widen(2 * self._limits.message_bytes)

    def message_received(self) -> int:
        """The oldest message that has arrived is being looked at; its size on the wire."""
        size = self._unread.popleft() if self._unread else 0
        self._unread_bytes -= size
        if self._read_on is not None:
            self._read_on.set()
        return size

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._head:
            await trio.lowlevel.checkpoint()
            head, self._head = self._head, b""
            return head
        if self._gate is not None:
            await self._gate.wait()
        while self._unread_bytes > 2 * self._limits.message_bytes:
            self._read_on = trio.Event()
            await self._read_on.wait()
        if self._rest:
            await trio.lowlevel.checkpoint()
            data, self._rest = self._rest, b""
        else:
            data = await self._receive(max_bytes)
        return self._measured(data)

    async def _receive(self, max_bytes: int | None) -> bytes | bytearray:
        try:
            data = await self._transport.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed.set()
            raise
        self.received += 1
        self._calm = True
        if not data:
            self.closed.set()
        return data

    def _measured(self, data: bytes | bytearray) -> bytes | bytearray:
        """As much of it as is passed on at once; the rest is kept."""
        meter = self._meter
        if meter.is_one_message(data):
            self._unread.append(len(data))
            self._unread_bytes += len(data)
            if self._patience.tried:
                self._patience.earn(len(data))
            return data
        taken = meter.measure(data, IDLE_FRAMES)
        if taken < len(data):
            data, self._rest = data[:taken], data[taken:]
        for size in meter.messages:
            self._unread.append(size)
            self._unread_bytes += size
            self._patience.earn(size)
        if not self._patience.spend(len(data) + FRAME_COST * meter.idle, trio.current_time):
            self.send_close(1009, "too many bytes without a message")
            raise trio.BrokenResourceError("too many bytes without a message")
        return data

    # --- the end -------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send what waits, let the peer take it, and close; bounded."""
        if self._closing:
            await self.closed.wait()
            return
        if not self._sealed and (fault := self._find_fault()) is not None:
            self.send_close(*fault)
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
            if self._out:
                self._let_go()
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
            if isinstance(self._transport, trio.SSLStream):
                self._transport = await end_tls(self._transport)
            if isinstance(self._transport, trio.abc.HalfCloseableStream):
                await self._transport.send_eof()
            for _ in range(DRAIN_BYTES // CHUNK):
                if not await self._transport.receive_some(CHUNK):
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass
