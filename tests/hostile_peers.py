"""Peers that do what no peer should, each as a function that goes on until it is cancelled.

They speak by hand, below any library: sockets, bytes. What becomes of each connection is counted in
a `Tally` by kind: the close code, the status of an HTTP answer, `reset`, or `eof`.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import trio
from server_kit import RawPeer, frame, handshake, request

MASK = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MI = 1024 * 1024


@attrs.frozen
class Target:
    host: str
    port: int
    tls_port: int | None
    secret: str


class Tally:
    """What has happened so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.under_way = trio.Event()
        self._news = trio.lowlevel.ParkingLot()

    def add(self, what: str) -> None:
        self.counts[what] += 1
        self._news.unpark_all()

    async def reached(self, what: str, times: int) -> None:
        while self.counts[what] < times:
            await self._news.park()


Attack = Callable[..., Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


def attack(fn: Attack) -> Attack:
    """Register an attack by the name of its function."""
    ATTACKS[fn.__name__] = fn
    return fn


# --- one connection -------------------------------------------------------------------------------


class Raw(RawPeer):
    """A connection as bytes."""

    async def knock(self, secret: str | None) -> None:
        """Become a websocket."""
        await self.stream.send_all(handshake(secret))
        head = await self.head()
        assert b" 101 " in head.split(b"\r\n")[0], head

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def message(self) -> bytes:
        """The next message; pings are answered."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT:
                return payload
            if opcode == PING:
                await self.send(frame(payload, PONG))
            elif opcode == CLOSE:
                raise EOFError

    async def ending(self, look: Callable[[bytes], None] = lambda payload: None) -> str:
        """Read on to the end, looking at what comes, and say how it ended."""
        code = "eof"
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == CLOSE:
                    code = str(int.from_bytes(payload[:2], "big")) if payload else "1005"
                elif opcode == TEXT:
                    look(payload)
        except EOFError:
            return code
        except (trio.BrokenResourceError, OSError):
            return code if code != "eof" else "reset"

    async def status(self) -> str:
        """Read on to the end: the status of the answer, if there was one."""
        try:
            answer = await self.read_all()
        except (trio.BrokenResourceError, OSError):
            return "reset"
        return answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "eof"


@asynccontextmanager
async def dial(target: Target, *, buffer: int | None = None) -> AsyncIterator[Raw]:
    """A connection. `buffer`: how little the kernel keeps for a peer that does not read."""
    sock = trio.socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await sock.connect((target.host, target.port))
    async with trio.SocketStream(sock) as stream:
        yield Raw(stream)


@asynccontextmanager
async def session(
    target: Target, *, token: bool = True, buffer: int | None = None
) -> AsyncIterator[Raw]:
    """A websocket."""
    async with dial(target, buffer=buffer) as raw:
        await raw.knock(target.secret if token else None)
        yield raw


async def spoken(
    raw: Raw,
    talk: Callable[[Raw], Awaitable[None]],
    look: Callable[[bytes], None] = lambda payload: None,
) -> str:
    """Say all of it while listening, as the server may end it half way; how it ended."""
    async with trio.open_nursery() as nursery:

        async def say() -> None:
            # The end is told by the other direction.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                await talk(raw)

        nursery.start_soon(say)
        ended = await raw.ending(look)
        nursery.cancel_scope.cancel()
    return ended


async def over_and_over(
    tally: Tally, once: Callable[[], Awaitable[str]], *, width: int = 4
) -> None:
    """So many connections at a time, each followed by the next; the ending of each is counted."""

    async def one_after_the_other() -> None:
        while True:
            try:
                ended = await once()
            except (trio.BrokenResourceError, EOFError, OSError):
                ended = "refused"
            tally.add(ended)
            tally.under_way.set()

    async with trio.open_nursery() as nursery:
        for _ in range(width):
            nursery.start_soon(one_after_the_other)


def says(*parts: bytes, token: bool = True) -> Attack:
    """An attack: connect, say this, see how it ends."""

    async def once(target: Target) -> str:
        async def talk(raw: Raw) -> None:
            for part in parts:
                await raw.send(part)

        async with session(target, token=token) as raw:
            return await spoken(raw, talk)

    async def go(target: Target, tally: Tally) -> None:
        await over_and_over(tally, partial(once, target))

    return go


# --- frames that should not be --------------------------------------------------------------------


def header(size: int, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """The head of a masked frame of eight bytes of length, whatever the payload will be."""
    return bytes((opcode | (0x80 if final else 0), MASK | 127)) + struct.pack("!Q", size) + bytes(4)


def fragments(*payloads: bytes, opcode: int = TEXT) -> bytes:
    """A message in several frames."""
    out, last = [], len(payloads) - 1
    for number, payload in enumerate(payloads):
        out.append(frame(payload, CONTINUATION if number else opcode, final=number == last))
    return b"".join(out)


def unmasked(payload: bytes, opcode: int = TEXT) -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload


def with_bits(bits: int) -> bytes:
    raw = bytearray(frame(b"{}"))
    raw[0] |= bits
    return bytes(raw)


BAD = b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'
HALF = "ü".encode()[:1]

FRAMES: dict[str, tuple[list[bytes], set[str]]] = {
    # name: what is said, and the close codes that are right
    "a length of 2^62": ([header(2**62), *[bytes(MI)] * 8], {"1009"}),
    "a length of 2^63": ([header(2**63)], {"1002"}),
    "a length in too many bytes": ([bytes((0x81, MASK | 127)) + bytes(12)], {"1002"}),
    "a message too large": ([header(5 * MI), *[bytes(MI)] * 5], {"1009"}),
    "a message too large, in fragments": (
        [frame(b"", TEXT, final=False), *[frame(bytes(65536), 0, final=False)] * 64],
        {"1009"},
    ),
    "bad UTF-8": ([frame(BAD)], {"1007"}),
    "bad UTF-8 over two fragments": ([fragments(HALF, b"x")], {"1007"}),
    "UTF-8 that ends half way": ([frame(HALF)], {"1007"}),
    "bad UTF-8 amid a large message": (
        [fragments(b" " * 300_000, b"\xc3(" + b" " * 300_000, b"{}")],
        {"1007"},
    ),
    "a surrogate in UTF-8": ([frame(b'"\xed\xa0\x80"')], {"1007"}),
    "an unmasked frame": ([unmasked(b"{}")], {"1002"}),
    "an unmasked ping": ([unmasked(b"", PING)], {"1002"}),
    "a reserved bit": ([with_bits(0x40)], {"1002"}),
    "all reserved bits": ([with_bits(0x70)], {"1002"}),
    "a reserved opcode": ([frame(b"", 3)], {"1002"}),
    "a reserved control opcode": ([frame(b"", 11)], {"1002"}),
    "a ping of 126 bytes": ([frame(bytes(126), PING)], {"1002"}),
    "a fragmented ping": ([frame(b"", PING, final=False)], {"1002"}),
    "a continuation of nothing": ([frame(b"{}", CONTINUATION)], {"1002"}),
    "a message within a message": ([frame(b"{", TEXT, final=False), frame(b"{}")], {"1002"}),
    "a close of one byte": ([frame(b"\x03", CLOSE)], {"1002"}),
    "a close with a code that is none": ([frame(struct.pack("!H", 1005), CLOSE)], {"1002"}),
    "a close with bad UTF-8": ([frame(b"\x03\xe8\xff", CLOSE)], {"1007", "1002"}),
    "pings after a close": (
        [frame(b"\x03\xe8", CLOSE), *[frame(b"again", PING)] * 1000],
        {"1000", "reset"},
    ),
    "a request after a close": (
        [frame(b"\x03\xe8", CLOSE) + frame(request("job.start", name="nap"))],
        {"1000", "reset"},
    ),
    "ten thousand closes": ([frame(b"\x03\xe8", CLOSE) * 10_000], {"1000", "reset"}),
}
for _name, (_parts, _) in FRAMES.items():
    ATTACKS[_name] = says(*_parts)


@attack
async def empty_fragments(target: Target, tally: Tally, *, count: int) -> None:
    """A message of very many frames with nothing in them, and then the rest of it."""
    many = frame(b"", CONTINUATION, final=False) * 1000

    async def once() -> str:
        async def talk(raw: Raw) -> None:
            await raw.send(frame(b"", TEXT, final=False))
            for _ in range(count // 1000):
                await raw.send(many)
            await raw.send(frame(request("session.ping"), CONTINUATION))
            await raw.send(frame(b"\x03\xe8", CLOSE))

        async with session(target) as raw:
            return await spoken(raw, talk)

    await over_and_over(tally, once, width=2)


@attack
async def pings(target: Target, tally: Tally, *, reads: bool) -> None:
    """Nothing but pings, on end; the answers are read, or not."""
    many = frame(b"p" * 100, PING) * 100

    async def once() -> str:
        async with session(target, buffer=None if reads else 4096) as raw:
            tally.under_way.set()

            async def talk(raw: Raw) -> None:
                while True:
                    await raw.send(many)

            if reads:
                return await spoken(raw, talk)
            try:
                await talk(raw)
            except (trio.BrokenResourceError, OSError):
                return "cut off"
            raise AssertionError

    await over_and_over(tally, once)


# --- peers that take their time -------------------------------------------------------------------


async def drip(raw: Raw, data: Iterable[int], tally: Tally, pause: float) -> None:
    """A byte at a time; stops without an error when nobody listens any more."""
    for byte in data:
        await raw.send(bytes((byte,)))
        tally.add("bytes")
        await trio.sleep(pause)


@attack
async def slow_heads(target: Target, tally: Tally, *, pause: float) -> None:
    """A request head that never ends, byte by byte."""

    async def once() -> str:
        endless = itertools.chain(handshake()[:-2], itertools.cycle(b"X-Slow: 1\r\n"))
        async with dial(target) as raw, trio.open_nursery() as nursery:
            tally.under_way.set()

            async def say() -> None:
                with suppress(trio.BrokenResourceError):
                    await drip(raw, endless, tally, pause)

            nursery.start_soon(say)
            ended = await raw.status()
            nursery.cancel_scope.cancel()
        return ended

    await over_and_over(tally, once, width=50)


@attack
async def slow_frames(target: Target, tally: Tally, *, pause: float, token: bool) -> None:
    """The head of a frame, and then its payload, byte by byte."""

    async def once() -> str:
        async with session(target, token=token) as raw:
            tally.under_way.set()
            slow = itertools.chain(header(70_000), itertools.repeat(0x20))
            return await spoken(raw, lambda raw: drip(raw, slow, tally, pause))

    await over_and_over(tally, once, width=50)


@attack
async def stalled_tls(target: Target, tally: Tally, *, garbage: bool) -> None:
    """The beginning of a ClientHello, or something that is none, and then nothing."""
    hello = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if not garbage:
        outgoing = ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost"
        )
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            hello = outgoing.read()[:100]
    assert target.tls_port is not None
    there = attrs.evolve(target, port=target.tls_port)

    async def once() -> str:
        async with dial(there) as raw:
            await raw.send(hello)
            tally.under_way.set()
            await raw.status()
            return "ended"

    await over_and_over(tally, once, width=50)


@attack
async def vanished(target: Target, tally: Tally, *, token: bool = True) -> None:
    """Connect, and then neither read nor write, as a machine that was unplugged."""

    async def once() -> str:
        async with session(target, token=token) as raw:
            tally.under_way.set()
            # Waiting for the hang-up takes no byte out of the socket and answers no ping.
            await hung_up(raw)
            return "cut off"

    await over_and_over(tally, once, width=50)


async def hung_up(raw: Raw) -> None:
    """Wait for the other side's end without reading: what arrives stays in the kernel.

    While that is full no orderly end can arrive, only a reset.
    """
    assert isinstance(raw.stream, trio.SocketStream)
    with select.epoll() as epoll:
        epoll.register(raw.stream.socket.fileno(), select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(epoll.fileno())


@attack
async def deaf_watchers(
    target: Target, tally: Tally, *, width: int = 1, lines: int = 0, size: int = 100
) -> None:
    """Subscribe to everything, and never read again."""

    async def once() -> str:
        async with session(target, buffer=4096) as raw:
            await raw.send(frame(request("events.subscribe", logs=True, progress=True)))
            await raw.message()
            if lines:
                args = {"lines": lines, "size": size}
                await raw.send(frame(request("job.start", id=2, name="chatter", args=args)))
            tally.add("subscribed")
            tally.under_way.set()
            await hung_up(raw)
            return "cut off"

    await over_and_over(tally, once, width=width)


@attack
async def deaf_askers(target: Target, tally: Tally) -> None:
    """Ask for large answers, one after the other, and never read one."""
    ask = b"".join(frame(request("job.list", id=id, limit=1000)) for id in range(200))

    async def once() -> str:
        async with session(target, buffer=4096) as raw:
            tally.under_way.set()
            async with trio.open_nursery() as nursery:

                async def say() -> None:
                    with suppress(trio.BrokenResourceError):
                        while True:
                            await raw.send(ask)

                nursery.start_soon(say)
                await hung_up(raw)
                nursery.cancel_scope.cancel()
            return "cut off"

    await over_and_over(tally, once)


# --- too much of what is allowed ------------------------------------------------------------------


@attack
async def requests(target: Target, tally: Tally, *, batch: int, method: str = "job.list") -> None:
    """Requests as fast as they go; the answers are read, and looked at."""
    ids = itertools.count()

    def message() -> bytes:
        calls = [request(method, id=next(ids)) for _ in range(batch or 1)]
        return frame(calls if batch else calls[0])

    async def talk(raw: Raw) -> None:
        while True:
            await raw.send(b"".join(message() for _ in range(100)))

    def look(payload: bytes) -> None:
        tally.add("answers")
        for what in ("overloaded", "result"):
            if f'"{what}"'.encode() in payload:
                tally.add(what)

    async def once() -> str:
        async with session(target) as raw:
            tally.under_way.set()
            return await spoken(raw, talk, look)

    await over_and_over(tally, once)


@attack
async def subscriptions(target: Target, tally: Tally, *, count: int) -> None:
    """One subscription after the other; then they are held."""
    asks = [frame(request("events.subscribe", id=id, logs=True)) for id in range(count)]

    async def once() -> str:
        async with session(target) as raw:
            await raw.send(b"".join(asks))
            answered = 0
            while True:
                payload = await raw.message()
                message = json.loads(payload)
                if "id" not in message:
                    continue
                answered += 1
                tally.add("refused" if "error" in message else "subscribed")
                if "error" in message:
                    assert message["error"]["data"]["kind"] == "overloaded"
                if answered == count:
                    tally.under_way.set()

    await over_and_over(tally, once)


@attack
async def strangers(target: Target, tally: Tally, *, width: int, upgraded: bool) -> None:
    """Sockets without a token, as many as go, each held until it is taken away."""

    async def once() -> str:
        async with dial(target) as raw:
            tally.add("connected")
            if tally.counts["connected"] >= width:
                tally.under_way.set()
            with suppress(trio.BrokenResourceError, EOFError):
                if upgraded:
                    await raw.knock(None)
                await raw.stream.receive_some()
        return "put out"

    await over_and_over(tally, once, width=width)


async def open_many(
    target: Target, tally: Tally, count: int, each: Callable[[Raw], Awaitable[None]]
) -> None:
    """So many sessions, a few at a time; once all are there, each does something."""
    opened, all_there = itertools.count(1), trio.Event()
    few = trio.CapacityLimiter(50)

    async def one() -> None:
        async with few:
            manager = session(target)
            raw = await manager.__aenter__()
        try:
            tally.add("connected")
            if next(opened) == count:
                all_there.set()
            await all_there.wait()
            await each(raw)
        finally:
            await raw.stream.aclose()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)


@attack
async def many_watchers(target: Target, tally: Tally, *, count: int) -> None:
    """So many clients, each with a subscription, which read what comes."""

    async def watch(raw: Raw) -> None:
        await raw.send(frame(request("events.subscribe", logs=True)))
        await raw.message()
        tally.add("subscribed")
        if tally.counts["subscribed"] == count:
            tally.under_way.set()
        while True:
            await raw.message()
            tally.add("events")

    await open_many(target, tally, count, watch)


@attack
async def many_pages(target: Target, tally: Tally, *, count: int, jobs: int) -> None:
    """So many clients ask for a large page in the same moment, and again when they have it."""

    async def ask(raw: Raw) -> None:
        tally.under_way.set()
        for id in itertools.count():
            await raw.send(frame(request("job.list", id=id, limit=1000)))
            payload = await raw.message()
            tally.add("pages" if payload.count(b'"id":"page-') >= jobs else "short pages")

    await open_many(target, tally, count, ask)


@attack
async def one_reads_one_does_not(target: Target, tally: Tally) -> None:
    """Two watch everything with logs; one of them never reads."""

    async def follow(raw: Raw) -> None:
        while True:
            payload = await raw.message()
            if b'"events.log"' in payload:
                tally.add("lines")
            elif b'"job.finished"' in payload:
                tally.add("finished")

    async with session(target) as reader, session(target, buffer=4096) as deaf:
        for raw in (reader, deaf):
            await raw.send(frame(request("events.subscribe", logs=True)))
            await raw.message()
        tally.under_way.set()
        await follow(reader)
