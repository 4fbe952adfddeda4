"""A connection that is lost is told; a server that is known to be dead is not waited for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor import Connected, ConnectionLost, Disconnected
from supervisor.cli import link
from supervisor.cli.connection import Target
from supervisor.cli.endpoint import is_live
from supervisor.cli.exits import explain
from supervisor.cli.link import BRIEF, _Link, open_link, wait_until_dead
from supervisor.testing import Schedule

LOST = Disconnected(reason="it broke", reconnects=True)
FIRST = Connected(instance="i", session_id="s")
AGAIN = Connected(instance="i", session_id="s", outage=1.25)
GIVEN_UP = Disconnected(reason="it broke", reconnects=False)


@contextmanager
def alive(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, as far as the lock on its file tells."""
    program = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def target(file: Path | None = None) -> Target:
    return Target(url="ws://127.0.0.1:1/ws", token="x", endpoint_file=file)


def changes(file: Path | None, *steps: Disconnected | Connected | float) -> list[str]:
    """What is told of these changes, and, in seconds, of the time that passes."""
    told: list[str] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            found = _Link(target(file), told.append, nursery)
            for step in steps:
                if isinstance(step, float):
                    await trio.sleep(step)
                else:
                    found.changed(step)
            nursery.cancel_scope.cancel()

    Schedule().run(main)
    return told


TOLD = ["lost the connection (it broke); trying again", "connected again, after 1.2 s"]


def test_loss_and_return_are_told() -> None:
    assert changes(None, FIRST) == []
    assert changes(None, FIRST, LOST, 0.01, LOST, 0.01) == TOLD[:1]
    assert changes(None, FIRST, LOST, 0.01, AGAIN) == TOLD
    assert changes(None, FIRST, LOST, 0.01, AGAIN, LOST, 0.01, AGAIN) == TOLD * 2


def test_of_a_server_on_this_machine_it_is_told_once_it_is_not_dead(tmp_path: Path) -> None:
    assert changes(tmp_path, LOST, BRIEF / 2, GIVEN_UP, 1.0) == []
    assert changes(tmp_path, LOST, BRIEF / 2, AGAIN, 1.0) == []
    assert changes(tmp_path, LOST, BRIEF * 2, AGAIN, 1.0) == TOLD


def test_end_is_for_others_to_tell() -> None:
    assert changes(None, FIRST, GIVEN_UP, 1.0) == []


# --- dead or alive -------------------------------------------------------------------------------


def test_dead_server_is_not_sent_the_token(tmp_path: Path) -> None:
    """Somebody else may listen on its port by now."""
    file = tmp_path / "endpoint"
    file.touch()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, fail, [listener])
            port = listener.socket.getsockname()[1]
            stranger = Target(url=f"ws://127.0.0.1:{port}/ws", token="x", endpoint_file=file)
            async with open_link(stranger, print):
                raise AssertionError("this is no server of ours")

    async def fail(stream: trio.SocketStream) -> None:
        raise AssertionError("nobody should come here")

    gone = pytest.RaisesExc(ConnectionLost, match="/ws is gone$")
    with pytest.RaisesGroup(gone, flatten_subgroups=True):
        trio.run(main)


def test_living_server_is_connected_to(tmp_path: Path) -> None:
    file = tmp_path / "endpoint"
    file.touch()

    async def main() -> None:
        with alive(file):
            async with open_link(target(file), print):
                pass

    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="cannot connect")):
        trio.run(main)


def test_end_of_a_server_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "endpoint"
    file.touch()

    async def main() -> None:
        with alive(file) as server:
            with trio.move_on_after(0.05) as waited:
                await wait_until_dead(file)
            assert waited.cancelled_caught
            server.kill()
            with trio.fail_after(20):
                await wait_until_dead(file)

    trio.run(main)


def test_file_that_is_gone_is_that_of_a_dead_server(tmp_path: Path) -> None:
    async def main() -> None:
        with trio.fail_after(20):
            await wait_until_dead(tmp_path / "nothing")

    trio.run(main)
    assert not is_live(tmp_path / "nothing")


def test_outage_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    real = link.connect_with

    def connect(*args: Any, **options: Any) -> Any:
        given.append(options["reconnect_timeout"])
        return real(*args, **options)

    monkeypatch.setattr(link, "connect_with", connect)

    async def main() -> None:
        async with open_link(target(), print):
            pass

    with pytest.RaisesGroup(ConnectionLost):
        trio.run(main)
    assert given == [10.0]


def test_words_for_programs_are_not_for_people() -> None:
    told = explain(ConnectionLost("it is gone; connect again and watch from `since`"))
    assert told is not None and str(told) == "it is gone"
