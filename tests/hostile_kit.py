"""A server under attack, and a bystander who has nothing to do with it.

Three processes, so that each figure tells about one thing only: the server lives in one, the
attackers in another, and the bystander in the test's own. The other two are started once for all
tests (`machine`); a test asks one for a server and the other for an attack over a control
connection, and both end with it.

Run as a script, this file is either of the two: it serves control connections on a port, which it
prints, until its standard input ends.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from server_kit import SECRET, TOKENS, Peer, open_tcp_peer
from server_kit import registry as small_registry

from supervisor import Address, Auth, Limits, Registry, open_supervisor, serve

PATIENCE = 60.0
"""Seconds after which a test that hangs is given up."""

SOCKETS = 4096
"""File descriptors that the largest attack needs, on either side."""


# --- lines of JSON --------------------------------------------------------------------------------


class Lines:
    """Requests and answers on a control connection, one JSON document a line."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._got = bytearray()

    async def send(self, value: Any) -> None:
        await self._stream.send_all(json.dumps(value).encode() + b"\n")

    async def receive(self) -> Any:
        """The next document; None at the end."""
        while b"\n" not in self._got:
            data = await self._stream.receive_some()
            if not data:
                return None
            self._got += data
        line, _, rest = bytes(self._got).partition(b"\n")
        self._got[:] = rest
        return json.loads(line)

    async def call(self, do: str, **params: Any) -> Any:
        """Ask, and return the answer.

        Raises:
            RuntimeError: there is none; what it was is on the standard error of that process.
        """
        await self.send({"do": do, **params})
        answer = await self.receive()
        if answer is None:
            raise RuntimeError(f"the other process failed at {do}")
        return answer


# --- the server's process -------------------------------------------------------------------------


class Observer(trio.abc.Instrument):
    """Sees when tasks are gone, and how long the loop was busy in one go.

    Attributes:
        longest: processor seconds of the longest pass of the loop: of all tasks that could run,
            once each. Nothing is read from any socket meanwhile.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = math.inf
        self._target = -1
        self._reached = trio.Event()

    def after_io_wait(self, timeout: float) -> None:
        self._began = thread_time()

    def before_io_wait(self, timeout: float) -> None:
        self.longest = max(self.longest, thread_time() - self._began)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        if trio.lowlevel.current_statistics().tasks_living <= self._target:
            self._reached.set()

    async def wait_few_tasks(self, target: int) -> None:
        """Return once there are no more tasks than this."""
        self._target, self._reached = target, trio.Event()
        if trio.lowlevel.current_statistics().tasks_living > target:
            await self._reached.wait()
        self._target = -1


def count() -> dict[str, int]:
    """What a server costs at the moment."""
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "fds": len(os.listdir("/proc/self/fd")) - 1,
        **memory(),
    }


def memory() -> dict[str, int]:
    """Resident bytes, and the most there were since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return {"rss": int(sizes["VmRSS"]) * 1024, "peak": int(sizes["VmHWM"]) * 1024}


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def registry() -> Registry:
    """The jobs of the other tests, and some that are hard on memory."""
    registry = small_registry()

    @registry.job
    async def chatter(lines: int, size: int = 100, pause: int = 100) -> None:
        """Log on end."""
        from supervisor import current_job

        job, text = current_job(), "x" * size
        for number in range(lines):
            job.log(text)
            if number % pause == 0:
                await trio.lowlevel.checkpoint()

    return registry


async def serve_one(lines: Lines, order: dict[str, Any]) -> None:
    """One server, for as long as the control connection lives."""
    observer = Observer()
    trio.lowlevel.add_instrument(observer)
    try:
        async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
            start = partial(serve, sup, auth=Auth(TOKENS), limits=Limits(**order["limits"]))
            address = await nursery.start(start)
            ports = {"port": address.port}
            if order.get("tls"):
                secure = await nursery.start(partial(start, ssl_context=nobodys_context()))
                ports["tls_port"] = secure.port
            await lines.send({"host": address.host, **ports})
            while (order := await lines.receive()) is not None:
                await lines.send(await obey(observer, order))
            nursery.cancel_scope.cancel()
    finally:
        trio.lowlevel.remove_instrument(observer)


async def obey(observer: Observer, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "count":
            observer.longest = 0.0
            with suppress(OSError):
                forget_peak()
        case "settle":
            with trio.move_on_after(order["patience"]):
                await observer.wait_few_tasks(order["tasks"])
    return {**count(), "longest": observer.longest}


def nobodys_context() -> Any:
    """TLS without a certificate: nobody gets through the handshake, which is what is tested."""
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


# --- the attackers' process -----------------------------------------------------------------------


async def attack_one(lines: Lines, order: dict[str, Any]) -> None:
    """One attack, until it is told to stop, or the control connection ends."""
    import hostile_peers

    tally = hostile_peers.Tally()
    attack = hostile_peers.ATTACKS[order["name"]]
    target = hostile_peers.Target(**order["target"])

    async def report() -> None:
        await tally.under_way.wait()
        await lines.send({"under_way": True})
        while (asked := await lines.receive()) is not None:
            if asked["do"] == "wait":
                with trio.move_on_after(asked["patience"]):
                    await tally.reached(asked["ending"], asked["times"])
            await lines.send(dict(tally.counts))
            if asked["do"] == "stop":
                break
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(report)
        await attack(target, tally, **order["params"])
        tally.under_way.set()
        await trio.sleep_forever()


# --- as a script ----------------------------------------------------------------------------------


async def control(stream: trio.SocketStream) -> None:
    lines = Lines(stream)
    order = await lines.receive()
    if order is not None:
        with suppress(trio.BrokenResourceError):  # the test is gone
            await {"serve": serve_one, "attack": attack_one}[order["do"]](lines, order)


async def main() -> None:
    allow_many_sockets()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, control, 0, host="127.0.0.1"))
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


def allow_many_sockets() -> bool:
    """Raise the soft limit as far as needed; whether it is enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= SOCKETS:
        return True
    if hard != resource.RLIM_INFINITY and hard < SOCKETS:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (SOCKETS, hard))
    return True


# --- the test's side ------------------------------------------------------------------------------


@contextmanager
def process() -> Iterator[int]:
    """Another process of this file; its control port."""
    here = Path(__file__).absolute()
    paths = [str(here.parent.parent), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, str(here)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            yield int(child.stdout.readline())
            child.stdin.close()
            child.wait(PATIENCE)
        finally:
            child.kill()


@attrs.frozen
class Machine:
    """Control ports of the server's process and the attackers'."""

    server: int
    attackers: int


@contextmanager
def machine() -> Iterator[Machine]:
    """The two processes."""
    with process() as server, process() as attackers:
        yield Machine(server, attackers)


@asynccontextmanager
async def open_control(port: int, do: str, **order: Any) -> AsyncIterator[Lines]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        lines = Lines(stream)
        await lines.send({"do": do, **order})
        yield lines


@attrs.define
class Figures:
    """Round trips of the bystander, in seconds."""

    ping: list[float] = attrs.field(factory=list)
    cancel: list[float] = attrs.field(factory=list)

    def row(self, name: str) -> dict[str, str]:
        return {
            f"ping {name}": _ms(statistics.median(self.ping)),
            f"cancel {name}": _ms(statistics.median(self.cancel)),
            f"worst {name}": _ms(max(self.cancel + self.ping)),
        }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


class Bystander:
    """Has nothing to do with it, and wants to cancel jobs."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def rounds(self, times: int) -> Figures:
        """Ping, start and cancel so many times; every cancel comes with its proof."""
        figures = Figures()
        for _ in range(times):
            began = perf_counter()
            await self.peer.call("session.ping")
            figures.ping.append(perf_counter() - began)
            began = perf_counter()
            await self.cancel()
            figures.cancel.append(perf_counter() - began)
        return figures

    async def cancel(self) -> None:
        """Start a job and cancel it."""
        started = await self.peer.call("job.start", name="nap")
        job_id = started["job"]["id"]
        reply = await self.peer.call("job.cancel", job_id=job_id, wait="finished")
        assert reply["job"]["state"] == "cancelled"
        assert reply["certificate"]["proof"], "the cancel was answered without a proof"


@attrs.define
class Assault:
    """An attack that is under way. `counts` are how its connections have ended, by kind."""

    lines: Lines
    counts: dict[str, int] = attrs.field(factory=dict)

    async def so_far(self) -> dict[str, int]:
        """What has happened up to now."""
        counts: dict[str, int] = await self.lines.call("count")
        return counts

    async def seen(self, ending: str, times: int = 1, *, patience: float = PATIENCE / 2) -> None:
        """Wait until so many connections have ended like that, or done that."""
        self.counts = await self.lines.call("wait", ending=ending, times=times, patience=patience)
        assert self.counts.get(ending, 0) >= times, f"never {ending}, but {self.counts}"


@attrs.define
class Arena:
    """One server, and a bystander who is connected to it."""

    machine: Machine
    address: Address
    server: Lines
    bystander: Bystander
    tls_port: int | None = None
    quiet: Figures = attrs.field(factory=Figures)
    attacked: Figures = attrs.field(factory=Figures)
    before: dict[str, int] = attrs.field(factory=dict)
    after: dict[str, Any] = attrs.field(factory=dict)

    @asynccontextmanager
    async def attack(self, name: str, **params: Any) -> AsyncIterator[Assault]:
        """Others do as they please for as long as the block lasts."""
        target = {
            "host": self.address.host,
            "port": self.address.port,
            "tls_port": self.tls_port,
            "secret": SECRET,
        }
        self.before = await self.server.call("count")
        async with open_control(
            self.machine.attackers, "attack", name=name, target=target, params=params
        ) as lines:
            answer = await lines.receive()
            assert answer == {"under_way": True}, "the attack failed; its process says why"
            assault = Assault(lines)
            yield assault
            assault.counts = await lines.call("stop")

    async def settle(self) -> None:
        """Nothing is left of the attack: no task, no file descriptor, no session."""
        self.after = await self.server.call(
            "settle", tasks=self.before["tasks"], patience=PATIENCE / 2
        )
        assert self.after["tasks"] == self.before["tasks"]
        assert self.after["fds"] == self.before["fds"]
        info = await self.bystander.peer.call("server.info")
        assert info["sessions"] == 1

    def row(self) -> dict[str, str]:
        """For the table."""
        return {
            **self.quiet.row("quiet"),
            **self.attacked.row("attacked"),
            "longest pass": _ms(self.after["longest"]),
        }


@asynccontextmanager
async def open_arena(machine: Machine, *, tls: bool = False, **limits: Any) -> AsyncIterator[Arena]:
    """A server with these limits, and a bystander on a connection of its own."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            open_control(machine.server, "serve", limits=limits, tls=tls)
        )
        told = await server.receive()
        assert told is not None, "the server failed; its process says why"
        address = Address(told["host"], told["port"], "", "")
        peer = await stack.enter_async_context(open_tcp_peer(address))
        yield Arena(machine, address, server, Bystander(peer), told.get("tls_port"))


def bounded(fn: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """Run a test for real, and give it up when it hangs."""

    async def main() -> Any:
        with trio.fail_after(patience):
            return await fn()

    return trio.run(main)


def need_many_sockets() -> None:
    """Skip where the machine does not allow as many."""
    if not allow_many_sockets():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        pytest.skip(f"ulimit -Hn is {hard}, and {SOCKETS} file descriptors are needed")


if __name__ == "__main__":
    trio.run(main)
