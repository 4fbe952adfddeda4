"""The outbox below a websocket: order, bounds, deadlines, the last frame."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import frame, run

from supervisor._server.limits import Limits
from supervisor._server.stream import IDLE_FRAMES, OutboxStream, close_frame, text_frame


@asynccontextmanager
async def open_outbox(transport: trio.abc.Stream, **limits: Any) -> AsyncIterator[OutboxStream]:
    stream = OutboxStream(transport, Limits(**limits))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.flush)
        try:
            yield stream
        finally:
            with trio.CancelScope(shield=True):
                await stream.aclose()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while more := await stream.receive_some():
        data += more
    return data


def on_streams(fn: Callable[[Any, Any], Awaitable[None]]) -> None:
    """Over memory streams, and over sockets."""

    async def memory() -> None:
        await fn(*trio.testing.memory_stream_pair())

    async def sockets() -> None:
        one, two = socket.socketpair()
        await fn(*(trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (one, two)))

    run(memory)
    trio.run(sockets)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_text_frames_are_what_the_library_would_send(size: int) -> None:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import TextMessage

    payload = b"x" * size
    theirs = Connection(ConnectionType.SERVER).send(TextMessage(data=payload.decode()))
    assert text_frame(payload) == theirs


def test_close_frames_are_what_the_library_would_send() -> None:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import CloseConnection

    theirs = Connection(ConnectionType.SERVER).send(CloseConnection(code=4401, reason="out"))
    assert close_frame(4401, "out") == theirs
    assert len(close_frame(1001, "ü" * 200)) <= 2 + 125  # the most a control frame may carry


def test_everything_arrives_in_order_and_whole() -> None:
    parts = [bytes([n % 256]) * (n * 37 % 9000) for n in range(400)]

    async def check(ours: Any, theirs: Any) -> None:
        got = b""

        async def write() -> None:
            async with open_outbox(ours) as stream:
                for number, part in enumerate(parts):
                    assert stream.send_nowait(part)
                    if number % 50 == 0:
                        await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            got = await read_all(theirs)
            await theirs.aclose()
        assert got == b"".join(parts)

    on_streams(check)


def test_what_is_sent_after_something_arrived_does_not_overtake() -> None:
    async def check(ours: Any, theirs: Any) -> None:
        sent = b""

        async def write() -> None:
            nonlocal sent
            async with open_outbox(ours) as stream:
                for number in range(50):
                    part = bytes([number]) * 100_000
                    sent += part
                    stream.send_nowait(part)
                    await stream.receive_some(1)

        async with trio.open_nursery() as nursery:
            await theirs.send_all(b"x" * 50)
            nursery.start_soon(write)
            got = await read_all(theirs)
            await theirs.aclose()
        assert got == sent

    on_streams(check)


def test_many_messages_are_no_flood() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with open_outbox(ours, message_bytes=10_000) as stream:
            stream.be_patient()
            for _ in range(100):
                await theirs.send_all(frame(b"x" * 5000))
                await stream.receive_some()
                assert stream.message_received() == 5008
            await theirs.aclose()

    run(main)


def test_nothing_follows_a_close_frame() -> None:
    async def check(ours: Any, theirs: Any) -> None:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                async with open_outbox(ours) as stream:
                    stream.send_nowait(b"before")
                    stream.send_close(1001, "bye")
                    stream.send_close(1011, "again")
                    stream.send_nowait(b"after")
                    await stream.send_all(b"\x8a\x00")

            nursery.start_soon(write)
            assert await read_all(theirs) == b"before" + close_frame(1001, "bye")
            await theirs.aclose()

    on_streams(check)


def test_the_librarys_own_close_frame_is_the_last_too() -> None:
    async def check(ours: Any, theirs: Any) -> None:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                async with open_outbox(ours) as stream:
                    await stream.send_all(close_frame(1009, "large"))
                    stream.send_nowait(b"after")

            nursery.start_soon(write)
            assert await read_all(theirs) == close_frame(1009, "large")
            await theirs.aclose()

    on_streams(check)


def test_a_peer_that_does_not_read_is_cut_off_after_the_deadline() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        began = trio.current_time()
        async with open_outbox(ours, write_seconds=7, close_seconds=1) as stream:
            stream.send_nowait(b"x" * 10)
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await stream.receive_some()
            assert trio.current_time() - began == pytest.approx(7)
            assert stream.send_nowait(b"dropped")

    run(main)


def test_too_much_waiting_is_refused() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        async with open_outbox(ours, outbox_bytes=1000) as stream:
            assert stream.send_nowait(b"x" * 5000)  # one large message alone is fine
            assert not stream.send_nowait(b"y")
            stream.abort()

    run(main)


def test_all_who_want_room_are_told_once() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.lockstep_stream_pair()
        told: list[str] = []
        async with open_outbox(ours, outbox_bytes=1000) as stream:
            stream.send_nowait(b"x" * 5000)
            assert stream.crowded
            one, two = partial(told.append, "one"), partial(told.append, "two")
            for call in (one, two, one):
                stream.tell_when_room(call)
            await trio.testing.wait_all_tasks_blocked()
            assert told == []
            await theirs.receive_some(5000)
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["one", "two"]
            assert stream.send_nowait(b"y")
            stream.abort()
        assert told == ["one", "two"]

    run(main)


def test_when_nothing_will_be_sent_any_more_those_who_want_room_are_told() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        told: list[str] = []
        async with open_outbox(ours, outbox_bytes=1000) as stream:
            stream.send_nowait(b"x" * 5000)
            stream.tell_when_room(partial(told.append, "closed"))
            stream.send_close(1001, "bye")
            assert told == ["closed"]
            stream.abort()

    run(main)


def test_messages_that_were_gathered_go_at_once_and_are_counted() -> None:
    async def main() -> None:
        one, two = socket.socketpair()
        ours = trio.SocketStream(trio.socket.from_stdlib_socket(one))
        two.setblocking(False)
        async with open_outbox(ours) as stream:
            for number in range(3):
                assert stream.send_messages([b"a", b"%d" % number])
                assert two.recv(100) == b"a%d" % number
            stream.send_message(b"answer")
            assert stream.sent == 7
        two.close()

    trio.run(main)


def test_messages_beyond_the_outbox_are_not_taken() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        async with open_outbox(ours, outbox_bytes=1000) as stream:
            assert stream.send_messages([b"x" * 600, b"x" * 600])
            assert not stream.send_messages([b"y"])
            assert stream.sent == 2
            stream.abort()

    run(main)


# --- what comes in -------------------------------------------------------------------------------


def test_what_nobody_has_looked_at_is_bounded() -> None:
    """A session that is busy leaves the rest to the peer's own buffers."""

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        message = frame(b"x" * 992)
        async with open_outbox(ours, message_bytes=1000) as stream:
            stream.be_patient()
            await theirs.send_all(message * 10)
            got = b""
            with trio.move_on_after(1):
                while True:
                    got += await stream.receive_some(1000)
            assert len(got) == 3000
            stream.message_received()
            got += await stream.receive_some(1000)
            with trio.move_on_after(1) as scope:
                await stream.receive_some(1000)
            assert scope.cancelled_caught
            for _ in range(3):
                stream.message_received()
            while len(got) < 10_000:
                got += await stream.receive_some(1000)
                stream.message_received()
            assert got == message * 10
            await theirs.aclose()

    run(main)


def test_many_frames_without_a_message_are_passed_on_a_few_at_a_time() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        flood = frame(b"", 1, final=False) + frame(b"", 0, final=False) * 199 + frame(b"x", 0)
        async with open_outbox(ours) as stream:
            stream.be_patient()
            await theirs.send_all(flood)
            parts: list[bytes] = []
            while sum(map(len, parts)) < len(flood):
                with trio.testing.assert_checkpoints():
                    parts.append(bytes(await stream.receive_some()))
            assert b"".join(parts) == flood
            assert max(map(len, parts)) == 6 * IDLE_FRAMES
            assert stream.message_received() == len(flood)
            await theirs.aclose()

    run(main)


@pytest.mark.parametrize("opcode", [0, 9, 10])
def test_empty_frames_on_end_are_a_flood(opcode: int) -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with open_outbox(ours) as stream:
            stream.be_patient()
            await theirs.send_all(frame(b"", opcode, final=opcode != 0) * 200_000)
            got = 0
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    got += len(await stream.receive_some())
            assert got < 6 * 25_000
            await theirs.aclose()

    run(main)


def test_closing_is_bounded_when_the_peer_neither_reads_nor_leaves() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        began = trio.current_time()
        async with open_outbox(ours, close_seconds=1) as stream:
            stream.send_nowait(b"x")
            stream.send_close(1001, "bye")
        assert trio.current_time() - began == pytest.approx(1)

    run(main)


def test_a_flood_without_a_message_ends_and_a_trickle_does_not() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with open_outbox(ours, message_bytes=10_000) as stream:
            stream.be_patient()
            for _ in range(100):
                await theirs.send_all(b"x" * 1000)
                await stream.receive_some()
                await trio.sleep(1)
            with pytest.raises(trio.BrokenResourceError):
                for _ in range(100):
                    await theirs.send_all(b"x" * 1000)
                    await stream.receive_some()
            said = await theirs.receive_some()
            assert (said[0], said[2:4]) == (0x88, (1009).to_bytes(2, "big"))
            await theirs.aclose()

    run(main)


def test_a_cancelled_flush_leaves_nobody_waiting() -> None:
    async def main() -> None:
        ours, _ = trio.testing.lockstep_stream_pair()
        stream = OutboxStream(ours, Limits())
        told = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.flush)
            stream.send_nowait(b"x" * 300_000)
            await trio.testing.wait_all_tasks_blocked()
            stream.tell_when_room(told.set)
            nursery.cancel_scope.cancel()
        assert told.is_set()
        await stream.aclose()
        await stream.aclose()
        assert stream.closed.is_set()

    run(main)
