"""The supervisor's side of the exec helper: start it, ask it, notice its death.

One helper serves all commands. It is started when the first command needs it, and again if
somebody killed it; the commands that the dead one had started are told (`Child.lost`), and their
trees are then killed by their containment. One whose answers make no sense counts as dead, too, and
is made so: nothing that it says may end the task that listens, on which all commands depend.

A request is one packet, sent without a checkpoint: what was decided just before (nobody has asked
to stop) still holds when it leaves.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from .._errors import LaunchError

HELPER = Path(__file__).with_name("_exec_helper.py")
# What goes into the packet itself; more (ARG_MAX is at least 2 MiB) travels in a memory file.
INLINE = 32 * 1024
MAX_PACKET = 1 << 16
CLOSE_SECONDS = 15.0
TOKEN_VARIABLE = b"TRIO_SUPERVISOR_TOKEN"


@attrs.frozen
class SpawnFailure:
    """Why a program was not executed.

    Args:
        step: "helper", "chdir", "cgroup", "path" or "exec".
        errno: the errno of that step.
        about: the path that it was about.
    """

    step: str
    errno: int
    about: str


@attrs.frozen
class Request:
    """One program to start.

    Args:
        argv, env, cwd: as execve wants them; `cwd` None is the supervisor's own.
        cgroup: the directory of the cgroup to be born in; "" is the helper's own.
        stdout, stderr: write ends; they stay the caller's to close.
    """

    argv: Sequence[bytes]
    env: Mapping[bytes, bytes] = attrs.field(repr=False)
    cwd: bytes | None
    cgroup: str
    stdout: int
    stderr: int


class Child:
    """A program that the helper was asked to start, as far as is known.

    Attributes:
        answered: set once it was started, or `failure` says why not, or the helper is `lost`.
        ended: set once it has ended, with `code` or `signal`, or the helper is `lost`.
        lost: how the helper died, if it did before it said all of that.
    """

    __slots__ = ("answered", "code", "ended", "failure", "id", "lost", "pid", "signal")

    def __init__(self, id: int) -> None:
        self.id = id
        self.pid: int | None = None
        self.failure: SpawnFailure | None = None
        self.code: int | None = None
        self.signal: int | None = None
        self.lost: str | None = None
        self.answered = trio.Event()
        self.ended = trio.Event()

    def __repr__(self) -> str:
        return f"<Child {self.id} pid={self.pid} code={self.code} signal={self.signal}>"


class Helper:
    """One helper process, from its start to its end."""

    def __init__(self, process: trio.Process, sock: socket.socket, nursery: trio.Nursery) -> None:
        self.process = process
        self.pid = process.pid
        self.finished = trio.Event()
        self.ready = trio.Event()
        self.no_placement = ""
        self.no_subreaper = ""
        self._sock = sock
        self._nursery = nursery
        self._children: dict[int, Child] = {}
        self._closing = False
        self._last_words = ""
        self._sending = trio.Lock()

    @property
    def alive(self) -> bool:
        return not self.finished.is_set()

    async def spawn(self, child: Child, request: Request) -> None:
        """Ask for `request`; what becomes of it is told to `child`.

        Raises:
            OSError: it could not be asked (out of descriptors, or of memory).
        """
        if not self.alive:
            self._tell_lost(child)
            return
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fds = [request.stdout, request.stderr, here]
        try:
            body = marshal.dumps((list(request.argv), dict(request.env), request.cwd))
            inline: bytes | None = body
            if len(body) > INLINE:
                fds.append(_memory_file(body))
                inline = None
            packet = marshal.dumps(("spawn", child.id, request.cgroup, inline))
            self._children[child.id] = child
            await self._send(packet, fds)
        except OSError:
            self._children.pop(child.id, None)
            raise
        finally:
            for fd in fds[2:]:
                os.close(fd)

    def signal_group(self, child: Child, number: int) -> None:
        """Signal the process group of `child`, if its number is still its own."""
        self._post(marshal.dumps(("signal", child.id, int(number))))

    def release(self, child: Child) -> None:
        """The process group of `child` is gone; its number may be given to others."""
        self._post(marshal.dumps(("release", child.id)))

    def _post(self, packet: bytes) -> None:
        if not self._send_nowait(packet):
            self._nursery.start_soon(self._post_later, packet, name="exec helper post")

    @trio.lowlevel.enable_ki_protection
    async def _post_later(self, packet: bytes) -> None:
        try:
            await self._send(packet)
        except OSError as error:
            self._give_up(f"it could not be told something: {error}")

    def _give_up(self, why: str) -> None:
        """End a helper that is of no use any more; `listen` tells everyone."""
        self._last_words = why
        self.process.kill()

    async def _send(self, packet: bytes, fds: Sequence[int] = ()) -> None:
        # Shielded: half of a decision would be worse. It ends with the helper at the latest.
        with trio.CancelScope(shield=True):
            while not self._send_nowait(packet, fds):
                await self._room()

    async def _room(self) -> None:
        """Wait until the helper, which is behind, has read something."""
        async with self._sending:
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_writable(self._sock)

    def _send_nowait(self, packet: bytes, fds: Sequence[int] = ()) -> bool:
        """Send one packet; False if there is no room. A dead helper is `_listen`'s to notice."""
        if self._sock.fileno() < 0:
            return True
        try:
            socket.send_fds(self._sock, [packet], list(fds))
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionError):
            pass
        return True

    # --- answers

    @trio.lowlevel.enable_ki_protection
    async def listen(self) -> None:
        """Hear the helper out; returns when it is dead and everyone has been told."""
        # Shielded: jobs need the helper until the last of them is gone, whatever is cancelled
        # around them. It ends when the helper does.
        with trio.CancelScope(shield=True):
            await self._hear_out()
            with trio.move_on_after(CLOSE_SECONDS if self._closing else 0):
                await self.process.wait()
            self.process.kill()
            await self.process.wait()
            self._finish()

    async def _hear_out(self) -> None:
        try:
            while await self._hear():
                pass
        except Exception as error:
            # A helper that cannot be heard is of no use, and may be waiting for us.
            self._give_up(f"its answer could not be read: {error!r}")

    async def _hear(self) -> bool:
        """Take in the next answers; False at the end."""
        await trio.lowlevel.wait_readable(self._sock)
        for _ in range(64):
            try:
                data = self._sock.recv(MAX_PACKET)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            self._handle(marshal.loads(data))
        return True

    def _handle(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("started", id, pid):
                self._children[id].pid = pid
                self._children[id].answered.set()
            case ("failed", id, step, errno, about):
                child = self._children.pop(id)
                child.failure = SpawnFailure(step, errno, os.fsdecode(about))
                child.answered.set()
            case ("ended", id, code, number):
                child = self._children.pop(id)
                child.code, child.signal = code, number
                child.ended.set()
            case ("ready", no_placement, no_subreaper):
                self.no_placement, self.no_subreaper = no_placement, no_subreaper
                self.ready.set()
            case ("died", words):
                self._last_words = os.fsdecode(words)
            case _:
                raise ValueError(f"no such answer: {message!r:.200}")

    def _finish(self) -> None:
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        self.finished.set()
        self.ready.set()
        for child in self._children.values():
            self._tell_lost(child)
        self._children.clear()

    def _tell_lost(self, child: Child) -> None:
        child.lost = self.describe_death()
        child.answered.set()
        child.ended.set()

    def describe_death(self) -> str:
        code = self.process.returncode
        if self._last_words:
            return f"the exec helper (pid {self.pid}) failed: {self._last_words}"
        if code is not None and code < 0:
            return f"the exec helper (pid {self.pid}) was killed by {_signal_name(-code)}"
        return f"the exec helper (pid {self.pid}) ended with exit code {code}"

    async def aclose(self) -> None:
        """Let the helper end; it kills what it still has."""
        self._closing = True
        # In a task of its own: a KeyboardInterrupt may end our wait, but not its.
        self._nursery.start_soon(self._end, name="exec helper end")
        with trio.CancelScope(shield=True):
            await self.finished.wait()

    @trio.lowlevel.enable_ki_protection
    async def _end(self) -> None:
        if self.alive:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        with trio.CancelScope(shield=True):
            with trio.move_on_after(CLOSE_SECONDS):
                await self.finished.wait()
            self.process.kill()
            await self.finished.wait()


class Spawner:
    """Keeps one helper at hand.

    Args:
        nursery: where the task lives that listens to the helper.
        root: the cgroup above the jobs' own, "" without cgroups.
        home: the helper's own cgroup.
    """

    def __init__(self, nursery: trio.Nursery, *, root: str = "", home: str = "") -> None:
        self._nursery = nursery
        self._root = root
        self._home = home
        self._helper: Helper | None = None
        self._starting = trio.Lock()

    @property
    def current(self) -> Helper | None:
        """The helper, if one is alive."""
        return self._helper if self._helper is not None and self._helper.alive else None

    async def helper(self) -> Helper:
        """The helper; started if there is none.

        Raises:
            LaunchError: it cannot be started.
        """
        if self._helper is None or not self._helper.alive:
            async with self._starting:
                if self._helper is None or not self._helper.alive:
                    self._helper = await self._start()
        return self._helper

    async def _start(self) -> Helper:
        helper = await self._open()
        self._nursery.start_soon(helper.listen, name="exec helper listener")
        with trio.CancelScope(shield=True):
            await helper.ready.wait()
        if not helper.alive:
            raise LaunchError(f"{helper.describe_death()} as it started")
        return helper

    async def _open(self) -> Helper:
        if not sys.executable:
            raise LaunchError("no commands can be run: sys.executable names no interpreter")
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise LaunchError(f"the exec helper cannot be started: {error}") from error
        try:
            ours.setblocking(False)
            return Helper(await self._run(theirs.fileno()), ours, self._nursery)
        except OSError as error:
            ours.close()
            raise LaunchError(f"the exec helper cannot be started: {error}") from error
        finally:
            theirs.close()

    async def _run(self, fd: int) -> trio.Process:
        home = f"{self._home}/cgroup.procs"
        argv = [sys.executable, "-I", "-S", "-E", str(HELPER)]
        open_helper = partial(
            trio.lowlevel.open_process,
            [*argv, str(fd), str(os.getpid()), home, self._root],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[fd],
            # A Ctrl+C at the terminal is the supervisor's to handle, not the helper's.
            start_new_session=True,
            env={os.fsdecode(k): os.fsdecode(v) for k, v in own_environment().items()},
        )
        # Shielded: a process that was started must not be forgotten by a cancelled caller.
        scope = trio.CancelScope(shield=True)
        with scope:
            process: trio.Process = await open_helper()
        return process

    async def aclose(self) -> None:
        if self._helper is not None:
            await self._helper.aclose()


def own_environment() -> dict[bytes, bytes]:
    """The supervisor's environment as jobs inherit it: without the token."""
    return {name: value for name, value in os.environb.items() if name != TOKEN_VARIABLE}


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("trio-supervisor", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
    except OSError:
        os.close(fd)
        raise
    return fd


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
