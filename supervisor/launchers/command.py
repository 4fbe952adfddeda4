"""Commands: a program, everything it starts, and the certainty that all of it is gone.

`run()` asks the exec helper to start the program in a box of its own (see `_containment`), reads
its output, waits for its end and then for the end of its tree:

* A leader that ends by itself ends the job: what it left running is killed at once. Its exit code
  is the job's.
* A leader that ends after a cancel leaves the rest of its tree the rest of the grace.
* A cancel that comes before the request to the helper has left means that nothing is started.
  One that comes while the request is under way takes effect as soon as it is answered.
* Nothing but the proof of its box ends an attempt.
"""

from __future__ import annotations

import errno as errno_names
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs
import trio

from .._errors import LaunchError
from .._model import Command, JobErrorInfo, Proof
from .._records import Exited, NeverStarted, Vanished
from ..abc import JobSink, Launcher, RunningJob
from ._containment._proc import COOKIE_VARIABLE
from ._containment.base import Box, Containment, ContainmentUnavailable
from ._containment.cgroup import Cgroup2
from ._containment.group import ProcessGroup
from ._output import PipeReader
from ._spawner import Child, Helper, Request, Spawner, SpawnFailure, own_environment

if TYPE_CHECKING:
    from .._records import Exit, JobSpec

__all__ = ["CommandLauncher"]

MAX_SPAWNING = 32
"""Requests on their way to the helper: the kernel counts the descriptors in them against us."""
MAX_SAID = 1000
"""Characters of a path that a message repeats."""


@attrs.frozen
class _Way:
    """A way to contain commands that is open for use."""

    containment: Containment
    spawner: Spawner


class CommandLauncher(Launcher):
    """Runs programs.

    Args:
        uuid: whose jobs these are; part of the names of cgroups and of cookies.
        containment: "cgroup2" fails where that is not to be had, "process_group" never uses it,
            "auto" takes the best there is.

    Attributes:
        containment: the way in use, "cgroup2" or "process_group"; known once it is open.
        why_not_cgroup2: why cgroups are not used; None if they are.
    """

    kind: ClassVar[str] = "command"
    can_force: ClassVar[bool] = True

    def __init__(
        self,
        *,
        uuid: str | None = None,
        containment: Literal["auto", "cgroup2", "process_group"] = "auto",
    ) -> None:
        if containment not in ("auto", "cgroup2", "process_group"):
            raise ValueError(
                f"containment is 'auto', 'cgroup2' or 'process_group', not {containment!r}"
            )
        self._uuid = uuid or os.urandom(8).hex()
        self._asked = containment
        self.containment: str = containment
        self.why_not_cgroup2: str | None = None
        self._ways: list[_Way] = []
        self._count = 0
        self._spawning = trio.CapacityLimiter(MAX_SPAWNING)

    def __repr__(self) -> str:
        return f"<CommandLauncher {self.containment}>"

    def accepts(self, work: object) -> bool:
        return isinstance(work, Command)

    @asynccontextmanager
    @trio.lowlevel.enable_ki_protection
    async def open(self) -> AsyncIterator[None]:
        """The lifetime of the helper and of the cgroups; see `Launcher.open`.

        Raises:
            LaunchError: cgroups were demanded and cannot be used.
        """
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            await self._open_ways(stack, nursery)
            self.containment = self._ways[0].containment.name
            try:
                yield
            finally:
                self._ways = []

    async def _open_ways(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        self.why_not_cgroup2 = None
        if self._asked == "process_group":
            self.why_not_cgroup2 = "process groups were asked for"
        else:
            try:
                cgroups = Cgroup2(self._uuid)
                self._add_way(cgroups, await stack.enter_async_context(cgroups.open(nursery)))
            except ContainmentUnavailable as error:
                self._do_without(str(error), error)
        if self._asked != "cgroup2":
            groups = ProcessGroup(self._uuid)
            self._add_way(groups, await stack.enter_async_context(groups.open(nursery)))

    def _add_way(self, containment: Containment, spawner: Spawner) -> None:
        self._ways.append(_Way(containment, spawner))

    def _do_without(self, why: str, error: Exception | None = None) -> None:
        if self._asked == "cgroup2":
            raise LaunchError(f"commands cannot be contained in cgroups: {why}") from error
        self.why_not_cgroup2 = why

    async def ready(self) -> tuple[Containment, Helper]:
        """The containment to use and a helper for it.

        Raises:
            LaunchError: there is none.
        """
        while True:
            if not self._ways:
                raise LaunchError("the command launcher is not open")
            way = self._ways[0]
            helper = await way.spawner.helper()
            if not helper.no_placement:
                return way.containment, helper
            # Only a real try shows whether a process can be placed, and the helper made it.
            self._do_without(helper.no_placement)
            if way is self._ways[0]:
                self._ways.pop(0)
                self.containment = self._ways[0].containment.name

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        self._count += 1
        return CommandAttempt(self, spec.work, sink, self._count, self._spawning)


class CommandAttempt(RunningJob):
    """One run of a command.

    `_stop` and `_force` say what was asked for; `_box` is there from just before the request to the
    helper on, and `_running` is True from its answer on.
    """

    def __init__(
        self,
        launcher: CommandLauncher,
        command: Command,
        sink: JobSink,
        number: int,
        spawning: trio.CapacityLimiter,
    ) -> None:
        self._launcher = launcher
        self._command = command
        self._sink = sink
        self._child = Child(number)
        self._spawning = spawning
        self._helper: Helper | None = None
        self._box: Box | None = None
        self._nursery: trio.Nursery | None = None
        self._stop = False
        self._force = False
        self._running = False
        self._trouble: str | None = None
        self._again = trio.Event()

    def __repr__(self) -> str:
        return f"<CommandAttempt {self._command.argv[0]!r} {self._child!r}>"

    # --- what is asked from outside

    @trio.lowlevel.enable_ki_protection
    def cancel(self, reason: str | None) -> None:
        if not self._stop:
            self._stop = True
            if self._running:
                self._terminate()

    @trio.lowlevel.enable_ki_protection
    def kill(self) -> None:
        self._stop = self._force = True
        self._again.set()
        if self._running:
            self._kill()

    def survivors(self) -> tuple[str, ...]:
        if self._box is None:
            return ()
        try:
            lines = self._box.survivors()
        except OSError as error:
            lines = (f"what is alive could not be looked up: {error}",)
        if self._trouble is not None:
            lines = (*lines, self._trouble)
        if not self._child.answered.is_set() and self._helper is not None:
            lines = (*lines, f"the exec helper (pid {self._helper.pid}) has not answered yet")
        return lines

    def _terminate(self) -> None:
        assert self._box is not None and self._nursery is not None
        self._nursery.start_soon(self._try_terminate, self._box)

    @trio.lowlevel.enable_ki_protection
    async def _try_terminate(self, box: Box) -> None:
        try:
            await box.terminate()
        except OSError as error:
            self._trouble = f"SIGTERM could not be sent to all of it: {error}"

    def _kill(self) -> None:
        assert self._box is not None
        try:
            self._box.kill()
        except OSError as error:
            self._trouble = f"it could not be killed: {error}"

    # --- the attempt

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> Exit:
        exits: list[Exit] = []
        async with trio.open_nursery() as nursery:
            done = trio.Event()
            nursery.start_soon(self._run_shielded, exits, done)
            try:
                await done.wait()
            except trio.Cancelled:
                self.kill()
                raise
        return exits[0]

    @trio.lowlevel.enable_ki_protection
    async def _run_shielded(self, exits: list[Exit], done: trio.Event) -> None:
        with trio.CancelScope(shield=True):
            exits.append(await self._run())
        done.set()

    async def _run(self) -> Exit:
        try:
            async with self._spawning:
                readers = await self._spawn()
        except LaunchError as error:
            return _never(JobErrorInfo(type="LaunchError", message=str(error)))
        except OSError as error:
            return _never(describe_os_error(error))
        except (TypeError, ValueError) as error:
            # What the locale cannot encode, or a mapping that was changed after it was checked.
            return _never(JobErrorInfo(type=type(error).__name__, message=_clip(str(error))))
        if readers is None:
            return _never(None)
        async with trio.open_nursery() as self._nursery:
            for reader in readers:
                self._nursery.start_soon(reader.run)
            result = await self._live()
            for reader in readers:
                reader.finish()
        return result

    async def _spawn(self) -> list[PipeReader] | None:
        """Ask the helper for the program; None if a stop was asked for first.

        Raises:
            LaunchError: no helper.
            OSError: not enough of something.
            TypeError, ValueError: the command cannot be said in bytes.
        """
        if self._stop:
            return None
        containment, self._helper = await self._launcher.ready()
        if self._stop:
            return None
        pipes = Pipes()
        try:
            self._box = containment.box()
            await self._helper.spawn(self._child, self._request(self._box, pipes))
        except BaseException:
            pipes.close_reads()
            self._discard()
            raise
        finally:
            pipes.close_writes()
        await self._child.answered.wait()
        self._box.started(self._child, self._helper, pipes.inodes)
        return pipes.readers(self._sink)

    def _discard(self) -> None:
        if self._box is not None:
            self._box.discard()

    def _request(self, box: Box, pipes: Pipes) -> Request:
        command = self._command
        return Request(
            argv=[os.fsencode(item) for item in command.argv],
            env=environment(command, box.cookie),
            cwd=None if command.cwd is None else os.fsencode(command.cwd),
            cgroup=box.cgroup,
            stdout=pipes.out_write,
            stderr=pipes.err_write,
        )

    async def _live(self) -> Exit:
        """From the helper's answer to the proof."""
        child = self._child
        if child.failure is not None:
            await self._gone()
            return _never(describe_failure(child.failure, self._command))
        self._running = True
        if child.pid is not None:
            self._sink.started()
            self._heed()
            await child.ended.wait()
        if child.lost is not None or not self._stop:
            self._kill()
        proof = await self._gone()
        self._running = False
        if child.lost is not None:
            return Vanished(_lost(child.lost), proof)
        return Exited(child.code, child.signal, proof)

    def _heed(self) -> None:
        """Do what was asked while the spawn was under way."""
        if self._force:
            self._kill()
        elif self._stop:
            self._terminate()

    async def _gone(self) -> Proof:
        """Wait for the proof. Where one cannot even look, wait for the next `kill`, try again."""
        assert self._box is not None
        while True:
            self._again = trio.Event()
            try:
                return await self._box.gone()
            except OSError as error:
                self._trouble = f"whether it is gone could not be looked up: {error}"
            await self._again.wait()


class Pipes:
    """The two pipes of a command's output.

    Raises:
        OSError: too many files are open.
    """

    def __init__(self) -> None:
        self.out_read, self.out_write = os.pipe()
        try:
            self.err_read, self.err_write = os.pipe()
        except OSError:
            os.close(self.out_read)
            os.close(self.out_write)
            raise
        self.inodes = frozenset({os.fstat(self.out_read).st_ino, os.fstat(self.err_read).st_ino})

    def close_reads(self) -> None:
        os.close(self.out_read)
        os.close(self.err_read)

    def close_writes(self) -> None:
        os.close(self.out_write)
        os.close(self.err_write)

    def readers(self, sink: JobSink) -> list[PipeReader]:
        """Readers that own the read ends."""
        os.set_blocking(self.out_read, False)
        os.set_blocking(self.err_read, False)
        return [
            PipeReader(self.out_read, partial(sink.log_line, "stdout")),
            PipeReader(self.err_read, partial(sink.log_line, "stderr")),
        ]


def environment(command: Command, cookie: bytes | None) -> Mapping[bytes, bytes]:
    """The exact environment of a command; nothing is added but the cookie, if there is one."""
    if command.env is None:
        env = own_environment()
    else:
        env = {os.fsencode(name): os.fsencode(value) for name, value in command.env.items()}
    if cookie is not None:
        env[COOKIE_VARIABLE] = cookie
    return env


# --- what went wrong, in words -------------------------------------------------------------------


def _never(error: JobErrorInfo | None) -> NeverStarted:
    return NeverStarted(error, Proof("never_started", detail="the program was not executed"))


def _lost(how: str) -> JobErrorInfo:
    message = f"{how}; how the command ended is not known; what was left of it was killed"
    return JobErrorInfo(type="HelperLost", message=message)


def describe_os_error(error: OSError) -> JobErrorInfo:
    """Why a command could not even be asked for."""
    message = f"{error.strerror or error}"
    if error.errno in (errno_names.EMFILE, errno_names.ENFILE):
        message = "the supervisor has too many open files (see `ulimit -n`)"
    return JobErrorInfo(type=type(error).__name__, message=message)


def describe_failure(failure: SpawnFailure, command: Command) -> JobErrorInfo:
    """Why the helper could not start a command."""
    error = OSError(failure.errno, os.strerror(failure.errno))
    message = _explain(failure, command) or f"{_clip(failure.about)!r}: {error.strerror}"
    return JobErrorInfo(type=type(error).__name__, message=message)


def _explain(failure: SpawnFailure, command: Command) -> str | None:
    about = _clip(failure.about)
    match failure.step, failure.errno:
        case "path", _:
            path = environment(command, None).get(b"PATH")
            looked = "no PATH is set" if path is None else f"PATH is {_clip(os.fsdecode(path))!r}"
            return f"program {about!r} was not found ({looked})"
        case "chdir", errno_names.ENOENT:
            return f"the working directory {about!r} does not exist"
        case "chdir", _:
            return f"the working directory {about!r}: {os.strerror(failure.errno)}"
        case "cgroup", _:
            return (
                f"it could not be placed in its cgroup {about}: {os.strerror(failure.errno)}; "
                "it was not started without"
            )
        case "helper", 0:
            return f"the exec helper could not start it: {about}"
        case "helper", _:
            return f"the exec helper has too many open files: {os.strerror(failure.errno)}"
        case "exec", errno_names.ENOENT if _is_there(failure.about, command):
            return f"{about!r} is a script (or program) whose interpreter does not exist"
        case "exec", errno_names.ENOENT:
            return f"program {about!r} does not exist"
        case "exec", errno_names.EACCES:
            return f"{about!r} is not executable (permission denied)"
        case "exec", errno_names.ENOEXEC:
            return f"{about!r} is in no format that can be executed (a script needs a #! line)"
        case "exec", errno_names.E2BIG:
            return "the arguments and the environment are too long together"
        case "exec", errno_names.EAGAIN:
            return "too many processes (see `ulimit -u` and the limits of its cgroup)"
    return None


def _clip(text: str) -> str:
    return text if len(text) <= MAX_SAID else text[:MAX_SAID] + "..."


def _is_there(path: str, command: Command) -> bool:
    return os.path.exists(os.path.join(command.cwd or ".", path))
