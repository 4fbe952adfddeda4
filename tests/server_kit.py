"""What the tests of the server share: a server, and a peer that speaks to it by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing
from trio_websocket import WebSocketConnection, wrap_client_stream

from supervisor._model import Job
from supervisor._open import open_supervisor
from supervisor._registry import Registry
from supervisor._server import Address, Auth, Limits, Server, Token, open_server
from supervisor._supervisor import Supervisor
from supervisor.testing import Schedule

SECRET = "let-me-in"
OTHER = "let-the-other-in"
WATCHER = "let-me-look"
TOKENS = (
    Token("tester", SECRET),
    Token("other", OTHER),
    Token("watcher", WATCHER, ["observe", "submit"]),
)


def run(fn: Callable[[], Awaitable[Any]]) -> Any:
    """A test on a clock that jumps when nothing else can happen; it may take an hour of that."""

    async def bounded() -> Any:
        with trio.fail_after(3600):
            return await fn()

    return Schedule().run(bounded, max_steps=1_000_000)


def registry() -> Registry:
    """Jobs to start by name."""
    registry = Registry()

    @registry.job
    async def nap(seconds: float = 1e6, value: str = "slept") -> str:
        await trio.sleep(seconds)
        return value

    @registry.job
    async def fail() -> None:
        raise ValueError("as told")

    @registry.job
    async def stubborn(seconds: float = 1e6) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    @registry.job
    async def talk(lines: int) -> None:
        from supervisor._context import current_job

        for number in range(lines):
            current_job().log(f"line {number + 1}")
        current_job().progress(lines, lines)

    return registry


@attrs.frozen
class World:
    sup: Supervisor
    server: Server

    def open_stream(self) -> trio.StapledStream[Any, Any]:
        """A connection to the server; this is the client's end."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.nursery.start_soon(self.server.serve_stream, theirs)
        return ours

    def jobs(self) -> dict[str, str]:
        """Every job's state, by id."""
        return {job.id: job.state.value for job in self.sup.list_nowait(limit=1000)}


@asynccontextmanager
async def open_world(**options: Any) -> AsyncIterator[World]:
    limits = options.pop("limits", None)
    async with (
        open_supervisor(registry()) as sup,
        open_server(sup, auth=Auth(TOKENS), limits=limits or Limits(), **options) as server,
    ):
        yield World(sup, server)


class Refused(Exception):
    """An error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.data: dict[str, Any] = error["data"]
        assert set(self.data) >= {"kind", "retryable"}

    @property
    def path(self) -> str | None:
        return self.data.get("path")


class Peer:
    """A client that speaks JSON-RPC by hand."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self.websocket = websocket
        self.notifications: list[tuple[str, dict[str, Any]]] = []
        self._answers: dict[Any, dict[str, Any]] = {}
        self._next_id = 100

    async def say(self, message: Any) -> None:
        """Send a message: text and bytes as they are, the rest as JSON."""
        raw = message if isinstance(message, (str, bytes)) else json.dumps(message)
        await self.websocket.send_message(raw)

    async def hear(self) -> Any:
        """The next message, whatever it is."""
        return json.loads(await self.websocket.get_message())

    async def ask(self, method: str, /, *, id: Any = None, **params: Any) -> Any:
        """Send a request; its id."""
        if id is None:
            self._next_id += 1
            id = self._next_id
        await self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return id

    async def tell(self, method: str, /, **params: Any) -> None:
        """Send a notification."""
        await self.say({"jsonrpc": "2.0", "method": method, "params": params})

    async def answer(self, id: Any) -> Any:
        """The result of a request.

        Raises:
            Refused: the answer is an error.
        """
        while id not in self._answers:
            message = await self.hear()
            if "method" in message:
                assert "id" not in message
                self.notifications.append((message["method"], message["params"]))
            else:
                assert message["id"] not in self._answers, "answered twice"
                self._answers[message["id"]] = message
        message = self._answers.pop(id)
        if "error" in message:
            raise Refused(message["error"])
        return message["result"]

    async def call(self, method: str, /, **params: Any) -> Any:
        """Request and answer."""
        return await self.answer(await self.ask(method, **params))

    async def cancel(self, id: Any) -> None:
        """`$/cancelRequest`."""
        await self.tell("$/cancelRequest", id=id)

    async def event(self, type: str) -> dict[str, Any]:
        """The params of the first `events.event` of this type that has come or comes."""
        while True:
            for place, (method, params) in enumerate(self.notifications):
                if method == "events.event" and params["type"] == type:
                    del self.notifications[place]
                    return params
            message = await self.hear()
            self.notifications.append((message["method"], message["params"]))

    async def closed(self) -> int:
        """Wait for the end of the connection; its close code."""
        from trio_websocket import ConnectionClosed

        while True:
            try:
                message = json.loads(await self.websocket.get_message())
            except ConnectionClosed as exc:
                assert exc.reason is not None
                return exc.reason.code
            if isinstance(message, dict) and "method" in message:
                self.notifications.append((message["method"], message["params"]))


@asynccontextmanager
async def open_peer(
    world: World,
    token: str | None = SECRET,
    *,
    headers: Iterable[tuple[str, str]] = (),
    subprotocols: Iterable[str] = (),
    host: str = "localhost",
) -> AsyncIterator[Peer]:
    """A websocket connection over memory streams. Leaving the block drops it without a goodbye."""
    extra = [(name.encode(), value.encode()) for name, value in headers]
    if token is not None:
        extra.append((b"Authorization", b"Bearer " + token.encode()))
    stream = world.open_stream()
    async with trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            host,
            "/ws",
            extra_headers=extra,
            subprotocols=list(subprotocols),
            message_queue_size=1000,
            max_message_size=2**26,
        )
        try:
            yield Peer(websocket)
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_tcp_peer(address: Address, token: str = SECRET) -> AsyncIterator[Peer]:
    """A websocket connection to a port; dropped without a goodbye, if it is open at the end."""
    stream = await trio.open_tcp_stream(address.host, address.port)
    async with stream, trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(
            nursery,
            stream,
            address.host,
            "/ws",
            extra_headers=[(b"Authorization", b"Bearer " + token.encode())],
            message_queue_size=1000,
        )
        yield Peer(websocket)
        nursery.cancel_scope.cancel()


HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n"
)


def handshake(token: str | None = SECRET, *headers: str) -> bytes:
    """A request head that asks for a websocket."""
    lines = [*headers, *([f"Authorization: Bearer {token}"] if token else [])]
    return (HANDSHAKE + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def frame(payload: Any, opcode: int = 1, *, final: bool = True) -> bytes:
    """A masked frame, as clients send them."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = bytes((opcode | (0x80 if final else 0),))
    if len(raw) < 126:
        head += bytes((0x80 | len(raw),))
    elif len(raw) < 65536:
        head += bytes((0x80 | 126,)) + struct.pack("!H", len(raw))
    else:
        head += bytes((0x80 | 127,)) + struct.pack("!Q", len(raw))
    return head + b"\0\0\0\0" + raw


def request(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


class RawPeer:
    """A client below the websocket: bytes out, frames in."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._bytes = bytearray()

    async def http(self, head: str | bytes) -> tuple[int, str]:
        """Send a request head; the status and the rest of the answer."""
        await self.stream.send_all(head.encode() if isinstance(head, str) else head)
        answer = await self.read_all()
        return int(answer.split(b" ", 2)[1]), answer.decode()

    async def read_all(self) -> bytes:
        while data := await self.stream.receive_some():
            self._bytes += data
        return bytes(self._bytes)

    async def _read(self, size: int) -> bytes:
        while len(self._bytes) < size:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._bytes += data
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self._bytes:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._bytes += data
        return await self._read(self._bytes.index(b"\r\n\r\n") + 4)

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, size = await self._read(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._read(8))
        return first & 0x0F, await self._read(size)


async def settled(world: World, job_id: str) -> Job:
    """The job's final record."""
    return await world.sup.wait(job_id)
