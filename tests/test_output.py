"""Lines out of bytes, however the bytes come."""

from __future__ import annotations

import fcntl
import os
from itertools import pairwise

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from supervisor.launchers._output import MAX_LINE, LineSplitter, PipeReader


def split(*chunks: bytes) -> list[bytes]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + list(splitter.end())


def test_lines_are_without_their_ends() -> None:
    assert split(b"a\nb\r\n\nc") == [b"a", b"b", b"", b"c"]
    assert split(b"") == []
    assert split(b"a\rb\n") == [b"a\rb"]


def test_a_line_that_just_fits_is_one_piece() -> None:
    assert split(b"x" * MAX_LINE + b"\n") == [b"x" * MAX_LINE]
    assert split(b"x" * MAX_LINE, b"\n") == [b"x" * MAX_LINE]
    assert [len(line) for line in split(b"x" * (MAX_LINE + 1), b"\ny")] == [MAX_LINE, 1, 1]


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        list(splitter.feed(b"x" * 50_000))
        assert len(splitter._rest) <= MAX_LINE


@given(st.lists(st.text(alphabet="ab\r\n", max_size=20).map(str.encode), max_size=10))
def test_how_the_bytes_come_makes_no_difference(chunks: list[bytes]) -> None:
    assert split(*chunks) == split(b"".join(chunks))


def reader_and_pipe(lines: list[bytes]) -> tuple[PipeReader, int]:
    read, write = os.pipe2(os.O_NONBLOCK)
    return PipeReader(read, lines.append), write


async def test_reads_to_the_end_of_the_pipe() -> None:
    lines: list[bytes] = []
    reader, write = reader_and_pipe(lines)
    os.write(write, b"one\ntwo")
    os.close(write)
    await reader.run()
    assert lines == [b"one", b"two"]


async def test_finish_reads_what_is_there_though_the_pipe_stays_open() -> None:
    lines: list[bytes] = []
    reader, write = reader_and_pipe(lines)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        await trio.testing.wait_all_tasks_blocked()
        os.write(write, b"one\ntwo")
        reader.finish()
    os.close(write)
    assert lines == [b"one", b"two"]


async def test_a_stranger_who_goes_on_writing_is_not_listened_to_for_ever() -> None:
    write = -1
    lines: list[bytes] = []

    def refill(line: bytes) -> None:
        lines.append(line)
        os.write(write, line + b"\n")

    read, write = os.pipe2(os.O_NONBLOCK)
    capacity = fcntl.fcntl(read, fcntl.F_GETPIPE_SZ)
    os.write(write, b"x\n")
    reader = PipeReader(read, refill)
    reader.finish()
    with trio.fail_after(60):
        await reader.run()
    os.close(write)
    assert len(lines) <= capacity


async def test_yields_between_lines() -> None:
    lines: list[bytes] = []
    reader, write = reader_and_pipe(lines)
    os.write(write, b"\n" * 16_000)
    os.close(write)
    seen: list[int] = []

    async def watch() -> None:
        while len(lines) < 16_000:
            seen.append(len(lines))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(reader.run)
    assert max(b - a for a, b in pairwise(seen)) <= 512
