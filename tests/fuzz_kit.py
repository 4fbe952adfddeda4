"""What the fuzzers share: messages that are nearly right, and what must hold whatever is said."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
import trio.testing
from server_kit import World, handshake, open_peer
from server_kit import registry as jobs
from trio_websocket import ConnectionClosed

from supervisor import Auth, Limits, SupervisorError, Token, open_supervisor
from supervisor._methods import method_named, parse_params
from supervisor._server import open_server
from supervisor._wire import (
    CODES,
    Batch,
    ErrorReply,
    Event,
    Malformed,
    Notification,
    Request,
    Result,
    decode,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
)

SECRET = "fuzz"
# Everything but commands: what a fuzzer makes up must not be run.
FUZZER = Token("fuzzer", SECRET, ["observe", "submit", "cancel", "admin"])

SEEDS = [
    {"jsonrpc": "2.0", "id": 1, "method": "session.ping"},
    {"jsonrpc": "2.0", "id": "x", "method": "job.start", "params": {"name": "nap", "job_id": "a"}},
    {"jsonrpc": "2.0", "id": 0, "method": "job.cancel", "params": {"job_id": "a", "grace": 1.5}},
    {"jsonrpc": "2.0", "id": 2, "method": "job.list", "params": {"state": ["running"], "limit": 5}},
    {"jsonrpc": "2.0", "id": 3, "method": "job.logs", "params": {"job_id": "a", "since": 1}},
    {"jsonrpc": "2.0", "id": 4, "method": "events.subscribe", "params": {"logs": True}},
    {"jsonrpc": "2.0", "id": 5, "method": "job.start_many", "params": {"jobs": [{"name": "nap"}]}},
    {"jsonrpc": "2.0", "id": 6, "method": "job.cancel_many", "params": {"filter": {"name": "nap"}}},
    {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}},
    {"jsonrpc": "2.0", "id": 7, "result": {"a": [1, 2.5, None, True, "\u00fc\u20ac\U0001f600"]}},
    {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no", "data": {"a": 1}}},
]
BATCH = SEEDS[:3] + SEEDS[8:9]


def seeds() -> Iterator[bytes]:
    """Messages to begin with."""
    for seed in [*SEEDS, BATCH, []]:
        yield json.dumps(seed).encode()
    yield b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1e999,"b":"\\ud800"}}'


# --- the codec ------------------------------------------------------------------------------------


def check_codec(data: bytes | str) -> Event:
    """Whatever it is: an event comes out, and what that says goes in and comes out again."""
    event = decode(data, batch_items=100)
    for item in event.items if isinstance(event, Batch) else [event]:
        check_item(item)
    return event


def check_item(item: Any) -> None:
    match item:
        case Request(id=id, method=method, params=params):
            assert decode(encode_request(id, method, params)) == item
            check_params(method, params)
        case Notification(method=method, params=params):
            assert decode(encode_notification(method, params)) == item
            check_params(method, params)
        case Result(id=id, result=result):
            assert decode(encode_result(id, result)) == item
        case Malformed(id=id, error=error):
            answer = decode(encode_error(id, error))
            assert isinstance(answer, ErrorReply)
            assert answer.id == id
            assert answer.message
            assert answer.data["kind"] in CODES and answer.data["kind"] != "internal_error"
            assert answer.data["path"].startswith("$") and len(answer.data["path"]) <= 500
        case ErrorReply():
            pass
        case _:
            raise AssertionError(f"{item!r} is no event")


def check_params(name: str, params: dict[str, Any]) -> None:
    """They are taken, or refused with a place."""
    try:
        parse_params(method_named(name), params)
    except SupervisorError as exc:
        assert str(exc)
        assert exc.data["path"].startswith("$")


# --- the session ----------------------------------------------------------------------------------


@asynccontextmanager
async def open_fuzzed() -> AsyncIterator[World]:
    """A server that is to survive."""
    async with (
        open_supervisor(jobs()) as sup,
        open_server(sup, auth=Auth([FUZZER]), limits=Limits()) as server,
    ):
        yield World(sup, server)


class Complaints(logging.Handler):
    """What the server logs as going wrong. Nothing that a client says may get there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


@contextmanager
def no_complaints() -> Iterator[None]:
    handler, logger = Complaints(), logging.getLogger("supervisor")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not handler.said, handler.said[0]


def bounded(fn: Any) -> None:
    """On a clock that jumps; whoever hangs hangs for an hour of that."""

    async def main() -> None:
        with trio.fail_after(3600):
            await fn()

    with no_complaints():
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def check_bytes(pieces: Iterable[bytes]) -> None:
    """A peer says this after the handshake, and goes; the server and the others live on."""

    async def main() -> None:
        async with open_fuzzed() as world, open_peer(world, SECRET) as bystander:
            stream = world.open_stream()
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(read_all, stream)
                try:
                    await stream.send_all(handshake(SECRET))
                    for piece in pieces:
                        await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
                    await stream.send_stream.aclose()  # type: ignore[attr-defined]
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # it was put out
            await trio.sleep(120)  # more than any deadline of the server
            await bystander.call("session.ping")
            assert len(world.server.sessions) == 1

    bounded(main)


async def read_all(stream: trio.abc.ReceiveStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


def wanted(messages: Iterable[Any]) -> Counter[Any]:
    """The ids that are to be answered, and how often."""
    ids: Counter[Any] = Counter()
    for message in messages:
        event = decode(json.dumps(message), batch_items=Limits().batch_items)
        for item in event.items if isinstance(event, Batch) else [event]:
            if isinstance(item, Request) or (isinstance(item, Malformed) and item.answer):
                ids[key(item.id)] += 1
    return ids


def key(id: Any) -> tuple[str, Any]:
    """Ids as they are, type included: 1 is not "1", and not True either."""
    return type(id).__name__, id


def check_messages(messages: list[Any]) -> None:
    """Each request is answered exactly once, and never with an internal error."""
    expected = wanted(messages)

    async def main() -> None:
        async with open_fuzzed() as world, open_peer(world, SECRET) as bystander:
            async with open_peer(world, SECRET) as peer:
                got: Counter[Any] = Counter()
                for message in messages:
                    await peer.say(json.dumps(message))
                await peer.say({"jsonrpc": "2.0", "id": "the last", "method": "session.ping"})
                missing = expected.copy()
                missing[key("the last")] += 1
                try:
                    while got != missing:
                        for id in answered(await hear_or_help(peer, bystander)):
                            got[id] += 1
                            assert got[id] <= missing[id], f"{id} was answered too often"
                except ConnectionClosed as closed:
                    assert closed.reason is not None
                    # Only a hello with a token that is none, or a flood, costs the connection.
                    assert closed.reason.code in (4401, 4429), closed
            await bystander.call("session.ping")

    bounded(main)


async def hear_or_help(peer: Any, bystander: Any) -> Any:
    """The next message; when there is none, what is waited for is ended by the bystander."""
    while True:
        with trio.move_on_after(30):
            return await peer.hear()
        await bystander.call("job.cancel_many", filter={})


def answered(message: Any) -> Iterator[Any]:
    """The ids that this answers."""
    for answer in message if isinstance(message, list) else [message]:
        if "method" in answer:
            continue
        if "error" in answer:
            error = answer["error"]
            assert error["message"]
            assert error["code"] != CODES["internal_error"], error
            assert CODES[error["data"]["kind"]] == error["code"]
        yield key(answer["id"])
