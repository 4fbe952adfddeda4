"""Reading the heads of frames: where messages end, what never becomes one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_kit import frame

from supervisor._server.meter import FRAME_COST, TRICKLE, FrameMeter, Patience


def measured(data: bytes, step: int, most: int = 10**9) -> tuple[list[int], int, bytes]:
    """Sizes of messages, idle frames, and what was passed on, fed in pieces of `step` bytes."""
    meter = FrameMeter()
    messages, idle, passed = [], 0, b""
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        while piece:
            taken = meter.measure(piece, most)
            assert taken > 0
            assert meter.idle <= most
            messages += meter.messages
            idle += meter.idle
            passed += piece[:taken]
            piece = piece[taken:]
    return messages, idle, passed


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2, 8, 9, 10]),
        st.booleans(),
        st.sampled_from([0, 1, 125, 126, 200, 65535, 65536]),
    ),
    max_size=8,
)


@given(FRAMES, st.sampled_from([1, 2, 7, 1000, 10**6]), st.integers(1, 3))
def test_however_it_arrives_messages_end_where_they_end(
    frames: list[tuple[int, bool, int]], step: int, most: int
) -> None:
    frames = [each for each in frames if step > 100 or each[2] < 1000]
    wires = [frame(b"x" * size, opcode, final=final) for opcode, final, size in frames]
    sizes, idle, open_bytes = [], 0, 0
    for (opcode, final, _), wire in zip(frames, wires, strict=True):
        open_bytes += len(wire)
        if final and opcode < 8:
            sizes.append(open_bytes)
            open_bytes = 0
        else:
            idle += 1
    data = b"".join(wires)
    assert measured(data, step, most) == (sizes, idle, data)


def test_an_unmasked_frame_has_a_shorter_head() -> None:
    assert measured(b"\x81\x03abc" + b"\x81\x7e\x00\x80" + b"x" * 128, 4) == (
        [5, 132],
        0,
        b"\x81\x03abc" + b"\x81\x7e\x00\x80" + b"x" * 128,
    )


@pytest.mark.parametrize("size", [0, 1, 125])
def test_one_short_message_is_seen_at_once_and_nothing_else_is(size: int) -> None:
    meter = FrameMeter()
    data = frame(b"x" * size)
    assert meter.is_one_message(data)
    assert meter.is_one_message(frame(b"x" * size, 2))
    for other in (
        data + b"x",
        data[:-1],
        frame(b"x" * size, 9),
        frame(b"x" * size, final=False),
        b"\x81" + bytes((size,)) + b"x" * size,
        frame(b"x" * 126),
        b"",
    ):
        assert not meter.is_one_message(other)
    meter.measure(frame(b"", final=False), 10)
    assert not meter.is_one_message(data)


def test_it_stops_behind_so_many_frames() -> None:
    meter = FrameMeter()
    data = frame(b"", 9) * 10
    assert meter.measure(data, 4) == 4 * 6
    assert meter.idle == 4
    assert meter.measure(data[24:], 100) == 6 * 6
    assert meter.idle == 6


@given(st.binary(max_size=300), st.integers(1, 50))
def test_nonsense_is_no_error(data: bytes, step: int) -> None:
    assert measured(data, step)[2] == data


def at(now: float) -> Callable[[], float]:
    return lambda: now


def test_patience_has_an_end() -> None:
    patience = Patience(1000, now=50.0)
    assert patience.spend(1000, at(50.0))
    assert not patience.spend(1, at(50.0))


def test_a_trickle_is_fine_for_ever() -> None:
    patience = Patience(1000, now=0.0)
    assert all(patience.spend(TRICKLE, at(float(second))) for second in range(1, 1000))
    assert not all(patience.spend(TRICKLE + 100, at(999.0 + second)) for second in range(1, 1000))


def test_the_clock_may_go_back() -> None:
    patience = Patience(1000, now=500.0)
    assert not patience.spend(1001, at(0.0))
    assert patience.spend(1, at(1.0))


@pytest.mark.parametrize("size", [126, 1000, 1024 * 1024])
def test_a_message_in_many_fragments_is_forgiven(size: int) -> None:
    """Pieces of 125 bytes, one message after the other, for ever."""
    patience = Patience(2 * 1024 * 1024, now=0.0)
    for _ in range(20):
        for _ in range(size // 125):
            assert patience.spend(131 + FRAME_COST, at(0.0))
        patience.earn(size)
        assert not patience.tried  # all of it is forgiven


def test_pings_between_messages_are_forgiven_up_to_a_point() -> None:
    patience = Patience(100_000, now=0.0)

    def last(pings: int) -> bool:
        good = True
        for _ in range(100):
            good = all(patience.spend(6 + FRAME_COST, at(0.0)) for _ in range(pings))
            patience.earn(50)
        return good

    assert last(70)
    assert not last(1000)
