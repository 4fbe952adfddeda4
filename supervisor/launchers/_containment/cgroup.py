"""Containment by cgroup2: every attempt in a cgroup of its own, which no process leaves by itself.

The layout is `<our cgroup>/trio-supervisor-<uuid>-<random>/<uuid>-<n>`: one root for a launcher,
one leaf for an attempt, named by the store's uuid and a counter, never by the job. No controller is
needed. To end a job is to write `cgroup.kill` (kernel 5.14); that it is gone is `populated 0` in
`cgroup.events`, which the kernel reports for the leaf and everything below it
(https://docs.kernel.org/admin-guide/cgroup-v2.html).

Emptiness is awaited, not polled: the events file is registered for EPOLLPRI in an epoll of ours,
and read again whenever that becomes readable.

A job of the same user could write to these files too. This holds sloppy jobs, not hostile ones.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

import trio

from ..._model import Proof
from .._spawner import Spawner
from ._proc import describe_all, signal_process
from .base import Box, Containment, ContainmentUnavailable
from .spare import RAN_OUT, SpareFds

CHUNK = 64
"""Processes signalled between two checkpoints."""
MAX_PASSES = 16
"""How often a tree that grows while it is signalled is read again."""


# --- where ---------------------------------------------------------------------------------------


def find_home(mountinfo: str, membership: str) -> str:
    """The directory of our own cgroup.

    Args:
        mountinfo: /proc/self/mountinfo; the mount may be anywhere, beside those of version 1.
        membership: /proc/self/cgroup; version 2 is the line that begins with `0::`.

    Raises:
        ContainmentUnavailable: there is none.
    """
    own = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    if own is None:
        raise ContainmentUnavailable("this process is in no cgroup of version 2")
    for line in mountinfo.splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.split(" ")[0] != "cgroup2":
            continue
        root, point = (_unescape(field) for field in fields.split(" ")[3:5])
        below = _relative(own, root)
        if below is not None:
            return (point.rstrip("/") + below).rstrip("/") or "/"
    raise ContainmentUnavailable("no cgroup2 file system is mounted that shows our own cgroup")


def _relative(own: str, root: str) -> str | None:
    """The path of cgroup `own` below a mount that shows `root`; None if it is not shown."""
    if own.startswith("/.."):
        return None
    if root == "/" or own == root:
        return own if root == "/" else ""
    return own[len(root) :] if own.startswith(root + "/") else None


def _unescape(field: str) -> str:
    """Undo the octal escapes of proc(5)."""
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, char)
    return field


def _cgroups(top: str) -> Iterator[str]:
    """`top` and the cgroups below it, deepest first; a job may have made some."""
    if os.stat(top).st_nlink > 2:  # a directory's link count tells of its subdirectories
        for directory, _, _ in os.walk(top, topdown=False):
            yield directory
    else:
        yield top


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


# --- emptiness -----------------------------------------------------------------------------------


def _is_empty(events: int) -> bool:
    try:
        return b"populated 0" in os.pread(events, 4096, 0)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return True  # the cgroup was removed, and only an empty one can be
        raise


def _may_be_empty(events: int) -> bool:
    """As `_is_empty`; if that cannot be read, who waits shall look, and hear why."""
    try:
        return _is_empty(events)
    except OSError:
        return True


class EmptinessWatch:
    """Waits for cgroups to become empty: one epoll and one task for all of them.

    The task begins with the first wait: a supervisor that runs no command waits for nothing of the
    operating system's, and so can be run under schedules of the race kit.
    """

    def __init__(self, spare: SpareFds, nursery: trio.Nursery) -> None:
        self._epoll = select.epoll()
        self._spare = spare
        self._nursery = nursery
        self._is_begun = False
        self._waiting: dict[int, trio.Event] = {}
        self._scope = trio.CancelScope(shield=True)
        self._narrow = trio.Lock()
        self._ended = trio.Event()

    def begin(self) -> None:
        """Begin to watch, if that has not begun."""
        if not self._is_begun:
            self._is_begun = True
            self._nursery.start_soon(self._run, name="cgroup watch")

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        try:
            # Shielded: it is needed until the last job is gone, whatever is cancelled around it.
            with self._scope:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._look()
        finally:
            self._epoll.close()
            self._ended.set()

    def _look(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if _may_be_empty(fd):
                self._epoll.unregister(fd)
                self._waiting.pop(fd).set()

    async def aclose(self) -> None:
        """End the watch; nobody may be waiting."""
        if not self._is_begun:
            self._epoll.close()
            return
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def wait(self, cgroup: str) -> None:
        """Return once nothing lives in `cgroup` or below."""
        path = cgroup + "/cgroup.events"
        try:
            await self._wait(self._open(path))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in RAN_OUT:
                raise
            # One after the other, with a descriptor that was kept for this.
            async with self._narrow:
                await self._wait(self._spare.use(lambda: self._open(path)))
                self._spare.refill()

    @staticmethod
    def _open(path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    async def _wait(self, fd: int) -> None:
        try:
            if _is_empty(fd):
                return
            self.begin()
            event = self._waiting[fd] = trio.Event()
            # What changes between the read above and here is reported at once.
            self._epoll.register(fd, select.EPOLLPRI)
            try:
                await event.wait()
            finally:
                if self._waiting.pop(fd, None) is not None:
                    self._epoll.unregister(fd)
        finally:
            os.close(fd)


# --- a job's cgroup ------------------------------------------------------------------------------


class CgroupBox(Box):
    """The cgroup of one attempt."""

    def __init__(self, path: str, watch: EmptinessWatch, spare: SpareFds) -> None:
        self.cgroup = path
        self._name = "/".join(path.rsplit("/", 2)[1:])
        self._watch = watch
        self._spare = spare

    def __repr__(self) -> str:
        return f"<CgroupBox {self.cgroup}>"

    async def terminate(self) -> None:
        done: set[int] = set()
        for _ in range(MAX_PASSES):
            new = [pid for pid in self._pids() if pid not in done]
            if not new:
                return
            for at, pid in enumerate(new, 1):
                self._spare.use(lambda pid=pid: self._terminate(pid))  # type: ignore[misc]
                if at % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
            done.update(new)

    def _terminate(self, pid: int) -> None:
        signal_process(pid, lambda: self._holds(pid), signal.SIGTERM, signal.SIGCONT)

    def _holds(self, pid: int) -> bool:
        """Whether the process is in this cgroup, or below it."""
        name = "/" + self._name
        try:
            lines = _read(f"/proc/{pid}/cgroup").splitlines()
        except OSError:
            return False
        path = next((line[3:] for line in lines if line.startswith("0::")), "")
        return path.endswith(name) or f"{name}/" in path

    def _pids(self) -> list[int]:
        return self._spare.use(self._read_pids)

    def _read_pids(self) -> list[int]:
        found: list[int] = []
        try:
            for cgroup in _cgroups(self.cgroup):
                found += map(int, _read(cgroup + "/cgroup.procs").split())
        except (FileNotFoundError, OSError) as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
        return [pid for pid in found if pid]  # 0 is a process that our pid namespace does not show

    def kill(self) -> None:
        try:
            self._spare.use(lambda: _write(self.cgroup + "/cgroup.kill", b"1"))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    async def gone(self) -> Proof:
        # The directory of an empty cgroup can be removed, that of another cannot: one call is both
        # the proof and the tidying.
        while not self._remove():
            await self._watch.wait(self.cgroup)
            if not self._remove() and not self._pids():
                # Empty, but something keeps the directory; it goes when the launcher is closed.
                return Proof("cgroup_empty", detail=f"populated 0 in {self._name}")
        return Proof("cgroup_empty", detail=f"populated 0 in {self._name}, which was removed")

    def discard(self) -> None:
        self._remove()

    def _remove(self) -> bool:
        return self._spare.use(lambda: remove(self.cgroup))

    def survivors(self) -> tuple[str, ...]:
        return describe_all(self._pids())


def remove(cgroup: str) -> bool:
    """Remove a cgroup and those below it; False if something lives there."""
    try:
        for directory in _cgroups(cgroup):
            os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


class Cgroup2(Containment):
    """Containment by cgroup2.

    Args:
        uuid: whose cgroups these are.

    Raises:
        ContainmentUnavailable: it does not work here.
    """

    name: ClassVar[str] = "cgroup2"

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._count = 0
        self._home = _own_home()
        # Random too, so that a root left by a killed predecessor is not taken for ours.
        self._root = f"{self._home}/trio-supervisor-{uuid}-{secrets.token_hex(4)}"

    @asynccontextmanager
    async def open(self, nursery: trio.Nursery) -> AsyncIterator[Spawner]:
        try_root(self._root, self._home)
        # Each step is taken whatever becomes of the others: a KeyboardInterrupt may end any wait,
        # and the nursery waits for the watch.
        async with AsyncExitStack() as stack:
            stack.callback(remove, self._root)
            self._spare = SpareFds()
            stack.callback(self._spare.close)
            self._watch = EmptinessWatch(self._spare, nursery)
            stack.push_async_callback(self._watch.aclose)
            spawner = Spawner(nursery, root=self._root, home=self._home)
            stack.push_async_callback(spawner.aclose)
            yield spawner

    def box(self) -> CgroupBox:
        self._count += 1
        path = f"{self._root}/{self._uuid}-{self._count}"
        os.mkdir(path)
        return CgroupBox(path, self._watch, self._spare)


def _own_home() -> str:
    try:
        return find_home(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    except OSError as error:
        raise ContainmentUnavailable(f"/proc cannot be read: {error}") from error


def try_root(root: str, home: str) -> None:
    """See whether the root of a launcher's cgroups will do. The helper makes it, once it is needed.

    Raises:
        ContainmentUnavailable: it will not.
    """
    # Whoever moves a process must be able to write to the common ancestor's list as well.
    if not os.access(home + "/cgroup.procs", os.W_OK):
        raise ContainmentUnavailable(f"{home}/cgroup.procs is not writable (no delegation)")
    try:
        os.mkdir(root)
    except OSError as error:
        raise ContainmentUnavailable(
            f"no cgroup can be made in {home}: {error.strerror}"
        ) from error
    why = ""
    if not os.access(root + "/cgroup.kill", os.W_OK):
        why = "the kernel has no cgroup.kill (Linux 5.14)"
    elif (kind := _read(root + "/cgroup.type").strip()) != "domain":
        why = f"a cgroup in {home} would be of type {kind!r}, not 'domain'"
    os.rmdir(root)
    if why:
        raise ContainmentUnavailable(why)
