"""Output on its way out: whole, in order, and never in the way of anything else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO

import pytest
import trio
import trio.testing

from supervisor import LogEntry
from supervisor.cli import streams
from supervisor.cli.streams import Streams, data_of


def entry(text: str, stream: str = "stdout", base64: str | None = None) -> LogEntry:
    return LogEntry(
        job_id="j1", attempt=1, n=1, time=datetime(2026, 1, 1, tzinfo=UTC), stream=stream,
        text=text, base64=base64,
    )  # fmt: skip


def test_bytes_are_written_as_they_were_but_not_on_a_terminal() -> None:
    line = entry("a\ufffd\x1b[31mb", base64="Yf8bWzMxbWI=")
    assert data_of(line, on_terminal=False) == b"a\xff\x1b[31mb\n"
    assert data_of(line, on_terminal=True) == "a\ufffdb\n".encode()
    assert data_of(entry("\ud800"), on_terminal=False) == b"?\n"


@contextmanager
def pipe() -> Iterator[tuple[int, IO[str]]]:
    read, write = os.pipe()
    with open(write, "w", encoding="utf-8") as stream:
        try:
            yield read, stream
        finally:
            with suppress(OSError):  # a test may have closed it
                os.close(read)


def test_lines_go_where_they_belong() -> None:
    async def main() -> None:
        with pipe() as (out, out_stream), pipe() as (err, err_stream):
            written = Streams(out_stream, err_stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(written.serve)
                written.line(entry("one"))
                written.line(entry("two", "stderr"))
                written.line(entry("three", "log"))
                written.data("four")
                written.say("five \x1b[31mred")
                with trio.fail_after(5):
                    await written.drained()
                nursery.cancel_scope.cancel()
            assert os.read(out, 1000) == b"one\nfour\n"
            assert os.read(err, 1000) == b"two\nthree\ntrio-supervisor: five red\n"

    trio.run(main)


def test_reader_that_has_left_is_noticed_and_stderr_goes_on() -> None:
    async def main() -> None:
        with pipe() as (out, out_stream), pipe() as (err, err_stream):
            os.close(out)
            written = Streams(out_stream, err_stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(written.serve)
                written.line(entry("lost"))
                with trio.fail_after(5):
                    await written.broken.wait()
                written.line(entry("dropped"))
                written.say("told")
                with trio.fail_after(5):
                    await written.drained()
                nursery.cancel_scope.cancel()
            assert os.read(err, 1000) == b"trio-supervisor: told\n"
            forget(out_stream)

    trio.run(main)


def test_reader_that_does_not_read_holds_up_the_writer_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "WAITING_LIMIT", 100_000)

    async def main() -> None:
        with pipe() as (out, out_stream), pipe() as (_, err_stream):
            written = Streams(out_stream, err_stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(written.serve)
                for _ in range(4):
                    written.line(entry("x" * 100_000))
                    await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(0.05) as waited:
                    await written.room()
                assert waited.cancelled_caught
                reader = threading.Thread(target=read_all, args=(out, 400_004))
                reader.start()
                with trio.fail_after(5):
                    await written.room()
                    await written.drained()
                reader.join()
                nursery.cancel_scope.cancel()

    trio.run(main)


def read_all(fd: int, count: int) -> None:
    while count:
        count -= len(os.read(fd, count))


def forget(stream: IO[str]) -> None:
    """What is left in its buffer shall go nowhere."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def test_closed_streams_are_no_failure() -> None:
    with open(os.devnull, "w") as closed:
        pass

    async def main() -> None:
        written = Streams(closed, closed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(written.serve)
            written.say("to nobody")
            with trio.fail_after(5):
                await written.drained()
            assert not written.broken.is_set()
            nursery.cancel_scope.cancel()

    trio.run(main)
