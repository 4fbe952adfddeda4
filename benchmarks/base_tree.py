"""The bases of rows 11 and 12: `killpg`, and the leader reaped; a cgroup killed by hand.

The first does not know whether the tree is gone, the second does.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from ._case import Figures

TREES = 5
"""How many are killed in one process."""


@attrs.frozen
class Tree:
    """A shell that starts `n` processes, every one named by a token of its own.

    Its command line writes a line to `ready` once all of them are there, and waits.
    """

    token: str
    ready: Path
    argv: tuple[str, ...]

    def wait_until_ready(self) -> None:
        """Block until the whole tree is there."""
        self.ready.read_text()

    def processes(self) -> list[int]:
        """The pids of those alive, by an independent look at /proc."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.has(pid)]

    def has(self, pid: int) -> bool:
        try:
            return self.token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def clean_up(self) -> None:
        """Kill what is left: by pidfd, looked at again once the pid can no longer be reused."""
        for pid in self.processes():
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if self.has(pid):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)


@contextmanager
def planted(n: int, setsid: int = 0) -> Iterator[Tree]:
    """A tree to be, of `n` processes, `setsid` of them each in a session of its own."""
    directory = Path(tempfile.mkdtemp(prefix="trio-supervisor-benchmark-"))
    # A fraction of a second that no other process sleeps: it is the mark on every command line.
    token = f"86400.{secrets.randbelow(10**15):015d}"
    ready = directory / "ready"
    os.mkfifo(ready)
    # The pause is for `setsid`: before it has run, the process still is in the leader's group.
    script = (
        f'for i in $(seq {n - setsid}); do sleep "$0" & done; '
        f'for i in $(seq {setsid}); do setsid sleep "$0" & done; '
        f'sleep 0.2; echo > "$1"; wait'
    )
    tree = Tree(token, ready, ("sh", "-c", script, token, str(ready)))
    try:
        yield tree
    finally:
        tree.clean_up()
        shutil.rmtree(directory)


def _kill(tree: Tree) -> float:
    leader = subprocess.Popen(tree.argv, start_new_session=True)
    tree.wait_until_ready()
    begun = time.perf_counter()
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    return time.perf_counter() - begun


def kill(n: int) -> Figures:
    """Seconds from `killpg` until the leader is reaped, median of a few trees."""
    taken = []
    for _ in range(TREES):
        with planted(n) as tree:
            taken.append(_kill(tree))
    return {"gone": statistics.median(taken)}


def _cgroup_mount() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    raise RuntimeError("no cgroup2 is mounted here")


def _kill_cgroup(tree: Tree, cgroup: Path) -> float:
    enter = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
    leader = subprocess.Popen(["sh", "-c", enter, str(cgroup), *tree.argv], start_new_session=True)
    tree.wait_until_ready()
    with open(cgroup / "cgroup.events", encoding="ascii") as events, select.epoll() as epoll:
        epoll.register(events, select.EPOLLPRI)
        begun = time.perf_counter()
        (cgroup / "cgroup.kill").write_text("1")
        while "populated 0" not in events.read():
            epoll.poll()
            events.seek(0)
        leader.wait()
        return time.perf_counter() - begun


def kill_cgroup(n: int) -> Figures:
    """Seconds from `cgroup.kill` until the kernel says that nothing is left, by hand."""
    taken = []
    for _ in range(TREES):
        with planted(n) as tree:
            cgroup = _cgroup_mount() / f"trio-supervisor-benchmark-{tree.token}"
            cgroup.mkdir()
            try:
                taken.append(_kill_cgroup(tree, cgroup))
            finally:
                tree.clean_up()
                cgroup.rmdir()
    return {"gone": statistics.median(taken)}


def survivors(n: int) -> Figures:
    """How many of `n` processes outlive it, two of them in sessions of their own."""
    with planted(n, setsid=2) as tree:
        _kill(tree)
        time.sleep(0.2)  # those that were killed take a moment to go
        return {"left": len(tree.processes())}
