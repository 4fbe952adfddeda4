"""The faulty link does to messages what it was told to, once, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from fakes import run
from hypothesis import given
from hypothesis import strategies as st
from server_kit import frame, handshake
from trio_websocket import ConnectionClosed, wrap_client_stream, wrap_server_stream

from supervisor._server.stream import PING, close_frame, text_frame
from supervisor.testing._histories.draw import faults
from supervisor.testing._histories.faults import (
    DOWN,
    UP,
    CutAt,
    CutIn,
    Drop,
    Duplicate,
    Fault,
    Reorder,
    Silence,
)
from supervisor.testing._histories.faulty import Faults, FaultyStream, Filter, Way
from supervisor.testing._histories.frames import Splitter, payload

HEAD = handshake()
ACCEPT = b"HTTP/1.1 101 \r\nupgrade: websocket\r\n\r\n"


def masked(text: bytes) -> bytes:
    """A frame as clients send them, under a mask that changes every byte."""
    plain = frame(text)
    start = len(plain) - len(text)
    mask = b"\x11\x22\x33\x44"
    return plain[: start - 4] + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text))


WIRES = {UP: (HEAD, masked), DOWN: (ACCEPT, text_frame)}
TEXTS = [b'"a"', b'"b"', b'"c"', b'"d"']


def spoken(way: str) -> tuple[bytes, list[bytes]]:
    """A head and four messages, as they go that way."""
    head, make = WIRES[way]
    return head, [make(text) for text in TEXTS]


async def passed(way: str, plan: list[Fault], pieces: list[bytes]) -> tuple[bytes, str, Faults]:
    """Send the pieces that way over a link with these faults; what arrives, and how it ended."""
    ours, theirs = trio.testing.memory_stream_pair()
    happening = Faults(plan)
    link = FaultyStream(ours, happening)
    sender, receiver = (link, theirs) if way == UP else (theirs, link)
    arrived = bytearray()
    end = "open"

    async def receive() -> None:
        nonlocal end
        try:
            while data := await receiver.receive_some():
                arrived.extend(data)
            end = "eof"
        except trio.BrokenResourceError:
            end = "broken"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for piece in pieces:
            try:
                await sender.send_all(piece)
            except trio.BrokenResourceError:
                break
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return bytes(arrived), end, happening


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize(
    ("kind", "order"),
    [(Drop, "acd"), (Duplicate, "abbcd"), (Reorder, "acbd")],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("together", [False, True])
def test_a_message_is_dropped_doubled_or_swapped(
    way: str, kind: Callable[[str, int], Fault], order: str, together: bool
) -> None:
    head, messages = spoken(way)
    by_name = dict(zip("abcd", messages, strict=True))
    pieces = [head, *messages]
    if together:
        pieces = [b"".join(pieces)]
    arrived, end, happening = run(passed, way, [kind(way, 1)], pieces)
    assert arrived == head + b"".join(by_name[name] for name in order)
    assert end == "open"
    assert [(each.fault, each.said) for each in happening.happened] == [(kind(way, 1), "b")]


def test_the_last_message_that_is_to_be_swapped_is_not_seen_again() -> None:
    head, messages = spoken(UP)
    arrived, _, happening = run(passed, UP, [Reorder(UP, 3)], [head, *messages])
    assert arrived == head + b"".join(messages[:3])
    assert len(happening.happened) == 1


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_at_every_byte(way: str, reset: bool) -> None:
    head, messages = spoken(way)
    whole = head + b"".join(messages)
    for byte in range(0, len(whole) + 1, 3):
        cut = CutAt(way, byte, reset)
        arrived, end, happening = run(passed, way, [cut], [head, *messages])
        assert arrived == whole[:byte]
        # The server reads to the end what has come; the client hears what the fault says.
        assert end == ("broken" if way == DOWN and reset else "eof")
        assert [each.fault for each in happening.happened] == [cut]


@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_cut_in_every_byte_of_a_message(way: str) -> None:
    head, messages = spoken(way)
    for offset in range(len(messages[1]) + 1):
        cut = CutIn(way, 1, offset)
        arrived, end, happening = run(passed, way, [cut], [head, *messages])
        assert arrived == head + messages[0] + messages[1][:offset]
        assert end != "open"
        assert happening.happened[0].said == "b"


@pytest.mark.parametrize("way", [UP, DOWN])
def test_silence_is_not_told_to_anybody(way: str) -> None:
    head, messages = spoken(way)
    arrived, end, _ = run(passed, way, [Silence(way, 2)], [head, *messages])
    assert (arrived, end) == (head + messages[0] + messages[1], "open")


def test_a_silent_link_does_not_tell_of_the_other_end() -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        link = FaultyStream(ours, Faults([Silence(UP, 0)]))
        await link.send_all(HEAD)
        await link.send_all(masked(b"1"))
        await link.send_all(masked(b"2"))
        assert await theirs.receive_some() == HEAD
        await theirs.aclose()
        with trio.move_on_after(1e5) as patience:
            await link.receive_some()
        assert patience.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await link.receive_some()

    run(main)


def test_pings_and_close_frames_pass() -> None:
    pieces = [ACCEPT, PING, text_frame(b"1"), PING, close_frame(1000, "bye")]
    arrived, _, _ = run(passed, DOWN, [Drop(DOWN, 0)], pieces)
    assert arrived == ACCEPT + PING + PING + close_frame(1000, "bye")


def test_a_message_in_parts_is_one_message() -> None:
    parts = [frame(b"ab", final=False), frame(b"cd", 0, final=False), frame(b"ef", 0)]
    first = frame(b"first")
    ping = frame(b"", 9)
    arrived, _, happening = run(
        passed, UP, [Duplicate(UP, 1)], [HEAD, first, parts[0], ping, parts[1], parts[2]]
    )
    assert arrived == HEAD + first + ping + b"".join(parts) * 2
    assert payload(happening.happened[0].raw) == b"abcdef"


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
@pytest.mark.parametrize("make", [masked, text_frame])
def test_frames_of_every_length(size: int, make: Callable[[bytes], bytes]) -> None:
    text = bytes(range(256)) * (size // 256 + 1)
    message = make(text[:size])
    splitter = Splitter()
    units = [*splitter.feed(HEAD + message + message[:1]), *splitter.feed(message[1:])]
    assert [unit.raw for unit in units] == [HEAD, message, message]
    assert payload(message) == text[:size]


def test_a_refusal_passes_as_it_is() -> None:
    refusal = b"HTTP/1.1 503 busy\r\nContent-Length: 2\r\n\r\n\x81\x00"
    arrived, _, _ = run(passed, DOWN, [Drop(DOWN, 0)], [refusal])
    assert arrived == refusal


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.sampled_from([UP, DOWN]), st.lists(st.integers(0, 500), max_size=8))
def test_a_link_without_faults_changes_nothing(way: str, cuts: list[int]) -> None:
    head, messages = spoken(way)
    whole = head + b"".join(messages)
    filter = Filter(Way([], []))
    assert b"".join(filter.feed(piece).data for piece in chunks(whole, cuts)) == whole


@given(faults(1, 6), st.lists(st.integers(0, 500), max_size=8))
def test_every_fault_happens_once_and_then_the_link_is_clean(
    plan: list[Fault], cuts: list[int]
) -> None:
    happening = Faults(plan)
    for way in (UP, DOWN):
        head, messages = spoken(way)
        whole = head + b"".join(messages)
        clean = 0
        for _ in range(200):
            filter = Filter(happening.ways[way])
            got = b""
            for piece in chunks(whole, cuts):
                outcome = filter.feed(piece)
                got += outcome.data
                if outcome.end is not None:
                    break
            clean = clean + 1 if got == whole else 0
        assert clean > 20
    assert sorted(map(repr, plan)) == sorted(repr(each.fault) for each in happening.happened)


def test_a_fault_whose_message_was_taken_takes_the_next() -> None:
    head, messages = spoken(UP)
    arrived, _, _ = run(passed, UP, [Drop(UP, 1), Drop(UP, 1)], [head, *messages])
    assert arrived == head + messages[0] + messages[3]


def test_messages_and_bytes_are_counted_over_reconnects() -> None:
    head, messages = spoken(UP)
    way = Way([Drop(UP, 4), CutAt(UP, 2 * len(head) + 30)], [])
    whole = head + b"".join(messages)
    first = Filter(way).feed(whole)
    assert first == (whole, None)
    second = Filter(way).feed(head + messages[0] + messages[1])
    assert second.data == (head + messages[1])[: len(head) + 30 - len(whole) + len(head)]
    assert isinstance(second.end, CutAt)


@pytest.mark.parametrize(
    "fault", [None, Drop(UP, 1), Duplicate(DOWN, 1), Silence(UP, 1), CutIn(DOWN, 1, 3)]
)
def test_a_real_websocket_over_a_faulty_link(fault: Fault | None) -> None:
    """An echo of three words: what the library makes of each fault."""

    async def echo(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            proposal = await wrap_server_stream(nursery, stream)  # type: ignore[arg-type]
            async with await proposal.accept() as websocket:
                try:
                    while True:
                        await websocket.send_message(await websocket.get_message())
                except ConnectionClosed:
                    pass

    async def main() -> list[str]:
        ours, theirs = trio.testing.memory_stream_pair()
        heard = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, theirs)
            link = FaultyStream(ours, Faults([fault] if fault else []))
            async with trio.open_nursery() as inner:
                websocket = await wrap_client_stream(inner, link, "localhost", "/")  # type: ignore[arg-type]
                for word in ("one", "two", "three"):
                    with trio.move_on_after(1):
                        try:
                            await websocket.send_message(word)
                            heard.append(await websocket.get_message())
                        except ConnectionClosed:
                            heard.append("closed")
                inner.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        return heard

    heard = run(main)
    assert (
        heard
        == {
            type(None): ["one", "two", "three"],
            Drop: ["one", "three"],
            Duplicate: ["one", "two", "two"],
            Silence: ["one"],
            CutIn: ["one", "closed", "closed"],
        }[type(fault)]
    )
