"""`pygls` (PyPI): the JSON-RPC client of a toolkit for language servers, over its websocket loop.

It sends binary frames, `params: null` where there are none, and makes named tuples of every object.
Its `start_ws` sends no header and knows no path, so most tests make the connection and hand it to
the loop that `start_ws` runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import foreign_asyncio
import pytest
from foreign_server import PATIENCE, Served

pytest.importorskip("pygls", reason="the PyPI package pygls is not here")
pytest.importorskip("websockets", reason="the PyPI package websockets is not here")

from pygls.client import JsonRPCClient
from pygls.exceptions import JsonRpcException
from pygls.io_ import run_websocket
from websockets.asyncio.client import connect


class Client(JsonRPCClient):
    """What pygls asks one to add: where its complaints go, and how the connection is made."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[Exception] = []

    def report_server_error(self, error: Exception, source: Any) -> None:
        self.complaints.append(error)

    def call(self, method: str, /, *, msg_id: str | int | None = None, **params: Any) -> Any:
        """Send a request now; its future."""
        return self.protocol.send_request_async(method, params or None, msg_id)


@asynccontextmanager
async def open_client(server: Served, headers: dict[str, str]) -> AsyncIterator[Client]:
    client, stop = Client(), threading.Event()
    async with connect(server.url, additional_headers=headers) as socket:
        loop = asyncio.create_task(
            run_websocket(socket, stop, client.protocol, error_handler=client.report_server_error)
        )
        await asyncio.sleep(0)  # as `start_ws` has it: the loop sets the writer
        yield client
        await socket.close()
        await loop
    assert client.complaints == []


drive = partial(foreign_asyncio.drive, open_client)


async def refused(call: Awaitable[Any]) -> tuple[int, str]:
    """Code and kind of an error answer."""
    with pytest.raises(JsonRpcException) as caught:
        await call
    return caught.value.code, caught.value.data["kind"]


def test_jobs(server: Served, job_id: str) -> None:
    async def script(client: Client) -> None:
        started = await client.call(
            "job.start", name="nap", args={"seconds": 0}, job_id=job_id, labels={"of": job_id}
        )
        assert started.created is True and started.job.labels.of == job_id
        assert (await client.call("job.wait", job_id=job_id)).job.result == "slept"
        assert (await client.call("job.get", job_id=job_id)).job.state == "succeeded"
        assert (await client.call("job.run", name="fail")).job.error.message == "as told"
        listed = await client.call("job.list", labels={"of": job_id})
        assert [job.id for job in listed.jobs] == [job_id]
        assert (await client.call("session.ping")).head_seq >= 3

    drive(server, script)


def test_cancel_with_certificate(server: Served, job_id: str) -> None:
    async def script(client: Client) -> None:
        await client.call("job.start", name="nap", job_id=job_id)
        reply = await client.call("job.cancel", job_id=job_id, wait="finished", reason="enough")
        assert reply.job.state == "cancelled" and reply.job.reason == "enough"
        assert reply.certificate.proof.strength == "certain"

    drive(server, script)


def test_cancel_before_start(server: Served, job_id: str) -> None:
    async def script(client: Client) -> None:
        reply = await client.call("job.cancel", job_id=job_id, if_unknown="remember")
        assert reply.outcome == "recorded"
        run = await client.call("job.run", name="nap", job_id=job_id)
        assert run.job.how == "never_started"

    drive(server, script)


def test_events_are_features(server: Served, job_id: str) -> None:
    async def script(client: Client) -> None:
        types: list[str] = []
        lines: list[str] = []
        finished = asyncio.Event()

        @client.feature("events.event")
        def on_event(params: Any) -> None:
            types.append(params.type)
            if params.type == "job.finished":
                finished.set()

        @client.feature("events.log")
        def on_log(params: Any) -> None:
            lines.append(params.text)

        opened = await client.call("events.subscribe", filter={"job_ids": [job_id]}, logs=True)
        await client.call("job.start", name="talk", args={"lines": 1}, job_id=job_id)
        await finished.wait()
        assert types == ["job.starting", "job.started", "job.finished"]
        assert lines == ["line 1: ünïcödé ☂"]
        await client.call("events.unsubscribe", subscription_id=opened.subscription_id)

    drive(server, script)


@pytest.mark.parametrize("msg_id", [0, "my wait", None])
def test_a_wait_is_cancelled_and_the_job_lives(
    server: Served, job_id: str, msg_id: str | int | None
) -> None:
    async def script(client: Client) -> None:
        await client.call("job.start", name="nap", job_id=job_id)
        waiting = client.call("job.wait", msg_id=msg_id, job_id=job_id)
        (id,) = client.protocol._request_futures
        client.protocol.notify("$/cancelRequest", {"id": id})
        assert await refused(waiting) == (-32800, "request_cancelled")
        assert (await client.call("job.get", job_id=job_id)).job.state == "running"
        await client.call("job.cancel", job_id=job_id, wait="finished")

    drive(server, script)


def test_errors(server: Served) -> None:
    async def script(client: Client) -> None:
        assert await refused(client.call("job.get", job_id="x")) == (-32001, "job_not_found")
        assert await refused(client.call("job.nothing")) == (-32601, "method_not_found")
        assert await refused(client.call("job.get", job="x")) == (-32602, "invalid_params")

    drive(server, script)


def test_hello_with_a_token(server: Served) -> None:
    async def script(client: Client) -> None:
        hello = await client.call("session.hello", token=server.token)
        assert hello.instance == server.instance and hello.limits.batch_items >= 1

    drive(server, script, headers={})


def test_its_own_connection(server: Served) -> None:
    async def script() -> None:
        async with asyncio.timeout(PATIENCE):
            client = Client()
            # It takes host and port only, and puts them together as they are.
            await client.start_ws("127.0.0.1", f"{server.port}/ws")  # type: ignore[arg-type]
            await client.call("session.hello", token=server.token)
            assert (await client.call("job.list", limit=1)).instance == server.instance
            # It looks whether it was stopped after each message.
            last = client.call("session.ping")
            await client.stop()
            assert (await last).head_seq >= 0
            assert client.complaints == []

    asyncio.run(script())


def test_rpc_discover(server: Served) -> None:
    async def script(client: Client) -> None:
        document = await client.call("rpc.discover")
        assert "job.cancel" in {method.name for method in document.methods}

    drive(server, script)
