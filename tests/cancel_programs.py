"""Programs to be cancelled everywhere: right ones, wrong ones, and those that leave something.

The line that is at fault bears a mark.
"""

# flake8: noqa: ASYNC102, ASYNC103, ASYNC104, ASYNC110, ASYNC112, ASYNC220, ASYNC230, ASYNC232
# They are wrong on purpose.

from __future__ import annotations

import linecache
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing

from supervisor.testing._cancelling import (
    CancellationUnsafe,
    cancel_everywhere,
)

Program: TypeAlias = Callable[[], Awaitable[object]]


def unsafe(*args: Any, **options: Any) -> CancellationUnsafe:
    with pytest.raises(CancellationUnsafe) as caught:
        cancel_everywhere(*args, **options)
    return caught.value


def line_marked(program: Any, mark: str) -> int:
    """The number of the line of a program that ends with this mark."""
    first = program.__code__.co_firstlineno
    for line in range(first, first + 60):
        if linecache.getline(program.__code__.co_filename, line).rstrip().endswith(f"# {mark}"):
            return int(line)
    raise AssertionError(f"no line of {program.__name__} is marked {mark!r}")


async def two_sleeps() -> None:
    await trio.sleep(1)
    await trio.sleep(2)


# --- cleanup that is right ------------------------------------------------------------------------


class Closed:
    """A resource of the kind that Trio asks for: closed first, and then a checkpoint."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class Wrapping(trio.abc.AsyncResource):
    def __init__(self, inner: Closed | trio.abc.AsyncResource) -> None:
        self.inner = inner

    async def aclose(self) -> None:
        await self.inner.aclose()


async def shielded() -> None:
    try:
        await trio.sleep(1)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)


async def shielded_for_a_limited_time() -> None:
    try:
        await trio.sleep(1)
    finally:
        with trio.move_on_after(5, shield=True):
            await trio.sleep_forever()


async def several_shielded_for_a_limited_time() -> None:
    try:
        await trio.sleep(1)
    finally:
        with trio.move_on_after(5, shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()


async def shielded_later() -> None:
    with trio.move_on_after(10) as scope:
        try:
            await trio.sleep(1)
        finally:
            scope.shield = True
            await trio.sleep(1)


async def nested_nurseries() -> None:
    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        inner.start_soon(trio.sleep, 1)
        outer.start_soon(shielded)
        await trio.sleep(2)


async def nursery_that_is_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(shielded)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()


async def memory_channels() -> None:
    async def produce(send: trio.MemorySendChannel[int]) -> None:
        async with send:
            for number in range(3):
                await send.send(number)

    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[int](0)
        nursery.start_soon(produce, send)
        async with receive:
            async for _ in receive:
                await trio.sleep(0.1)


async def trios_own_resource() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with left, right:
        await left.send_all(b"x")
        await right.receive_some(1)
    await trio.sleep(1)


async def resource_with_a_last_checkpoint() -> None:
    async with aclosing(Closed()):
        await trio.sleep(1)


async def resource_around_another() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with Wrapping(left), Wrapping(Wrapping(right)):
        await right.receive_some(1)


async def aclose_as_the_last_thing() -> None:
    stream, other = trio.testing.memory_stream_pair()
    await other.send_all(b"x")
    try:
        await stream.receive_some(1)
    finally:
        await stream.aclose()
    await other.aclose()


async def aclose_in_a_callee() -> None:
    await aclose_as_the_last_thing()
    await trio.sleep(1)


async def unshielded_by_another_that_is_cancelled() -> None:
    guard = trio.CancelScope(shield=True)

    async def guarded() -> None:
        with guard:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guarded)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            guard.shield = False
            raise


async def aclose_in_a_branch() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    try:
        await stream.receive_some(1)
    finally:
        if stream is not None:
            await stream.aclose()


async def aclose_in_a_case() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    try:
        await stream.receive_some(1)
    finally:
        match stream:
            case None:
                pass
            case _:
                await stream.aclose()


async def aclose_forcefully() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    try:
        await stream.receive_some(1)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def two_closed_in_turn() -> None:
    left, right = trio.testing.memory_stream_pair()
    try:
        await left.receive_some(1)
    finally:
        try:
            await left.aclose()
        finally:
            await right.aclose()


async def two_closed_by_a_stack() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(left)
        await stack.enter_async_context(Wrapping(right))
        await left.receive_some(1)


async def goes_on_after_aclose() -> None:
    left, right = trio.testing.memory_stream_pair()
    try:
        await left.receive_some(1)
    finally:
        gone = 0
        for stream in (left, right):
            with suppress(trio.Cancelled):
                await stream.aclose()
        try:
            await right.aclose()
        except trio.Cancelled:
            gone += 1
        assert gone == 1


async def backs_off_after_a_timeout() -> None:
    try:
        with trio.fail_after(1):
            await trio.sleep(2)
    except trio.TooSlowError:
        await trio.sleep(3)


async def backs_off_after_a_failure() -> None:
    try:
        raise OSError("no answer")
    except OSError:
        await trio.sleep(3)


@asynccontextmanager
async def locked() -> AsyncIterator[None]:
    lock = trio.Lock()
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()


async def plain_context_manager() -> None:
    async with locked():
        await trio.sleep(1)


async def closed_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(2):
            yield number

    async with aclosing(numbers()) as stream:  # type: ignore[type-var]
        async for _ in stream:
            await trio.sleep(1)


async def child_that_fails() -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise OSError("no answer")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(shielded)
            await trio.sleep(9)
    except* OSError:
        pass


async def started_child() -> None:
    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(1)
        task_status.started()
        await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)


async def primitives() -> None:
    event, limiter, condition = trio.Event(), trio.CapacityLimiter(1), trio.Condition()

    async def waiter() -> None:
        async with condition:
            event.set()
            await condition.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await event.wait()
        async with limiter, condition:
            condition.notify_all()


RIGHT: list[Program] = [
    shielded,
    shielded_for_a_limited_time,
    several_shielded_for_a_limited_time,
    shielded_later,
    nested_nurseries,
    nursery_that_is_cancelled,
    memory_channels,
    trios_own_resource,
    resource_with_a_last_checkpoint,
    resource_around_another,
    aclose_as_the_last_thing,
    aclose_in_a_callee,
    unshielded_by_another_that_is_cancelled,
    aclose_in_a_branch,
    aclose_in_a_case,
    aclose_forcefully,
    two_closed_in_turn,
    two_closed_by_a_stack,
    goes_on_after_aclose,
    backs_off_after_a_timeout,
    backs_off_after_a_failure,
    plain_context_manager,
    closed_generator,
    child_that_fails,
    started_child,
    primitives,
]


# --- cleanup that is cut short --------------------------------------------------------------------


async def unshielded() -> None:
    try:
        await trio.sleep(1)
    finally:
        await trio.sleep(1)  # cut


async def unshielded_in_except() -> None:
    try:
        await trio.sleep(1)
    except trio.Cancelled:
        await trio.sleep(1)  # cut
        raise


async def unshielded_for_a_limited_time() -> None:
    try:
        await trio.sleep(1)
    except BaseException:
        with trio.move_on_after(5):
            await trio.sleep(1)  # cut
        raise


async def unshielded_before_it_goes_on_after_aclose() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    try:
        await trio.sleep(1)
    finally:
        await trio.lowlevel.checkpoint()  # cut
        del stream


async def unshielded_in_a_helper() -> None:
    async def say_goodbye() -> None:
        await trio.sleep(1)  # cut

    try:
        await trio.sleep(1)
    finally:
        await say_goodbye()


async def unshielded_exit() -> None:
    class Connection:
        async def __aenter__(self) -> None:
            await trio.sleep(1)

        async def __aexit__(self, *_: object) -> None:
            await trio.sleep(1)  # cut

    async with Connection():
        await trio.sleep(1)


async def unshielded_context_manager() -> None:
    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await trio.sleep(1)  # cut

    async with connection():
        await trio.sleep(1)


async def aclose_that_says_goodbye_first() -> None:
    class Connection(trio.abc.AsyncResource):
        async def aclose(self) -> None:
            await trio.sleep(1)  # cut

    async with Connection():
        await trio.sleep(1)


async def aclose_that_leaves_a_part_open() -> None:
    left, right = trio.testing.memory_stream_pair()

    class Both(trio.abc.AsyncResource):
        async def aclose(self) -> None:
            await left.aclose()  # cut
            await right.aclose()

    async with Both():
        await left.receive_some(1)


async def second_aclose_is_skipped() -> None:
    left, right = trio.testing.memory_stream_pair()
    try:
        await left.receive_some(1)
    finally:
        await left.aclose()  # cut
        await right.aclose()


async def rest_of_the_loop_is_skipped() -> None:
    pair = trio.testing.memory_stream_pair()
    try:
        await pair[0].receive_some(1)
    finally:
        for stream in pair:
            await stream.aclose()  # cut


async def rest_after_a_helper_is_skipped() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    open_ones = {stream}

    async def close() -> None:
        await stream.aclose()

    try:
        await stream.receive_some(1)
    finally:
        await close()  # cut
        open_ones.clear()


async def else_is_skipped() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    try:
        await stream.receive_some(1)
    finally:
        try:
            await stream.aclose()  # cut
        except OSError:
            pass
        else:
            del stream


async def unshielded_children() -> None:
    async def child() -> None:
        try:
            await trio.sleep(1)
        finally:
            await trio.sleep(1)  # cut

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(child)


async def unshielded_after_children() -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            nursery.start_soon(trio.sleep, 1)
    finally:
        await trio.sleep(1)  # cut


async def unshielded_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            await trio.sleep(1)
            yield 1
        finally:
            await trio.sleep(1)  # cut

    async with aclosing(numbers()) as stream:  # type: ignore[type-var]
        async for _ in stream:
            pass


async def unshielded_after_translation() -> None:
    try:
        try:
            await trio.sleep(1)
        except trio.Cancelled as exc:
            raise ConnectionError from exc
    except ConnectionError:
        await trio.sleep(1)  # cut


WRONG: list[Program] = [
    unshielded,
    unshielded_in_except,
    unshielded_for_a_limited_time,
    unshielded_before_it_goes_on_after_aclose,
    unshielded_in_a_helper,
    unshielded_exit,
    unshielded_context_manager,
    aclose_that_says_goodbye_first,
    aclose_that_leaves_a_part_open,
    second_aclose_is_skipped,
    rest_of_the_loop_is_skipped,
    rest_after_a_helper_is_skipped,
    else_is_skipped,
    unshielded_children,
    unshielded_after_children,
    unshielded_generator,
    unshielded_after_translation,
]


# --- what is left behind --------------------------------------------------------------------------


KEPT: list[Any] = []
"""What a planted bug holds on to, to be closed after the test."""

HELD: list[Any] = []
"""What only has to be forgotten."""


async def leaves_a_thread() -> None:
    stop = threading.Event()
    KEPT.append(stop)
    thread = threading.Thread(target=stop.wait, name="left")
    thread.start()
    await trio.sleep(1)  # left
    stop.set()
    thread.join()


async def leaves_a_process() -> None:
    code = "print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], **pipes)  # type: ignore[call-overload]
    KEPT.append(process)
    process.stdout.readline()
    await trio.sleep(1)  # left
    process.communicate()


async def leaves_a_file_to_the_garbage_collector() -> None:
    file = open(os.devnull)  # noqa: ASYNC230, SIM115
    await trio.sleep(1)  # left
    file.close()


async def leaves_a_file_in_a_cycle() -> None:
    file = open(os.devnull)  # noqa: ASYNC230, SIM115
    file.myself = file  # type: ignore[attr-defined]
    await trio.sleep(1)  # left
    file.close()


async def leaves_a_file_open() -> None:
    KEPT.append(open(os.devnull))  # noqa: ASYNC230, SIM115
    await trio.sleep(1)  # left
    KEPT.pop().close()


async def leaves_a_descriptor() -> None:
    ends = os.pipe()
    KEPT.extend(ends)
    await trio.sleep(1)  # left
    for end in ends:
        os.close(end)


async def leaves_a_socket() -> None:
    KEPT.append(socket.socket())
    await trio.sleep(1)  # left
    KEPT.pop().close()


async def leaves_a_trio_socket() -> None:
    sock = trio.socket.socket()
    await trio.sleep(1)  # left
    sock.close()


async def leaves_a_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async for _ in numbers():
        await trio.sleep(1)  # left


async def leaves_a_generator_that_is_kept() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    HELD.append(numbers())
    async for _ in HELD[-1]:
        await trio.sleep(1)  # left


LEAKS: list[tuple[Program, str, str]] = [
    (leaves_a_thread, "thread", "thread 'left'"),
    (leaves_a_process, "process", "process"),
    (leaves_a_file_to_the_garbage_collector, "object", "unclosed file"),
    (leaves_a_file_in_a_cycle, "object", "unclosed file"),
    (leaves_a_file_open, "file", "/dev/null (descriptor "),
    (leaves_a_descriptor, "pipe", "pipe:["),
    (leaves_a_socket, "socket", "socket:["),
    (leaves_a_trio_socket, "object", "unclosed <socket.socket"),
    (leaves_a_generator, "async generator", "async generator numbers at "),
    (leaves_a_generator_that_is_kept, "async generator", "async generator numbers at "),
]


async def ends_the_server_too_late() -> None:
    stop = trio.Event()

    async def serve() -> None:
        await stop.wait()

    trio.lowlevel.spawn_system_task(serve, name="the server")
    await trio.sleep(1)
    stop.set()


# --- no end ---------------------------------------------------------------------------------------


async def waits_for_ever_when_cancelled() -> None:
    try:
        await trio.sleep(1)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.Event().wait()
        raise


async def goes_on_for_ever_when_cancelled() -> None:
    try:
        await trio.sleep(1)
        return
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            while True:
                await trio.sleep(1)


async def swallows_for_ever() -> None:
    while True:
        try:
            await trio.sleep(1)
            return
        except trio.Cancelled:
            pass
