"""`websockets` (PyPI): the whole protocol as plain messages, by asyncio and by threads.

What a program sees that has a websocket library and nothing else; the howto's Python client is one.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from foreign_server import PATIENCE, Served

websockets = pytest.importorskip("websockets", reason="the PyPI package websockets is not here")

from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect as connect_sync  # noqa: E402


class Refused(Exception):
    """An error answer."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error["data"]

    @property
    def kind(self) -> str:
        assert isinstance(self.data["retryable"], bool)
        return str(self.data["kind"])


class Talk:
    """Requests and answers by hand; what comes unasked is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.unasked: list[dict[str, Any]] = []
        self._answers: dict[Any, dict[str, Any]] = {}
        self._ids = 0

    async def send(self, message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self) -> Any:
        message = await self.socket.recv()
        assert isinstance(message, str), "answers are text frames"
        return json.loads(message)

    async def ask(self, method: str, **params: Any) -> int:
        self._ids += 1
        await self.send({"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params})
        return self._ids

    async def tell(self, method: str, **params: Any) -> None:
        await self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def answer(self, id: Any) -> Any:
        while id not in self._answers:
            message = await self.hear()
            if "method" in message:
                assert "id" not in message, "the server asks nothing"
                self.unasked.append(message)
            else:
                assert set(message) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
                self._answers[message["id"]] = message
        message = self._answers.pop(id)
        if "error" in message:
            raise Refused(message["error"])
        return message["result"]

    async def call(self, method: str, **params: Any) -> Any:
        return await self.answer(await self.ask(method, **params))

    async def notification(self, method: str, **wanted: Any) -> dict[str, Any]:
        """The params of the first notification like this that has come or comes."""
        while True:
            for place, message in enumerate(self.unasked):
                if message["method"] == method and message["params"].items() >= wanted.items():
                    del self.unasked[place]
                    return dict(message["params"])
            message = await self.hear()
            assert "method" in message, f"an answer that was not awaited: {message}"
            self.unasked.append(message)


@asynccontextmanager
async def open_talk(server: Served, **options: Any) -> AsyncIterator[Talk]:
    options.setdefault("additional_headers", server.header)
    async with connect(server.url, **options) as socket:
        yield Talk(socket)


def talk(server: Served, script: Callable[[Talk], Awaitable[None]], /, **options: Any) -> None:
    """Run this with a connection that has a token."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE), open_talk(server, **options) as each:
            await script(each)

    asyncio.run(bounded())


# --- jobs ----------------------------------------------------------------------------------------


def test_start_get_run_list(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        params = {"name": "nap", "args": {"seconds": 0, "value": "ok"}, "job_id": job_id}
        started = await talk.call("job.start", **params, labels={"of": job_id})
        assert started["created"] is True and started["job"]["id"] == job_id
        assert (await talk.call("job.wait", job_id=job_id))["job"]["result"] == "ok"
        assert (await talk.call("job.get", job_id=job_id))["job"]["state"] == "succeeded"
        assert (await talk.call("job.start", **params))["created"] is False
        run = await talk.call("job.run", name="fail", labels={"of": job_id})
        assert run["job"]["state"] == "failed" and run["job"]["error"]["message"] == "as told"
        listed = await talk.call("job.list", labels={"of": job_id})
        assert [job["state"] for job in listed["jobs"]] == ["succeeded", "failed"]
        assert listed["instance"] == server.instance

    talk(server, script)


def test_cancel_is_answered_when_it_is_gone(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.call("job.start", name="gate", args={"name": job_id}, job_id=job_id)
        gone = await talk.ask("job.cancel", job_id=job_id, reason="why not", wait="finished")
        assert (await talk.call("job.get", job_id=job_id))["job"]["state"] == "cancelling"
        await talk.call("job.run", name="open_gate", args={"name": job_id})
        reply = await talk.answer(gone)
        assert reply["outcome"] == "cancelling" and reply["job"]["state"] == "cancelled"
        assert reply["certificate"]["proof"]["strength"] == "certain"
        assert reply["certificate"]["first_request"]["reason"] == "why not"

    talk(server, script)


def test_start_and_cancel_in_one_go(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        start = await talk.ask("job.start", name="nap", job_id=job_id)
        cancel = await talk.ask("job.cancel", job_id=job_id, wait="finished")
        assert (await talk.answer(start))["created"] is True
        assert (await talk.answer(cancel))["job"]["state"] == "cancelled"

    talk(server, script)


def test_cancel_before_start(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        first = await talk.call("job.cancel", job_id=job_id, if_unknown="remember")
        assert first["outcome"] == "recorded" and "job" not in first
        started = await talk.call("job.start", name="nap", job_id=job_id)
        assert started["job"]["state"] == "cancelled"
        assert started["job"]["how"] == "never_started"

    talk(server, script)


# --- waiting -------------------------------------------------------------------------------------


def test_a_wait_is_cancelled_and_the_job_lives(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.call("job.start", name="gate", args={"name": job_id}, job_id=job_id)
        wait = await talk.ask("job.wait", job_id=job_id)
        await talk.tell("$/cancelRequest", id=wait)
        with pytest.raises(Refused) as caught:
            await talk.answer(wait)
        assert (caught.value.code, caught.value.kind) == (-32800, "request_cancelled")
        assert not (await talk.call("job.get", job_id=job_id))["job"]["cancel_requested"]
        await talk.call("job.run", name="open_gate", args={"name": job_id})
        assert (await talk.call("job.wait", job_id=job_id))["job"]["state"] == "succeeded"

    talk(server, script)


def test_a_run_is_cancelled_and_so_is_its_job(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        run = await talk.ask("job.run", name="nap", job_id=job_id)
        await talk.tell("$/cancelRequest", id=run)
        assert (await talk.answer(run))["job"]["state"] == "cancelled"

    talk(server, script)


def test_a_wait_that_times_out_carries_the_job(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.call("job.start", name="nap", job_id=job_id)
        with pytest.raises(Refused) as caught:
            await talk.call("job.wait", job_id=job_id, timeout=0)
        assert (caught.value.code, caught.value.kind) == (-32017, "wait_timeout")
        assert caught.value.data["job"]["id"] == job_id
        await talk.call("job.cancel", job_id=job_id, wait="finished")

    talk(server, script)


# --- events --------------------------------------------------------------------------------------


def test_events_from_the_first_to_the_last(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        opened = await talk.call(
            "events.subscribe", filter={"job_ids": [job_id]}, logs=True, progress=True
        )
        mine = {"subscription_id": opened["subscription_id"]}
        await talk.call("job.start", name="talk", args={"lines": 2}, job_id=job_id)
        finished = await talk.notification("events.event", type="job.finished", **mine)
        assert finished["state"] == "succeeded" and finished["instance"] == opened["instance"]
        seen = [message["params"] for message in talk.unasked]
        assert [each["type"] for each in seen if "type" in each] == ["job.starting", "job.started"]
        assert [each["text"] for each in seen if "text" in each] == [
            "line 1: ünïcödé ☂",
            "line 2: ünïcödé ☂",
        ]
        assert any("progress" in each for each in seen)
        assert (await talk.call("events.unsubscribe", **mine)) == {"ok": True}
        talk.unasked.clear()
        await talk.call("job.start", name="nap", job_id=f"{job_id}-2")
        await talk.call("job.cancel", job_id=f"{job_id}-2", wait="finished")
        assert talk.unasked == []

    talk(server, script)


def test_events_link_to_the_one_before(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        opened = await talk.call("events.subscribe", filter={"job_ids": [job_id]})
        await talk.call("job.run", name="nap", args={"seconds": 0}, job_id=job_id)
        at = opened["from_seq"]
        for type in ("job.starting", "job.started", "job.finished"):
            event = await talk.notification("events.event")
            assert (event["type"], event["prev_seq"]) == (type, at)
            at = event["seq"]

    talk(server, script)


def test_events_since_a_position_on_another_connection(server: Served, job_id: str) -> None:
    async def first(talk: Talk) -> None:
        listed = await talk.call("job.list", limit=1)
        since.update(instance=listed["instance"], seq=listed["seq"])
        await talk.call("job.run", name="nap", args={"seconds": 0}, job_id=job_id)

    async def second(talk: Talk) -> None:
        opened = await talk.call("events.subscribe", since=since)
        assert opened["from_seq"] == since["seq"]
        seen = [await talk.notification("events.event") for _ in range(3)]
        assert [event["seq"] for event in seen] == [since["seq"] + n for n in (1, 2, 3)]
        assert [event["job_id"] for event in seen] == [job_id] * 3

    async def elsewhere(talk: Talk) -> None:
        with pytest.raises(Refused) as caught:
            await talk.call("events.subscribe", since={"instance": "another", "seq": 1})
        assert (caught.value.code, caught.value.kind) == (-32010, "replay_gone")
        assert caught.value.data["instance"] == server.instance

    since: dict[str, Any] = {}
    talk(server, first)
    talk(server, second)
    talk(server, elsewhere)


# --- the message ---------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [0, -1, 2**53, "", "0", "é☂", str(uuid.UUID(int=7))])
def test_an_id_comes_back_as_it_was(server: Served, id: Any) -> None:
    async def script(talk: Talk) -> None:
        await talk.send({"jsonrpc": "2.0", "id": id, "method": "session.ping"})
        answer = await talk.hear()
        assert answer["id"] == id and type(answer["id"]) is type(id)
        assert "now" in answer["result"]

    talk(server, script)


@pytest.mark.parametrize("params", [{}, {"params": {}}, {"params": None}])
def test_params_may_be_missing(server: Served, params: dict[str, Any]) -> None:
    async def script(talk: Talk) -> None:
        await talk.send({"jsonrpc": "2.0", "id": 1, "method": "server.info", **params})
        assert {job["name"] for job in (await talk.answer(1))["jobs"]} >= {"nap", "talk"}

    talk(server, script)


def as_text(text: str) -> Any:
    return text


def as_binary(text: str) -> Any:
    return text.encode()


def as_text_fragments(text: str) -> Any:
    return [text[:9], "", text[9:]]


def as_binary_fragments(text: str) -> Any:
    return [text.encode()[:63], text.encode()[63:]]


@pytest.mark.parametrize("form", [as_text, as_binary, as_text_fragments, as_binary_fragments])
def test_frames_of_every_kind(server: Served, form: Callable[[str], Any]) -> None:
    async def script(talk: Talk) -> None:
        params = {"name": "nap", "args": {"seconds": 0, "value": "Grüße ☂"}}
        message = {"jsonrpc": "2.0", "id": "ö", "method": "job.run", "params": params}
        await talk.socket.send(form(json.dumps(message, ensure_ascii=False)))
        assert (await talk.answer("ö"))["job"]["result"] == "Grüße ☂"

    talk(server, script)


def test_batch(server: Served, job_id: str) -> None:
    async def script(talk: Talk) -> None:
        def request(id: Any, method: str, **params: Any) -> dict[str, Any]:
            return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}

        await talk.send([
            request(0, "job.start", name="nap", job_id=job_id),
            request("wait", "job.wait", job_id=job_id),
            {"jsonrpc": "2.0", "method": "session.ping"},
            request(2, "no.such"),
            7,
            request(3, "job.cancel", job_id=job_id),
        ])  # fmt: skip
        answers = await talk.hear()
        assert [each["id"] for each in answers] == [0, "wait", 2, None, 3]
        assert answers[1]["result"]["job"]["state"] == "cancelled"
        assert [each["error"]["code"] for each in answers if "error" in each] == [-32601, -32600]
        # Of nothing but notifications there is no answer: the next one is that to the next request.
        await talk.send([{"jsonrpc": "2.0", "method": "session.ping"}])
        await talk.send([])
        assert (await talk.hear())["error"]["code"] == -32600

    talk(server, script)


ERRORS: dict[str, tuple[str, int, str]] = {
    "no JSON": ("{", -32700, "parse_error"),
    "no request": ('{"id": 1}', -32600, "invalid_request"),
    "no method": ('{"jsonrpc":"2.0","id":1,"method":"job"}', -32601, "method_not_found"),
    "positional": (
        '{"jsonrpc":"2.0","id":1,"method":"job.get","params":["x"]}', -32602, "invalid_params",
    ),
    "unknown param": (
        '{"jsonrpc":"2.0","id":1,"method":"job.get","params":{"job_id":"x","id":1}}',
        -32602, "invalid_params",
    ),
    "no job": (
        '{"jsonrpc":"2.0","id":1,"method":"job.get","params":{"job_id":"nobody"}}',
        -32001, "job_not_found",
    ),
    "no such name": (
        '{"jsonrpc":"2.0","id":1,"method":"job.start","params":{"name":"nobody"}}',
        -32012, "unknown_job_name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_their_kind_and_the_connection_stays(server: Served, case: str) -> None:
    raw, code, kind = ERRORS[case]

    async def script(talk: Talk) -> None:
        await talk.socket.send(raw)
        error = (await talk.hear())["error"]
        assert (error["code"], error["data"]["kind"]) == (code, kind)
        assert error["data"]["retryable"] is False and error["message"]
        assert "now" in await talk.call("session.ping")

    talk(server, script)


def test_rpc_discover(server: Served) -> None:
    async def script(talk: Talk) -> None:
        document = await talk.call("rpc.discover")
        assert document["openrpc"].startswith("1.")
        assert {"job.start", "job.cancel"} <= {method["name"] for method in document["methods"]}

    talk(server, script)


# --- getting in ----------------------------------------------------------------------------------


def test_hello_with_a_token(server: Served) -> None:
    async def script(talk: Talk) -> None:
        hello = await talk.call("session.hello", client="a test", token=server.token)
        assert hello["instance"] == server.instance and "cancel" in hello["scopes"]
        assert (await talk.call("job.list", limit=1))["instance"] == server.instance

    talk(server, script, additional_headers={})


@pytest.mark.parametrize("method", ["session.hello", "job.list"])
def test_nobody_without_a_token(server: Served, method: str) -> None:
    async def script(talk: Talk) -> None:
        with pytest.raises(Refused) as caught:
            await talk.call(method)
        assert (caught.value.code, caught.value.kind) == (-32015, "unauthenticated")
        with pytest.raises(ConnectionClosed) as closed:
            await talk.hear()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401

    talk(server, script, additional_headers={})


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"additional_headers": {"Authorization": "Bearer wrong"}}, 401),
        ({"subprotocols": ["graphql-ws"]}, 400),
        ({"origin": "http://elsewhere.example"}, 403),
    ],
)
def test_turned_away_at_the_door(server: Served, options: dict[str, Any], status: int) -> None:
    async def script(talk: Talk) -> None:
        raise AssertionError("let in")

    with pytest.raises(InvalidStatus) as caught:
        talk(server, script, **options)
    assert caught.value.response.status_code == status
    assert caught.value.response.body


def test_the_subprotocol_may_be_offered(server: Served) -> None:
    async def script(talk: Talk) -> None:
        assert talk.socket.subprotocol == "v1.jsonrpc.supervisor"
        await talk.call("session.ping")

    talk(server, script, subprotocols=["graphql-ws", "v1.jsonrpc.supervisor"])


def test_threads_and_pings_and_a_clean_end(server: Served, job_id: str) -> None:
    with connect_sync(server.url, additional_headers=server.header) as socket:
        params = {"name": "nap", "args": {"seconds": 0}, "job_id": job_id}
        socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "job.run", "params": params}))
        assert json.loads(socket.recv(PATIENCE))["result"]["job"]["state"] == "succeeded"
        assert socket.ping("anybody").wait(PATIENCE)
    assert socket.close_code == 1000
