"""Looking at processes: /proc, pidfds, and who belongs to whom.

A pid read from a file may be another process's by the time it is used. So nothing here signals a
pid: it opens a pidfd, looks again, and signals through that.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping

import attrs
import trio

COOKIE_VARIABLE = b"TRIO_SUPERVISOR_COOKIE"
MAX_SURVIVORS = 32
# Gone, or not ours to read.
CANNOT_BE_READ = frozenset({errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM})


@attrs.frozen
class Stat:
    """What /proc/<pid>/stat says; `start` is in clock ticks since boot."""

    pid: int
    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    start: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


@attrs.frozen
class Seen:
    """A living process as a search found it: its stat, its cookie, its pipes on fd 1 and 2."""

    stat: Stat
    cookie: bytes | None = None
    pipes: frozenset[int] = frozenset()


@attrs.frozen
class Claim:
    """What makes a process a job's.

    Args:
        cookie: the value in its environment.
        leader: the job's first process, if its number is certain to be still its own.
        pipes: the inodes of its output pipes.
        start: when the job started, in ticks.
    """

    cookie: bytes
    leader: int | None
    pipes: frozenset[int]
    start: int


def parse_stat(text: str) -> Stat:
    """Parse /proc/<pid>/stat (proc(5)); the name may hold anything, even ") "."""
    head, _, tail = text.rpartition(")")
    pid, _, comm = head.partition("(")
    fields = tail.split()
    return Stat(
        pid=int(pid),
        comm=comm,
        state=fields[0],
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        start=int(fields[19]),
    )


def ticks_now() -> int:
    """The present, as processes' start times count it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def stat_of(pid: int) -> Stat | None:
    text = _read(f"/proc/{pid}/stat")
    return parse_stat(text.decode(errors="replace")) if text else None


def attribute(
    found: Iterable[Seen], claims: Mapping[int, Claim], helper: int | None
) -> dict[int, list[Stat]]:
    """Whose each process is, by the key of its claim.

    By its environment's cookie, its session or group, its output; then by its parent or its
    session, which only descendants share. An orphan that shows nothing of that is a child of the
    helper (the subreaper): it is the job's that started before it, if there is only one such. If
    there are several it stays for the last of them, so it is never left behind.
    """
    processes = {seen.stat.pid: seen for seen in found}
    owner: dict[int, int] = {}
    for pid, seen in processes.items():
        key = _claimed_by(seen, claims)
        if key is not None:
            owner[pid] = key
    _inherit(processes, owner)
    for pid, seen in processes.items():
        if pid not in owner and helper is not None and seen.stat.ppid == helper:
            candidates = [key for key, claim in claims.items() if claim.start <= seen.stat.start]
            if len(candidates) == 1:
                owner[pid] = candidates[0]
    _inherit(processes, owner)
    result: dict[int, list[Stat]] = {}
    for pid, key in owner.items():
        result.setdefault(key, []).append(processes[pid].stat)
    return result


def _claimed_by(seen: Seen, claims: Mapping[int, Claim]) -> int | None:
    for key, claim in claims.items():
        if seen.cookie == claim.cookie:
            return key
        if claim.leader is not None and claim.leader in (seen.stat.sid, seen.stat.pgid):
            return key
    for key, claim in claims.items():
        if seen.pipes & claim.pipes:
            return key
    return None


def _inherit(processes: Mapping[int, Seen], owner: dict[int, int]) -> None:
    """Give every process to the owner of its parent or of another member of its session."""
    waiting = [seen.stat for pid, seen in processes.items() if pid not in owner]
    grown = True
    while grown:
        sessions = {processes[pid].stat.sid: key for pid, key in owner.items()}
        left = []
        for stat in waiting:
            key = owner.get(stat.ppid, sessions.get(stat.sid))
            if key is None:
                left.append(stat)
            else:
                owner[stat.pid] = key
        grown = len(left) < len(waiting)
        waiting = left


def search(since: int, strangers: frozenset[int]) -> list[Seen]:
    """Every living process that started at or after `since` (ticks), but for `strangers`."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in strangers:
            continue
        stat = stat_of(int(name))
        if stat is not None and not stat.dead and stat.start >= since:
            found.append(Seen(stat, _cookie(stat.pid), _pipes(stat.pid)))
    return found


def _cookie(pid: int) -> bytes | None:
    prefix = COOKIE_VARIABLE + b"="
    for entry in _read(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :]
    return None


def _pipes(pid: int) -> frozenset[int]:
    inodes = set()
    for fd in (1, 2):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("pipe:["):
            inodes.add(int(target[6:-1]))
    return frozenset(inodes)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read_all(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in CANNOT_BE_READ:
            raise  # out of descriptors, say: "not found" would be a lie
        return b""


def _read_all(fd: int) -> bytes:
    # Plain reads: a search opens hundreds of files, and a buffered one costs three times as much.
    data = piece = os.read(fd, 4096)
    while piece and len(data) % 4096 == 0:
        piece = os.read(fd, 1 << 16)
        data += piece
    return data


def signal_process(pid: int, still: Callable[[], bool], *numbers: signal.Signals) -> None:
    """Signal `pid` if, with a pidfd of it in hand, it is `still` the process that was meant."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if still():
            for number in numbers:
                signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        pass  # it left; or it is not ours to signal, and will be named as a survivor
    finally:
        os.close(pidfd)


def is_same(stat: Stat) -> bool:
    """Whether the process of this number is still the one that `stat` was read from."""
    now = stat_of(stat.pid)
    return now is not None and now.start == stat.start and not now.dead


async def wait_dead(stat: Stat) -> None:
    """Wait until the process that `stat` was read from is dead."""
    try:
        pidfd = os.pidfd_open(stat.pid)
    except ProcessLookupError:
        return
    try:
        if is_same(stat):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def describe(pid: int) -> str | None:
    """A line about a living process; None if there is none."""
    stat = stat_of(pid)
    if stat is None or stat.dead:
        return None
    wchan = _read(f"/proc/{pid}/wchan").decode(errors="replace")
    place = f", wchan {wchan}" if wchan not in ("", "0") else ""
    return f"pid {pid} {stat.comm} (state {stat.state}{place})"


def describe_all(pids: Iterable[int]) -> tuple[str, ...]:
    """A line for each living process, up to a bound, and how many more there are."""
    pids = list(pids)
    lines = [line for pid in pids[:MAX_SURVIVORS] if (line := describe(pid)) is not None]
    if len(pids) > MAX_SURVIVORS:
        lines.append(f"and {len(pids) - MAX_SURVIVORS} more")
    return tuple(lines)
