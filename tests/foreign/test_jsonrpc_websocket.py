"""`jsonrpc-websocket` (PyPI, on aiohttp): methods are attributes, parameters keyword arguments.

Its ids are UUIDs, it leaves `params` out where there are none, and calls what was put on an
attribute with the parameters of the notification of that name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import foreign_asyncio
import pytest
from foreign_server import PATIENCE, Served

jsonrpc_websocket = pytest.importorskip(
    "jsonrpc_websocket", reason="the PyPI package jsonrpc-websocket is not here"
)
jsonrpc_base = pytest.importorskip("jsonrpc_base")


@asynccontextmanager
async def open_client(server: Served, headers: dict[str, str]) -> AsyncIterator[Any]:
    client = jsonrpc_websocket.Server(server.url, headers=dict(headers), timeout=PATIENCE)
    try:
        reading = await client.ws_connect()
        yield client
    finally:
        await client.close()
    await reading


drive = partial(foreign_asyncio.drive, open_client)


def error_of(caught: pytest.ExceptionInfo[Exception]) -> tuple[int, str]:
    """Code and kind of an error answer, out of what this library makes of it."""
    code, message, answer = caught.value.args
    assert message == answer["error"]["message"]
    return code, answer["error"]["data"]["kind"]


def test_jobs(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        started = await client.job.start(
            name="nap", args={"seconds": 0, "value": "ok"}, job_id=job_id, labels={"of": job_id}
        )
        assert started["created"] is True
        assert (await client.job.wait(job_id=job_id, timeout=20))["job"]["result"] == "ok"
        assert (await client.job.get(job_id=job_id))["job"]["state"] == "succeeded"
        run = await client.job.run(name="fail", labels={"of": job_id})
        assert run["job"]["state"] == "failed"
        assert len((await client.job.list(labels={"of": job_id}))["jobs"]) == 2
        assert "now" in await client.session.ping()
        assert (await client.server.info())["protocol"] == "v1.jsonrpc.supervisor"

    drive(server, script)


def test_cancel_with_certificate(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        await client.job.start(name="nap", job_id=job_id)
        reply = await client.job.cancel(job_id=job_id, reason="enough", wait="finished")
        assert reply["job"]["state"] == "cancelled"
        assert reply["certificate"]["proof"]["means"] == "task_exited"
        again = await client.job.cancel(job_id=job_id)
        assert again["outcome"] == "already_cancelled"

    drive(server, script)


def test_cancel_before_start(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        reply = await client.job.cancel(job_id=job_id, if_unknown="remember")
        assert reply["outcome"] == "recorded"
        assert (await client.job.run(name="nap", job_id=job_id))["job"]["state"] == "cancelled"

    drive(server, script)


def test_events_call_what_is_put_on_their_name(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        events: list[dict[str, Any]] = []
        lines: list[str] = []
        finished = asyncio.Event()

        def on_event(**params: Any) -> None:
            events.append(params)
            if params["type"] == "job.finished":
                finished.set()

        async def on_log(text: str, n: int, stream: str, **_: Any) -> None:
            lines.append(f"{stream} {n} {text}")

        client.events.event = on_event
        client.events.log = on_log
        opened = await client.events.subscribe(filter={"job_ids": [job_id]}, logs=True)
        await client.job.start(name="talk", args={"lines": 2}, job_id=job_id)
        await finished.wait()
        assert [each["type"] for each in events] == ["job.starting", "job.started", "job.finished"]
        assert [each.rpartition(": ")[2] for each in lines] == ["ünïcödé ☂"] * 2
        await client.events.unsubscribe(subscription_id=opened["subscription_id"])
        await client.job.run(name="nap", args={"seconds": 0}, job_id=f"{job_id}-2")
        assert len(events) == 3

    drive(server, script)


def test_events_since(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        client.events.event = lambda **params: seen.put_nowait(params)
        at = await client.job.list(limit=1)
        await client.job.run(name="nap", args={"seconds": 0}, job_id=job_id)
        await client.events.subscribe(since={"instance": at["instance"], "seq": at["seq"]})
        replayed = [await seen.get() for _ in range(3)]
        assert [each["seq"] for each in replayed] == [at["seq"] + n for n in (1, 2, 3)]

    drive(server, script)


def test_a_wait_of_its_own_id_is_cancelled(server: Served, job_id: str) -> None:
    async def script(client: Any) -> None:
        await client.job.start(name="nap", job_id=job_id)
        request = jsonrpc_base.Request("job.wait", {"job_id": job_id}, "my wait")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(refused(client.send_message(request)))
            # Taken in order: the ping is answered when the wait has begun.
            await asyncio.sleep(0)
            await client.session.ping()
            await getattr(client, "$/cancelRequest")(id="my wait", _notification=True)
        assert waiting.result() == (-32800, "request_cancelled")
        assert (await client.job.get(job_id=job_id))["job"]["state"] == "running"
        await client.job.cancel(job_id=job_id, wait="finished")

    drive(server, script)


async def refused(call: Awaitable[Any]) -> tuple[int, str]:
    with pytest.raises(jsonrpc_base.ProtocolError) as caught:
        await call
    return error_of(caught)


def test_errors(server: Served) -> None:
    async def script(client: Any) -> None:
        assert await refused(client.job.get(job_id="nobody")) == (-32001, "job_not_found")
        assert await refused(client.job.get("nobody")) == (-32602, "invalid_params")
        assert await refused(client.job.nothing()) == (-32601, "method_not_found")
        assert await refused(client.job.start(name="nobody")) == (-32012, "unknown_job_name")

    drive(server, script)


def test_hello_with_a_token(server: Served) -> None:
    async def script(client: Any) -> None:
        hello = await client.session.hello(token=server.token, client="jsonrpc-websocket")
        assert hello["instance"] == server.instance
        assert (await client.job.list(limit=1))["seq"] >= 0

    drive(server, script, headers={})


def test_not_let_in(server: Served) -> None:
    async def script(client: Any) -> None:
        assert await refused(client.job.list()) == (-32015, "unauthenticated")

    drive(server, script, headers={})
    with pytest.raises(jsonrpc_base.TransportError, match="Error connecting"):
        drive(server, script, headers={"Authorization": "Bearer wrong"})


def test_rpc_discover(server: Served) -> None:
    async def script(client: Any) -> None:
        document = await client.rpc.discover()
        names = {method["name"] for method in document["methods"]}
        assert {"job.start", "events.subscribe", "rpc.discover"} <= names

    drive(server, script)
