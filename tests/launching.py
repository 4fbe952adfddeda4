"""What the tests of commands share: a launcher, a sink that records, trees of processes, and an
independent look at what is alive.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor._model import Command, DisconnectPolicy
from supervisor._records import Exit, Instant, JobSpec
from supervisor.abc import RunningJob
from supervisor.launchers._containment.base import ContainmentUnavailable
from supervisor.launchers._containment.cgroup import Cgroup2, try_root
from supervisor.launchers._spawner import Helper
from supervisor.launchers.command import CommandLauncher

PATIENCE = 60.0
"""Seconds after which a test that waits for real processes gives up; it says nothing of speed."""

TREE = r"""
import os, signal, sys, time
marker, count, kinds = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
ready, going = os.pipe()          # close-on-exec: ends when the last of the tree has exec'ed

def become(env):
    os.execve("/bin/sleep", [marker, "1000"], env)

def hide():
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)

def child(kind):
    if kind == "setsid":
        os.setsid()
    if kind in ("daemon", "hidden"):
        os.setsid()
        if os.fork():
            os._exit(0)
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "hidden":
        hide()
    become({} if kind in ("cleared", "hidden") else dict(os.environ))

for number in range(count - 1):
    if os.fork() == 0:
        child(kinds[number % len(kinds)])
os.close(going)
os.read(ready, 1)
print("up", flush=True)
if "leave" in sys.argv:
    sys.exit(0)
while True:
    signal.pause()
"""
_numbers = itertools.count()
ALL_KINDS = "plain,setsid,daemon,deaf,cleared,hidden"


def why_no_cgroup2() -> str:
    """Why cgroups cannot be used here; "" if they can."""
    try:
        containment = Cgroup2("probe")
        try_root(containment._root, containment._home)
    except ContainmentUnavailable as error:
        return str(error)
    return ""


NO_CGROUP2 = why_no_cgroup2()
needs_cgroup2 = pytest.mark.skipif(bool(NO_CGROUP2), reason=f"needs cgroup2: {NO_CGROUP2}")
both = pytest.mark.parametrize(
    "containment", [pytest.param("cgroup2", marks=needs_cgroup2), "process_group"]
)


class Sink:
    """Records what a job says."""

    def __init__(self) -> None:
        self.starts = 0
        self.lines: list[tuple[str, bytes]] = []
        self._changed = trio.Event()

    def started(self) -> None:
        self.starts += 1
        self.wake()

    def log_line(self, stream: str, data: str | bytes) -> None:
        assert isinstance(data, bytes)
        self.lines.append((stream, data))
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def of(self, stream: str) -> list[bytes]:
        return [data for name, data in self.lines if name == stream]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def said(self, line: bytes) -> None:
        await self.until(lambda: any(data == line for _, data in self.lines))

    async def has_started(self) -> None:
        await self.until(lambda: self.starts > 0)


def spec(work: Command) -> JobSpec:
    return JobSpec(
        id="job",
        name="job",
        kind="command",
        work=work,
        arguments=(),
        identity=None,
        grace=1.0,
        notice=0.0,
        timeout=None,
        can_force=True,
        labels={},
        on_disconnect=DisconnectPolicy.KEEP,
        requester="local",
        created=Instant(0.0, 0.0),
    )


class Attempt:
    """One attempt under test: its handle, its sink and, once it is over, its exit."""

    def __init__(
        self, launcher: CommandLauncher, argv: Iterable[str | bytes], **kwargs: Any
    ) -> None:
        self.sink = Sink()
        command = Command(tuple(argv), **kwargs)
        self.job: RunningJob = launcher.prepare(spec(command), 1, self.sink)
        self.exit: Exit | None = None
        self.ended = trio.Event()

    async def run(self) -> Exit:
        self.exit = await self.job.run()
        self.ended.set()
        self.sink.wake()
        return self.exit

    async def survivors(self) -> tuple[str, ...]:
        """What is alive, once somebody has looked."""
        while not (lines := self.job.survivors()):
            await trio.testing.wait_all_tasks_blocked()
        return lines

    async def up_or_ended(self) -> None:
        await self.sink.until(lambda: self.ended.is_set() or bool(self.sink.lines))


@asynccontextmanager
async def opened_with_a_job(
    containment: str = "auto",
) -> AsyncIterator[tuple[CommandLauncher, Attempt]]:
    """A launcher, and a command of it that runs until it is ended."""
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        yield launcher, attempt


@asynccontextmanager
async def opened(containment: str = "auto") -> AsyncIterator[CommandLauncher]:
    launcher = CommandLauncher(containment=containment)  # type: ignore[arg-type]
    with trio.fail_after(PATIENCE):
        async with launcher.open():
            yield launcher


def helper_of(launcher: CommandLauncher) -> Helper:
    helper = launcher._ways[0].spawner.current
    assert helper is not None
    return helper


async def run(launcher: CommandLauncher, *argv: str | bytes, **kwargs: Any) -> tuple[Any, Sink]:
    attempt = Attempt(launcher, argv, **kwargs)
    return await attempt.run(), attempt.sink


def unique(name: str) -> str:
    """A marker that no process of another test, or run, carries."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def tree(marker: str, count: int = 200, kinds: str = ALL_KINDS, *more: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", TREE, marker, str(count), kinds, *more]


def alive(marker: str) -> list[int]:
    """Every living process with `marker` among its arguments: read from /proc, not from us."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if marker.encode() in arguments:
                found.append(int(entry.name))
    return found


async def all_dead(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)


@contextmanager
def stranger(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no job's; killed at the end."""
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-I", "-S", "-c", script, *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # only now is /proc/<pid>/cmdline sure to be its own
        try:
            yield process
        finally:
            process.kill()


def open_fds() -> Mapping[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def children() -> set[int]:
    """Our own children, zombies too."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            found.update(map(int, Path(f"/proc/self/task/{task}/children").read_text().split()))
        except OSError:
            continue
    return found


def cgroups_of(launcher: CommandLauncher) -> list[str]:
    """The directories that bear the launcher's uuid, anywhere in our own cgroup."""
    try:
        home = Cgroup2("look")._home
    except ContainmentUnavailable:
        return []
    return [name for name in os.listdir(home) if launcher._uuid in name]
