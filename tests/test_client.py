"""The client at its edges: servers that refuse, vanish, keep silent or talk nonsense."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket
from controls import SECRET, open_client, open_wire

import supervisor
from supervisor import (
    Auth,
    Client,
    ConnectionLost,
    Forbidden,
    InvalidArguments,
    JobFilter,
    JobRequest,
    JobState,
    ProtocolError,
    Registry,
    Token,
    Unauthenticated,
    open_supervisor,
)
from supervisor._client.connect import connect_stream
from supervisor._client.link import Link
from supervisor._server import open_server
from supervisor._server.server import Server
from supervisor.testing import Schedule


def registry() -> Registry:
    jobs = Registry()

    @jobs.job
    async def idle() -> None:
        await trio.sleep_forever()

    return jobs


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[supervisor.Supervisor, Server, Client]]:
    async with (
        open_supervisor(registry()) as sup,
        open_wire(sup) as server,
        open_client(server) as client,
    ):
        assert isinstance(client, Client)
        yield sup, server, client


Peer = Callable[[trio_websocket.WebSocketConnection], Any]


@asynccontextmanager
async def client_of(peer: Peer) -> AsyncIterator[Client]:
    """A client of a server that answers hello and then does what `peer` does."""

    async def serve(stream: trio.testing.MemoryReceiveStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            websocket = await request.accept(subprotocol=request.proposed_subprotocols[0])
            await websocket.get_message()
            await websocket.send_message(HELLO)
            try:
                await peer(websocket)
                await trio.sleep_forever()
            finally:
                nursery.cancel_scope.cancel()

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, theirs)  # noqa: ASYNC113 - the client waits for it
        async with connect_stream(ours) as client:
            yield client
        nursery.cancel_scope.cancel()


HELLO = (
    '{"jsonrpc":"2.0","id":1,"result":{"server":"s","protocol":"v1.jsonrpc.supervisor",'
    '"instance":"i","head_seq":0,"limits":{},"scopes":[],"session_id":"x","resume_token":"r"}}'
)


async def test_nobody_listens() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(ConnectionLost, match="is the server running"):
        async with supervisor.connect(f"ws://127.0.0.1:{port}/ws", token="x"):
            pass


@pytest.mark.parametrize("url", ["http://x/", "ws://", "ws://h:port/", "nonsense", "ws://[::1"])
async def test_bad_urls(url: str) -> None:
    with pytest.raises(InvalidArguments):
        async with supervisor.connect(url):
            pass


def test_a_silent_server_is_given_up() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ConnectionLost, match="did not answer within 3 s"):
            async with connect_stream(ours, connect_timeout=3):
                pass
        assert await theirs.receive_some() != b""

    Schedule().run(main)


async def test_something_else_answers() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, b"220 mail.example ESMTP\r\n\r\n")
        with pytest.raises(ConnectionLost, match="no control channel"):
            async with connect_stream(ours):
                pass


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_who_has_no_token_is_told_how_to_get_in(token: str | None) -> None:
    async with open_supervisor() as sup, open_wire(sup) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        server.nursery.start_soon(server.serve_stream, theirs)
        with pytest.raises(Unauthenticated, match=r"(?i)token"):
            async with connect_stream(ours, token=token):
                pass


async def test_a_foreign_host_name_is_refused() -> None:
    async with open_supervisor() as sup, open_wire(sup) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        server.nursery.start_soon(server.serve_stream, theirs)
        with pytest.raises(Forbidden):
            async with connect_stream(ours, token=SECRET, host="evil.example"):
                pass


async def test_a_scope_that_the_token_lacks() -> None:
    token = Token("watcher", "watch", scopes=["observe"])
    async with open_supervisor() as sup, open_server(sup, auth=Auth([token])) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        server.nursery.start_soon(server.serve_stream, theirs)
        async with connect_stream(ours, token="watch") as client:
            assert len(await client.list()) == 0
            with pytest.raises(Forbidden, match="'cancel'"):
                await client.cancel("x")


async def test_what_waits_is_told_when_the_connection_ends() -> None:
    async with connected() as (_, server, client):
        job = await client.start("idle")
        lost = []

        async def wait() -> None:
            with pytest.raises(ConnectionLost, match="whether it took effect is unknown"):
                await job.wait()
            lost.append("wait")

        async def watch() -> None:
            async with client.watch() as events:
                with pytest.raises(ConnectionLost, match="watch from"):
                    async for _ in events:
                        pass
            lost.append("watch")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            await server.close()
        assert sorted(lost) == ["wait", "watch"]
        with pytest.raises(ConnectionLost):
            await client.get(job.id)
        # The job goes on: keep is the default of a start.
    assert job.state is not JobState.CANCELLED


async def test_a_caller_that_is_cancelled_ends_its_wait_only() -> None:
    async with connected() as (sup, server, client):
        job = await client.start("idle")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(job.wait)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert (await client.get(job.id)).cause is None
        (session,) = server.sessions
        assert "0 requests" in repr(session)
        assert sup.get_nowait(job.id).state is JobState.RUNNING


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_supervisor() as sup, open_supervisor():
            assert sup
            1 / 0  # noqa: B018

    async with open_supervisor() as sup, open_wire(sup) as server:
        with pytest.raises(ZeroDivisionError):
            async with open_client(server):
                1 / 0  # noqa: B018


async def test_an_interrupt_in_the_reader_is_not_taken_for_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(self: Link, message: str) -> None:
        raise KeyboardInterrupt

    async with open_supervisor() as sup, open_wire(sup) as server:
        with pytest.raises(KeyboardInterrupt):
            async with open_client(server) as client:
                monkeypatch.setattr(Link, "_dispatch", interrupted)
                await client.list()


def answering(nonsense: str) -> Peer:
    """Sends nonsense before the answer to a list."""

    async def peer(websocket: trio_websocket.WebSocketConnection) -> None:
        await websocket.get_message()
        await websocket.send_message(nonsense)
        await websocket.send_message(
            '{"jsonrpc":"2.0","id":2,"result":{"jobs":[],"instance":"i","seq":4}}'
        )

    return peer


@pytest.mark.parametrize(
    "nonsense",
    [
        '{"jsonrpc":"2.0","id":99,"result":{}}',
        '{"jsonrpc":"2.0","id":99,"error":{"code":-32603,"message":"?"}}',
        '{"jsonrpc":"2.0","id":"2","result":{}}',
        '{"jsonrpc":"2.0","id":2,"error":{"code":-32600,"message":"?","data":{"path":"$.id"}}}',
        '{"jsonrpc":"2.0","method":"events.event","params":{"subscription_id":"s","seq":"x"}}',
        '{"jsonrpc":"2.0","method":"events.event","params":{"subscription_id":["s"]}}',
        '{"jsonrpc":"2.0","method":"session.closing","params":{"reconnect_after":"soon"}}',
        '{"jsonrpc":"2.0","method":"nobody.knows","params":{}}',
        '{"jsonrpc":"2.0","id":7,"method":"job.start","params":{}}',
    ],
)
async def test_what_says_nothing_to_us_is_passed_over(nonsense: str) -> None:
    async with client_of(answering(nonsense)) as client:
        assert (await client.list()).seq == 4


@pytest.mark.parametrize(
    "nonsense",
    [
        "not json",
        "[]",
        "[1]",
        '{"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","id":2}',
        '{"jsonrpc":"2.0","id":2,"result":{"jobs":[],"instance":"i","seq":4e999}}',
        # It could not read what we sent, so that what we wait for may never come.
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}',
    ],
)
async def test_what_cannot_be_read_ends_the_connection(nonsense: str) -> None:
    async with client_of(answering(nonsense)) as client:
        with pytest.raises(ConnectionLost, match="read"):
            await client.list()


async def test_an_answer_of_the_wrong_shape_is_the_peers_fault() -> None:
    async def peer(websocket: trio_websocket.WebSocketConnection) -> None:
        await websocket.get_message()
        await websocket.send_message('{"jsonrpc":"2.0","id":2,"result":{"jobs":"none"}}')

    async with client_of(peer) as client:
        with pytest.raises(ProtocolError, match="JobPage"):
            await client.list()


@pytest.mark.parametrize(
    "results",
    [[], [{"error": {"code": -32001}}, {"error": {"code": -32001}}], ["x"], [None], {}, None, [{}]],
)
async def test_answers_that_do_not_fit_what_was_asked(results: Any) -> None:
    async def peer(websocket: trio_websocket.WebSocketConnection) -> None:
        await websocket.get_message()
        answer = {"jsonrpc": "2.0", "id": 2, "result": {"results": results}}
        await websocket.send_message(json.dumps(answer))

    async with client_of(peer) as client:
        with pytest.raises(ProtocolError):
            await client.start_many([JobRequest("idle")])


async def test_who_leaves_says_so() -> None:
    closed: list[int] = []

    async def peer(websocket: trio_websocket.WebSocketConnection) -> None:
        try:
            await websocket.get_message()
        except trio_websocket.ConnectionClosed as exc:
            closed.append(exc.reason.code)

    async with client_of(peer):
        await trio.testing.wait_all_tasks_blocked()
    assert closed == [1000]


async def test_a_watch_is_ended_at_the_server_too() -> None:
    async with connected() as (sup, _, client):
        before = sup.statistics_nowait().watchers
        async with client.watch(filter=JobFilter(job_ids=("x",))):
            assert sup.statistics_nowait().watchers == before + 1
        await client.list()
        await trio.testing.wait_all_tasks_blocked()
        assert sup.statistics_nowait().watchers == before


async def test_lingering_jobs_are_taken_back_with_the_resume_token() -> None:
    async with open_supervisor(registry()) as sup, open_wire(sup) as server:
        async with open_client(server) as first:
            assert isinstance(first, Client)
            job = await first.start("idle", on_disconnect="linger")
            token = first.resume_token
        async with open_client(server, resume_token=token) as second:
            assert isinstance(second, Client)
            assert second.hello.resumed == 1
            assert (await second.get(job.id)).cause is None


async def test_a_job_may_go_with_its_client() -> None:
    async with open_supervisor(registry()) as sup, open_wire(sup) as server:
        async with open_client(server) as client:
            job = await client.start("idle", on_disconnect="cancel")
        record = await sup.wait(job.id)
        assert (record.state, record.cause) == (JobState.CANCELLED, "client_gone")


async def test_a_token_may_come_with_the_newline_of_its_file() -> None:
    async with open_supervisor() as sup, open_wire(sup) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        server.nursery.start_soon(server.serve_stream, theirs)
        async with connect_stream(ours, token=f"{SECRET}\n") as client:
            assert len(await client.list()) == 0


@pytest.mark.parametrize("token", ["", " ", "my secret", "gehe\u00efm", "a\r\nX-Evil: 1"])
async def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(token: str) -> None:
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(InvalidArguments, match="printable") as caught:
        async with connect_stream(ours, token=token):
            pass
    assert not token.strip() or token not in str(caught.value)
