"""The end of connections, sessions and servers: bounded, orderly, and each its own affair."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import (
    OTHER,
    SECRET,
    TOKENS,
    Peer,
    RawPeer,
    World,
    frame,
    handshake,
    open_peer,
    open_tcp_peer,
    open_world,
    registry,
    request,
    run,
)
from trio_websocket import wrap_client_stream

from supervisor._model import JobRequest
from supervisor._open import open_supervisor
from supervisor._server import Address, Auth, Limits, Token, serve
from supervisor._server.frames import Frames
from supervisor._server.places import _listen
from supervisor._server.session import Session
from supervisor._server.stream import PING


async def raw_session(world: World, token: str | None = SECRET) -> RawPeer:
    raw = RawPeer(world.open_stream())
    await raw.stream.send_all(handshake(token))
    await raw.head()
    return raw


def no_warnings(caplog: pytest.LogCaptureFixture) -> bool:
    return not [r for r in caplog.records if r.levelno >= logging.WARNING]


# --- one connection -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff" * 100,
        frame(b"x", 3),
        frame(b"x", 0),
        b"\x81\x05hello",  # not masked
        frame(b"\xff\xfe", 1),
        frame(b"x", 9, final=False),
        frame((999).to_bytes(2, "big"), 8),
        frame(b"", 1, final=False),
    ],
)
def test_a_broken_connection_hurts_no_other(rubbish: bytes) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            raw = await raw_session(world)
            await raw.stream.send_all(rubbish)
            await raw.stream.send_eof()
            await raw.read_all()
            await raw.stream.aclose()
            assert "head_seq" in await peer.call("session.ping")
            await trio.testing.wait_all_tasks_blocked()
            assert len(world.server.sessions) == 1

    run(main)


class Exploding(trio.abc.Stream):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise ZeroDivisionError("a bug in a transport")

    async def send_all(self, data: object) -> None:
        raise ZeroDivisionError("a bug in a transport")

    async def wait_send_all_might_not_block(self) -> None: ...

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


def test_a_bug_below_one_connection_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            transport = Exploding()
            world.server.nursery.start_soon(world.server.serve_stream, transport)
            await trio.testing.wait_all_tasks_blocked()
            assert await peer.call("session.ping")
            assert transport.closed

    run(main)
    assert "a connection failed" in caplog.text


def test_a_ping_after_our_close_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as other:
            raw = await raw_session(world, None)
            await raw.stream.send_all(frame(request("session.ping")))
            assert json.loads((await raw.frame())[1])["error"]["code"] == -32015
            opcode, payload = await raw.frame()
            assert (opcode, payload[:2]) == (8, (4401).to_bytes(2, "big"))
            await raw.stream.send_all(frame(b"hi", 9) + frame(b"hi", 9))
            await trio.testing.wait_all_tasks_blocked()
            await raw.stream.send_all(frame(payload, 8))
            assert await raw.read_all() == b"", "something followed the close frame"
            assert await other.call("session.ping")

    run(main)
    assert no_warnings(caplog)


def test_a_close_from_the_peer_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = await raw_session(world)
            await raw.stream.send_all(frame((1000).to_bytes(2, "big"), 8))
            opcode, payload = await raw.frame()
            assert (opcode, payload) == (8, (1000).to_bytes(2, "big"))
            assert await raw.read_all() == b""
            await trio.testing.wait_all_tasks_blocked()
            assert not world.server.sessions

    run(main)
    assert no_warnings(caplog)


def test_a_message_that_is_too_large_closes_with_1009() -> None:
    async def main() -> None:
        limits = Limits(message_bytes=10_000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.say("x" * 10_001)
            assert await peer.closed() == 1009

    run(main)


def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = await raw_session(world)
            began = trio.current_time()
            first, size = await raw._read(2)
            assert bytes((first, size)) == PING
            assert trio.current_time() - began == pytest.approx(20)
            assert await raw.read_all() == b""
            assert trio.current_time() - began == pytest.approx(40)

    run(main)


def test_a_peer_that_answers_pings_stays() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await trio.sleep(1000)
            assert await peer.call("session.ping")

    run(main)


def test_a_client_that_does_not_read_is_not_listened_to_and_ended_by_the_deadline() -> None:
    async def main() -> None:
        limits = Limits(outbox_bytes=20_000, write_seconds=5)
        async with open_world(limits=limits) as world:
            ours, theirs = trio.testing.lockstep_stream_pair()
            world.server.nursery.start_soon(world.server.serve_stream, theirs)
            raw = RawPeer(ours)
            await raw.stream.send_all(handshake())
            await raw.head()
            began = trio.current_time()
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                for number in range(100_000):
                    await raw.stream.send_all(frame(request("server.info", number)))
            assert number < 1000
            assert trio.current_time() - began == pytest.approx(5)
            await trio.testing.wait_all_tasks_blocked()
            assert not world.server.sessions

    run(main)


@pytest.mark.parametrize(("size", "asked"), [(300_000, 40), (10, 2000)])
def test_a_client_that_asks_for_much_and_reads_late_gets_it_all(size: int, asked: int) -> None:
    async def main() -> None:
        limits = Limits(outbox_bytes=400_000, write_seconds=1e6)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            (session,) = world.server.sessions
            flow = trio.Event()
            value = "x" * size
            await peer.call("job.run", name="nap", args={"seconds": 0, "value": value}, job_id="a")
            transport = session.stream._transport
            pump = transport.send_stream.send_all_hook  # type: ignore[attr-defined]

            async def hook() -> None:
                await flow.wait()
                await pump()

            transport.send_stream.send_all_hook = hook  # type: ignore[attr-defined]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.websocket.ping)
                ids = [await peer.ask("job.get", job_id="a") for _ in range(asked)]
                # Longer than any silence may last: we do not listen, so it says nothing.
                await trio.sleep(5 * limits.heartbeat_seconds)
                assert len(session.stream._out) < 2 * 400_000
                flow.set()
                for id in ids:
                    assert (await peer.answer(id))["job"]["result"] == value

    run(main)


# --- the server ---------------------------------------------------------------------------------


def test_shutdown_over_the_wire_keeps_the_channel_until_the_last_job_is_dead() -> None:
    async def main() -> None:
        async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
            address: Address = await nursery.start(partial(serve, sup, auth=Auth(TOKENS)))
            async with open_tcp_peer(address) as peer:
                await peer.call("events.subscribe")
                await peer.call("job.start", name="stubborn", args={"seconds": 0.2}, job_id="a")
                await peer.event("job.started")
                wait = await peer.ask("job.wait", job_id="a")
                assert await peer.call("server.shutdown", mode="cancel") == {"ok": True}
                await peer.event("job.cancelling")
                assert (await peer.call("job.get", job_id="a"))["job"]["rung"] == "cancel"
                assert (await peer.answer(wait))["job"]["state"] == "succeeded"
                assert await peer.closed() == 1001
                seen = [p.get("type", m) for m, p in peer.notifications]
                assert seen[-2:] == ["job.finished", "session.closing"]
                assert peer.notifications[-1][1]["reason"] == "shutdown"

    trio.run(main)


def test_new_jobs_are_refused_while_draining() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", args={"seconds": 5}, job_id="a")
            await peer.call("server.shutdown", mode="drain")
            await peer.ask("job.start", id=1, name="nap")
            message = await peer.hear()
            assert message["error"]["code"] == -32014
            assert message["error"]["data"]["retryable"] is True

    run(main)


def test_events_that_wait_go_out_before_the_goodbye() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            for _ in range(300):
                world.sup.start_nowait(JobRequest("nap"))
            world.server.nursery.start_soon(world.server.close)
            assert await peer.closed() == 1001
            methods = [method for method, _ in peer.notifications]
            assert methods[:300] == ["events.event"] * 300
            assert methods[-1] == "session.closing"

    run(main)


@asynccontextmanager
async def open_stuck_peer(world: World) -> AsyncIterator[tuple[Peer, trio.Event]]:
    """A client to which nothing more is sent once it has asked for a large answer, until the event
    is set."""
    ours, theirs = trio.testing.memory_stream_pair()
    flow, stuck = trio.Event(), False
    pump = theirs.send_stream.send_all_hook  # type: ignore[attr-defined]

    async def hook() -> None:
        if stuck:
            await flow.wait()
        await pump()

    theirs.send_stream.send_all_hook = hook  # type: ignore[attr-defined]
    world.server.nursery.start_soon(world.server.serve_stream, theirs)
    async with trio.open_nursery() as nursery:
        headers = [(b"Authorization", b"Bearer " + SECRET.encode())]
        websocket = await wrap_client_stream(
            nursery,
            ours,  # type: ignore[arg-type]
            "localhost",
            "/ws",
            extra_headers=headers,
            message_queue_size=1000,
        )
        peer = Peer(websocket)
        value = "x" * 300_000
        await peer.call("job.run", name="nap", args={"seconds": 0, "value": value}, job_id="big")
        await peer.call("events.subscribe")
        stuck = True
        await peer.ask("job.get", id="big", job_id="big")
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield peer, flow
        finally:
            nursery.cancel_scope.cancel()
            flow.set()


PATIENT = {"write_seconds": 1e6, "heartbeat_seconds": 1e6}


@pytest.mark.parametrize("outbox_bytes", [200_000, 2**24])
def test_answers_that_fill_the_outbox_cost_no_event(outbox_bytes: int) -> None:
    async def main() -> None:
        limits = Limits(outbox_bytes=outbox_bytes, **PATIENT)
        async with open_world(limits=limits) as world, open_stuck_peer(world) as (peer, flow):
            for _ in range(100):
                world.sup.start_nowait(JobRequest("nap"))
            await trio.testing.wait_all_tasks_blocked()
            seqs = range(world.sup.head_seq - 199, world.sup.head_seq + 1)
            flow.set()
            await peer.answer("big")
            while len(peer.notifications) < 200:
                message = await peer.hear()
                peer.notifications.append((message["method"], message["params"]))
            assert [params["seq"] for _, params in peer.notifications] == [*seqs]

    run(main)


@pytest.mark.parametrize(("outbox_bytes", "code"), [(200_000, 1013), (2**24, 1001)])
def test_whoever_cannot_be_sent_the_last_events_is_told_so(outbox_bytes: int, code: int) -> None:
    async def main() -> None:
        limits = Limits(outbox_bytes=outbox_bytes, **PATIENT)
        async with open_world(limits=limits) as world, open_stuck_peer(world) as (peer, flow):
            world.sup.start_nowait(JobRequest("nap"))
            await trio.testing.wait_all_tasks_blocked()
            world.server.nursery.start_soon(world.server.close)
            await trio.testing.wait_all_tasks_blocked()
            flow.set()
            assert await peer.closed() == code
            types = [params.get("type", method) for method, params in peer.notifications]
            whole = ["job.starting", "job.started", "session.closing"]
            assert types == (whole if code == 1001 else [])

    run(main)


def test_a_client_that_is_far_behind_at_the_end_hurts_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor._watch.EVENTS_BEHIND", 20)

    async def main() -> None:
        async with (
            open_world(limits=Limits(**PATIENT)) as world,
            open_stuck_peer(world) as (peer, flow),
            open_peer(world) as other,
        ):
            for _ in range(50):
                world.sup.start_nowait(JobRequest("nap"))
            await trio.testing.wait_all_tasks_blocked()
            world.server.nursery.start_soon(world.server.close)
            assert await other.closed() == 1001
            flow.set()
            assert await peer.closed() == 1013

    run(main)


def test_a_goodbye_that_fails_hurts_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = Session.say_goodbye

    def say_goodbye(self: Session, *args: Any) -> None:
        if self.name == "other":
            raise RuntimeError("as told")
        good(self, *args)

    monkeypatch.setattr(Session, "say_goodbye", say_goodbye)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer, open_peer(world, OTHER):
            world.server.nursery.start_soon(world.server.close)
            assert await peer.closed() == 1001
            await trio.testing.wait_all_tasks_blocked()
            assert not world.server.sessions

    run(main)
    assert "as told" in caplog.text


@pytest.mark.parametrize("error", [TypeError("as told"), SystemExit("as told")])
@pytest.mark.parametrize("closing", [False, True])
def test_events_that_cannot_be_passed_on_end_the_connection(
    error: BaseException,
    closing: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def of(self: Frames, *args: Any) -> Any:
        raise error

    monkeypatch.setattr(Frames, "of", of)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer, open_peer(world) as other:
            await peer.call("events.subscribe")
            world.sup.start_nowait(JobRequest("nap"))
            if closing:
                world.server.nursery.start_soon(world.server.close)
            assert await peer.closed() == 1011
            if not closing:
                await other.call("session.ping")

    run(main)
    assert "as told" in caplog.text


def test_answers_that_take_a_while_go_out_before_the_goodbye() -> None:
    async def main() -> None:
        async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
            address: Address = await nursery.start(partial(serve, sup, auth=Auth(TOKENS)))
            async with open_tcp_peer(address) as peer:
                await peer.call("job.start_many", jobs=[{"name": "nap"}] * 600)
                id = await peer.ask("job.cancel_many", filter={}, wait="finished")
                await peer.tell("server.shutdown")
                assert len((await peer.answer(id))["results"]) == 600
                assert await peer.closed() == 1001

    trio.run(main)


def test_requests_of_a_connection_that_is_being_closed_are_not_waited_for() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            await peer.ask("job.wait", job_id="a")
            await trio.testing.wait_all_tasks_blocked()
            (session,) = world.server.sessions
            assert session.intake.calls
            session.close_nowait(1008, "as told")
            with trio.testing.assert_no_checkpoints():
                await session.intake.quiet()

    run(main)


def test_whoever_has_not_said_anything_is_just_dropped() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = RawPeer(world.open_stream())
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await world.server.close()
            assert trio.current_time() == began
            assert await raw.read_all() == b""

    run(main)


def test_a_closed_connection_is_gone_within_a_second_even_if_the_peer_is_not() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = await raw_session(world, None)
            assert (await raw.frame())[0] == 8  # 4408, and the peer does not react
            await trio.sleep(1.01)
            assert "0 sessions" in repr(world.server)
            assert not world.server._streams
            await raw.stream.aclose()

    run(main)


def test_a_refusal_arrives_even_if_the_client_talks_on() -> None:
    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            address: Address = await nursery.start(partial(serve, sup, auth=Auth(TOKENS)))
            for _ in range(5):
                async with await trio.open_tcp_stream(address.host, address.port) as stream:
                    await stream.send_all(handshake("wrong") + b"x" * 100_000)
                    status, text = await RawPeer(stream).http(b"")
                    assert status == 401
                    assert "session.hello" in text
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_name_with_several_addresses_gets_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    real = trio.open_tcp_listeners

    async def two(port: int, *, host: str) -> list[trio.SocketListener]:
        return [*await real(0, host="127.0.0.1"), *await real(0, host="127.0.0.1")]

    async def main() -> None:
        monkeypatch.setattr(trio, "open_tcp_listeners", two)
        listeners = await _listen("somewhere", 0)
        assert len(listeners) == 1
        await listeners[0].aclose()

    trio.run(main)


@pytest.mark.parametrize("polite", [True, False])
def test_a_cancelled_server_says_1001_within_a_second(polite: bool) -> None:
    async def main() -> None:
        async with open_supervisor(registry()) as sup:
            codes: list[Any] = []

            async def client(
                address: Address, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
            ) -> None:
                async with open_tcp_peer(address) as peer:
                    await peer.call("job.start", name="nap", job_id="a")
                    await peer.ask("job.wait", job_id="a")
                    task_status.started()
                    codes.append(await peer.closed())
                    codes.append(peer.notifications[-1][0])

            async def rude(address: Address) -> trio.SocketStream:
                stream = await trio.open_tcp_stream(address.host, address.port)
                await stream.send_all(handshake())
                return stream

            async with trio.open_nursery() as clients, trio.open_nursery() as servers:
                address: Address = await servers.start(partial(serve, sup, auth=Auth(TOKENS)))
                await clients.start(client, address)
                if not polite:
                    stream = await rude(address)  # never reads, never answers
                servers.cancel_scope.cancel()
                began = trio.current_time()
            assert trio.current_time() - began < 5  # one second, and a slow machine
            assert codes == [1001, "session.closing"]
            if not polite:
                await stream.aclose()
            with pytest.raises(OSError):
                await trio.open_tcp_stream(address.host, address.port)
            assert (await sup.get("a")).state == "running"

    trio.run(main)


def test_the_goodbye_of_a_cancelled_server_is_bounded_by_the_clock() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_world() as world:
                ours, theirs = trio.testing.lockstep_stream_pair()
                world.server.nursery.start_soon(world.server.serve_stream, theirs)
                await ours.send_all(handshake())
                await trio.testing.wait_all_tasks_blocked()
                began = trio.current_time()
                scope.cancel()
        assert trio.current_time() - began <= 1.001

    run(main)


def test_serve_tells_where_it_is_and_takes_one_token_alone() -> None:
    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            address: Address = await nursery.start(
                partial(serve, sup, "localhost", auth=Token("me", "abc"))
            )
            assert address.url == f"ws://localhost:{address.port}/ws"
            assert address.http_url == f"http://localhost:{address.port}"
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_port_that_is_taken_is_an_oserror() -> None:
    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            address: Address = await nursery.start(partial(serve, sup, auth=Token("me", "abc")))
            with pytest.raises(BaseException) as info:
                await serve(sup, port=address.port, auth=Token("me", "abc"))
            assert isinstance(info.value, OSError), info.value
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_serve_ends_by_itself_when_the_supervisor_was_shut_down() -> None:
    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            await nursery.start(partial(serve, sup, auth=Token("me", "abc")))
            sup.shutdown_nowait()

    trio.run(main)
