"""The client over real sockets: killed connections, and a server that is started again."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from client_kit import Changes, registry

import supervisor
from supervisor import (
    Auth,
    ConnectionLost,
    EventsLost,
    JobEvent,
    LogEntry,
    Token,
    open_supervisor,
)

SECRET = "let-me-in"
AUTH = Auth([Token("tester", SECRET)])
PATIENCE = 20.0


class Between:
    """A port between client and server whose connections can be killed."""

    def __init__(self, nursery: trio.Nursery, target: int) -> None:
        self.nursery = nursery
        self.target = target
        self.port = 0
        self.open: list[trio.SocketStream] = []
        self.count = 0

    async def start(self) -> None:
        serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await self.nursery.start(serve)
        self.port = listeners[0].socket.getsockname()[1]

    async def _serve(self, client: trio.SocketStream) -> None:
        self.count += 1
        server = await trio.open_tcp_stream("127.0.0.1", self.target)
        self.open += [client, server]
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server)
            await self._pump(server, client)
            nursery.cancel_scope.cancel()

    async def _pump(self, source: trio.SocketStream, to: trio.SocketStream) -> None:
        try:
            async for data in source:
                await to.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def kill(self) -> None:
        """Reset every connection (RFC 9293: a close that lingers for no time sends RST)."""
        for stream in self.open:
            no_time = b"\1\0\0\0\0\0\0\0"
            if stream.socket.fileno() >= 0:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
                stream.socket.close()
        self.open.clear()


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[tuple[supervisor.Supervisor, int]]:
    async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
        serve = partial(supervisor.serve, sup, "127.0.0.1", port, auth=AUTH)
        address: supervisor.Address = await nursery.start(serve)
        yield sup, address.port
        nursery.cancel_scope.cancel()


async def test_a_killed_connection_is_made_anew_and_nothing_is_lost() -> None:
    changes = Changes()
    with trio.fail_after(PATIENCE):
        async with serving() as (sup, port), trio.open_nursery() as nursery:
            between = Between(nursery, port)
            await between.start()
            url = f"ws://127.0.0.1:{between.port}/ws"
            async with (
                supervisor.connect(url, token=SECRET, on_change=changes.append) as client,
                client.watch(since=0) as events,
                sup.watch(since=0) as truth,
            ):
                for number in range(30):
                    await client.start("idle", job_id=f"job-{number}")
                    if number % 10 == 5:
                        between.kill()
                assert len(await client.list()) == 30
                for _ in range(sup.head_seq):
                    assert await anext(events) == await anext(truth)
            nursery.cancel_scope.cancel()
    assert changes.kinds == "CdCdCdC"
    assert between.count == 4


async def test_lines_come_once_over_killed_connections() -> None:
    with trio.fail_after(PATIENCE):
        async with serving() as (_, port), trio.open_nursery() as nursery:
            between = Between(nursery, port)
            await between.start()
            url = f"ws://127.0.0.1:{between.port}/ws"
            async with supervisor.connect(url, token=SECRET) as client:
                await client.start("talk", args={"lines": 100, "pause": 0.01}, job_id="a")
                numbers = []
                async with client.follow_logs("a") as lines:
                    async for item in lines:
                        assert isinstance(item, LogEntry)
                        numbers.append(item.n)
                        if item.n in (20, 50, 51, 99):
                            between.kill()
                assert numbers == [*range(1, 101)]
            nursery.cancel_scope.cancel()


class Server:
    """A server that can be stopped; its supervisor goes with it."""

    sup: supervisor.Supervisor
    port: int

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    async def run(
        self, port: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            with self._scope:
                async with serving(port) as (self.sup, self.port):
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        self._scope.cancel()
        await self._stopped.wait()


async def test_a_server_that_is_started_again_on_its_port() -> None:
    changes = Changes()
    items: list[Any] = []
    old, new = Server(), Server()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(old.run, 0)
            url = f"ws://127.0.0.1:{old.port}/ws"
            async with (
                supervisor.connect(url, token=SECRET, on_change=changes.append) as client,
                client.watch(since=0) as events,
            ):
                await client.start("idle", job_id="a")
                await old.stop()
                await nursery.start(new.run, old.port)
                handle = await client.start("idle", job_id="a")
                assert handle.created
                assert client.instance == new.sup.instance != old.sup.instance
                while not items or items[-1].instance == old.sup.instance:
                    items.append(await anext(events))
                items.append(await anext(events))
            await new.stop()
    *before, lost, after = items
    assert [it.seq for it in before] == [*range(1, len(before) + 1)]
    assert lost == EventsLost(instance=new.sup.instance, after_seq=len(before), resumes_at=0)
    assert isinstance(after, JobEvent) and after.seq == 1
    assert changes.kinds == "CdC"


async def test_a_server_that_never_comes_back_is_given_up() -> None:
    server = Server()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, 0)
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with supervisor.connect(url, token=SECRET, reconnect_timeout=2.5) as client:
                await server.stop()
                with pytest.raises(ConnectionLost, match="is the server running"):
                    await client.list()
