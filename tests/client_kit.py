"""What the tests of the client share: servers that can be cut off, and servers made by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
import trio.testing
import trio_websocket
from controls import SECRET

from supervisor import (
    Auth,
    Client,
    Connected,
    Disconnected,
    Limits,
    Registry,
    Supervisor,
    Token,
    current_job,
    open_supervisor,
)
from supervisor._client.connect import connect_with
from supervisor._server import open_server
from supervisor._server.server import Server
from supervisor.testing import Schedule

Stream = trio.StapledStream[Any, Any]


def run(test: Callable[[], Awaitable[Any]], seconds: float = 3600.0) -> None:
    """On a clock that jumps when nothing else can happen."""

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await test()

    Schedule().run(bounded, max_steps=1_000_000)


async def until(true: Callable[[], object]) -> None:
    """Let the others run, a step at a time, until this is so."""
    for _ in range(10_000):
        if true():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never was so")


class Changes(list[Connected | Disconnected]):
    """What `on_change` was told."""

    @property
    def kinds(self) -> str:
        """`C` for each connection, `d` for each loss, `D` for the end."""
        return "".join(
            "C" if isinstance(it, Connected) else "d" if it.reconnects else "D" for it in self
        )


# --- a real server ------------------------------------------------------------------------------


def registry() -> Registry:
    """Jobs to start by name."""
    jobs = Registry()

    @jobs.job
    async def idle() -> None:
        await trio.sleep_forever()

    @jobs.job
    async def talk(lines: int, pause: float = 0.0, burst: int = 1) -> None:
        for number in range(lines):
            current_job().log(f"line {number + 1}")
            if number % burst == burst - 1:
                await trio.sleep(pause)

    return jobs


class Site:
    """A supervisor with a server whose connections can be cut.

    Attributes:
        down: nobody is at home.
        successor: who takes new connections in its place.
    """

    def __init__(self, sup: Supervisor, server: Server) -> None:
        self.sup = sup
        self.server = server
        self.streams: list[Stream] = []
        self.down = False
        self.successor: Site | None = None

    async def dial(self) -> Stream:
        """A new connection."""
        if self.successor is not None:
            return await self.successor.dial()
        await trio.lowlevel.checkpoint()
        if self.down:
            raise OSError("nobody is at home")
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.nursery.start_soon(self.server.serve_stream, theirs)
        self.streams.append(ours)
        return ours

    def cut(self) -> None:
        """The newest connection is gone."""
        stream = self.streams[-1]
        stream.send_stream.close()
        stream.receive_stream.close()

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Client]:
        """A client; chance is half."""
        given = {"token": SECRET, "jitter": lambda: 0.5, **options}
        async with connect_with(self.dial, **given) as client:
            yield client


@asynccontextmanager
async def open_site(registry: Registry | None = None, limits: Limits | None = None) -> Any:
    """A supervisor and its server."""
    auth = Auth([Token("tester", SECRET)])
    options = {} if limits is None else {"limits": limits}
    async with open_supervisor(registry) as sup, open_server(sup, auth=auth, **options) as server:
        yield Site(sup, server)


# --- a server by hand ---------------------------------------------------------------------------


class Peer:
    """The server's end of one connection, by hand."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, number: int) -> None:
        self.websocket = websocket
        self.number = number
        self.received = 0
        self.sent = 0

    async def request(self, *methods: str) -> dict[str, Any]:
        """The next message; those named are expected, and of pings only when named."""
        while True:
            message: dict[str, Any] = json.loads(await self.websocket.get_message())
            self.received += 1
            if message["method"] == "session.ping" and "session.ping" not in methods:
                await self.pong(message)
                continue
            assert not methods or message["method"] in methods, message
            return message

    async def send(self, **message: Any) -> None:
        """A message."""
        await self.websocket.send_message(json.dumps({"jsonrpc": "2.0", **message}))
        self.sent += 1

    async def answer(self, request: dict[str, Any], result: Any) -> None:
        """The result of a request."""
        await self.send(id=request["id"], result=result)

    async def refuse(
        self, request: dict[str, Any], code: int, kind: str, text: str = "no", **data: Any
    ) -> None:
        """An error for a request."""
        data = {"kind": kind, "retryable": False, **data}
        await self.send(id=request["id"], error={"code": code, "message": text, "data": data})

    async def pong(self, ping: dict[str, Any], received: int = 0, sent: int = 0) -> None:
        """The answer to a ping, with counts that are wrong by so much."""
        counts = {"received": self.received + received, "sent": self.sent + sent}
        await self.answer(ping, {"now": "2026-01-01T00:00:00Z", "head_seq": 0, **counts})

    async def hello(self, instance: str = "i", **more: Any) -> dict[str, Any]:
        """Take hello and answer it; returns its params."""
        request = await self.request("session.hello")
        await self.answer(request, hello_result(self.number, instance, **more))
        params: dict[str, Any] = request["params"]
        return params

    async def subscribed(self, from_seq: int, instance: str = "i") -> dict[str, Any]:
        """Take a subscription and answer it; returns its params."""
        request = await self.request("events.subscribe")
        await self.answer(request, subscribed(from_seq, instance))
        params: dict[str, Any] = request["params"]
        return params

    async def event(
        self, seq: int, prev: int | None = None, type: str = "job.started", **more: Any
    ) -> None:
        """An event of subscription `e`; with `prev` it follows that one."""
        params = {"subscription_id": "e", **event(seq, type), **more}
        params["prev_seq"] = seq - 1 if prev is None else prev
        await self.send(method="events.event", params=params)

    async def line(self, n: int, job_id: str = "j", attempt: int = 1) -> None:
        """A line of a job's log."""
        params = {"subscription_id": "e", **line(n, job_id, attempt)}
        await self.send(method="events.log", params=params)

    async def idle(self) -> None:
        """Answer pings and nothing else."""
        while True:
            await self.request()


def hello_result(number: int, instance: str = "i", **more: Any) -> dict[str, Any]:
    return {
        "server": "by hand",
        "protocol": "v1.jsonrpc.supervisor",
        "instance": instance,
        "head_seq": 0,
        "limits": {"heartbeat_seconds": 20},
        "scopes": [],
        "session_id": f"s{number}",
        "resume_token": f"token-{number}",
        **more,
    }


def subscribed(from_seq: int, instance: str = "i") -> dict[str, Any]:
    return {
        "subscription_id": "e",
        "instance": instance,
        "from_seq": from_seq,
        "head_seq": from_seq,
    }


def event(seq: int, type: str = "job.started", job_id: str = "j") -> dict[str, Any]:
    return {
        "instance": "i",
        "seq": seq,
        "time": "2026-01-01T00:00:00Z",
        "type": type,
        "job_id": job_id,
        "attempt": 1,
        "state": "running",
    }


def line(n: int, job_id: str = "j", attempt: int = 1) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "attempt": attempt,
        "n": n,
        "time": "2026-01-01T00:00:00Z",
        "stream": "stdout",
        "text": f"line {n}",
    }


def job(id: str = "j", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "name": "work",
        "kind": "function",
        "state": "running",
        "attempt": 1,
        "version": 1,
        "seq": 1,
        "created_at": "2026-01-01T00:00:00Z",
        **more,
    }


def started(id: str, created: bool = True) -> dict[str, Any]:
    return {"job": job(id), "created": created, "seq": 1}


Script = Callable[[Peer], Awaitable[None]]


class ByHand:
    """A server that does on each connection what the next script says; the last one stays."""

    def __init__(
        self, nursery: trio.Nursery, scripts: tuple[Script, ...], pair: Callable[[], Any]
    ) -> None:
        self.nursery = nursery
        self.pair = pair
        self.scripts = [*scripts]
        self.dialled: list[float] = []
        self.refusing = 0

    async def dial(self) -> Stream:
        """A new connection."""
        await trio.lowlevel.checkpoint()
        self.dialled.append(trio.current_time())
        if self.refusing:
            self.refusing -= 1
            raise OSError("nobody is at home")
        ours: Stream
        ours, theirs = self.pair()
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.nursery.start_soon(self._serve, script, theirs, len(self.dialled))
        return ours

    async def _serve(self, script: Script, stream: Stream, number: int) -> None:
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                websocket = await request.accept(subprotocol=request.proposed_subprotocols[0])
                with suppress(trio_websocket.ConnectionClosed):
                    await script(Peer(websocket, number))
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


async def serve_and_hang(stream: Stream) -> None:
    """Say hello, then read nothing any more; the stream stays open."""
    async with trio.open_nursery() as reader:
        request = await trio_websocket.wrap_server_stream(reader, stream)
        websocket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        await Peer(websocket, 1).hello()
        reader.cancel_scope.cancel()


@asynccontextmanager
async def by_hand(
    *scripts: Script,
    pair: Callable[[], Any] = trio.testing.memory_stream_pair,
    **options: Any,
) -> AsyncIterator[tuple[Client, ByHand]]:
    """A client of a server by hand; a script that ends cuts its connection. Chance is half."""
    async with trio.open_nursery() as nursery:
        server = ByHand(nursery, scripts, pair)
        async with connect_with(server.dial, **{"jitter": lambda: 0.5, **options}) as client:
            yield client, server
        nursery.cancel_scope.cancel()


async def forever(peer: Peer, then: Callable[[Peer], Awaitable[None]] | None = None) -> None:
    """Say hello, do that, then answer pings."""
    await peer.hello()
    if then is not None:
        await then(peer)
    await peer.idle()


def after_hello(then: Callable[[Peer], Awaitable[None]]) -> Script:
    """A script that says hello, does that, and answers pings."""
    return partial(forever, then=then)
