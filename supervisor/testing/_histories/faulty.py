"""A connection that loses, doubles, swaps and cuts what passes over it.

It sits in the client's stream and reads what goes by. The faults are given beforehand, and each
happens once: from then on the connection is clean, so that whoever goes on trying gets through.
Messages and bytes are counted over the whole run, reconnects included; a fault that is meant for a
message that another fault had already takes the next one.

Only data messages are lost, doubled or swapped. Pings, pongs and close frames pass: TCP loses
nothing in the middle either, and a program between that drops messages still answers pings. A cut
can fall on any byte, in the HTTP head, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import trio
import trio.testing

from .faults import DOWN, UP, CutAt, CutIn, Drop, Duplicate, Fault, Reorder, Silence
from .frames import Splitter, Unit, payload

__all__ = ["Faults", "FaultyStream", "Filter", "Happened", "MemoryStream", "Outcome", "Way"]


# --- one way of a link ------------------------------------------------------------------------


class Happened(NamedTuple):
    """A fault, and the message that it hit (b"" if it hit none)."""

    fault: Fault
    raw: bytes

    @property
    def said(self) -> Any:
        """The JSON of that message."""
        return json.loads(payload(self.raw))

    def __str__(self) -> str:
        if not self.raw:
            return repr(self.fault)
        said = self.said
        if not isinstance(said, dict):
            return f"{self.fault!r}: a batch"
        number = f" {said['id']}" if "id" in said else ""
        return f"{self.fault!r}: {said.get('method', 'the answer to')}{number}"


class Way:
    """One direction, over all connections of a run: what has passed, and which faults are left."""

    def __init__(self, faults: Iterable[Fault], happened: list[Happened]) -> None:
        faults = list(faults)
        self._cuts = [fault for fault in faults if isinstance(fault, CutAt)]
        self._others = [fault for fault in faults if not isinstance(fault, CutAt)]
        self._happened = happened
        self.messages = 0
        self.bytes = 0

    def fault_for(self, raw: bytes) -> Fault | None:
        """What becomes of the next message, if it is not simply passed on."""
        number = self.messages
        self.messages += 1
        for fault in self._others:
            if fault.message <= number:
                self._others.remove(fault)
                self._happened.append(Happened(fault, raw))
                return fault
        return None

    def let_through(self, raw: bytes) -> tuple[bytes, CutAt | None]:
        """As much of these bytes as may pass, and the cut that follows."""
        cut = min(self._cuts, key=lambda cut: cut.byte, default=None)
        if cut is None or cut.byte > self.bytes + len(raw):
            self.bytes += len(raw)
            return raw, None
        self._cuts.remove(cut)
        self._happened.append(Happened(cut, b""))
        passed = raw[: max(0, cut.byte - self.bytes)]
        self.bytes += len(passed)
        return passed, cut


class Outcome(NamedTuple):
    """What comes out when bytes went in: bytes, and perhaps the end of the connection."""

    data: bytes
    end: CutIn | CutAt | Silence | None = None


class Filter:
    """One direction of one connection: bytes in, bytes out, no I/O."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._splitter = Splitter()
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> Outcome:
        """Take bytes in; what passes, and whether the connection ends then."""
        out = bytearray()
        for unit in self._splitter.feed(data):
            pieces, end = self._treated(unit) if unit.is_message else ([unit.raw], None)
            for piece in pieces:
                passed, cut = self._way.let_through(piece)
                out += passed
                if cut is not None:
                    return Outcome(bytes(out), cut)
            if end is not None:
                return Outcome(bytes(out), end)
        return Outcome(bytes(out))

    def _treated(self, unit: Unit) -> tuple[list[bytes], CutIn | Silence | None]:
        raw = unit.raw
        match self._way.fault_for(raw):
            case Drop():
                return [], None
            case Duplicate():
                return [raw, raw, *self._release()], None
            case Reorder():
                self._held.append(raw)
                return [], None
            case CutIn(offset=offset) as cut:
                return [raw[: offset % (len(raw) + 1)]], cut
            case Silence() as silence:
                return [], silence
        return [raw, *self._release()], None

    def _release(self) -> list[bytes]:
        held, self._held = self._held, []
        return held


# --- the link ---------------------------------------------------------------------------------


class Faults:
    """The faults of one run.

    Attributes:
        happened: those that have come about, in order.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        faults = list(faults)
        self.happened: list[Happened] = []
        self.ways = {
            way: Way([fault for fault in faults if fault.way == way], self.happened)
            for way in (UP, DOWN)
        }


MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class FaultyStream(trio.abc.Stream):
    """The client's end of a connection on which faults happen."""

    def __init__(self, transport: MemoryStream, faults: Faults) -> None:
        self._transport = transport
        self._up = Filter(faults.ways[UP])
        self._down = Filter(faults.ways[DOWN])
        self._ready = bytearray()
        self._ended: CutIn | CutAt | None = None
        self._silent = False
        self._closed = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._refuse_if_ended()
        passed, end = (b"", None) if self._silent else self._up.feed(bytes(data))
        if passed:
            await self._transport.send_all(passed)
        else:
            await trio.lowlevel.checkpoint()
        self._end(end)
        self._refuse_if_ended()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._ready:
            await trio.lowlevel.checkpoint()
        while not self._ready:
            if self._ended is not None:
                return await self._received_end()
            data = await self._arrived()
            if data is None:
                continue
            if self._silent:
                if not data:  # the server has given up; nobody hears of it here
                    await self._closed.wait()
                    raise trio.ClosedResourceError
                continue
            if not data:
                return b""
            passed, end = self._down.feed(bytes(data))
            self._ready += passed
            self._end(end)
        size = len(self._ready) if max_bytes is None else max_bytes
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    async def _arrived(self) -> bytes | bytearray | None:
        """What has come from the server; None if the link was cut meanwhile."""
        try:
            return await self._transport.receive_some()
        except trio.ClosedResourceError:
            if self._ended is None:
                raise
            return None

    def cut(self, *, reset: bool = True) -> None:
        """End the connection now, both ways."""
        self._end(CutAt(UP, 0, reset))

    def _end(self, end: CutIn | CutAt | Silence | None) -> None:
        if isinstance(end, Silence):
            self._silent = True
        elif end is not None and self._ended is None:
            self._ended = end
            self._transport.send_stream.close()
            self._transport.receive_stream.close()

    def _refuse_if_ended(self) -> None:
        if self._ended is not None:
            raise trio.BrokenResourceError("the link was cut")

    async def _received_end(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._ended is not None and self._ended.reset:
            raise trio.BrokenResourceError("the link was cut")
        return b""

    async def aclose(self) -> None:
        self._closed.set()
        await self._transport.aclose()
