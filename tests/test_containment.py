"""Containment: where cgroups are, whose a process is, and that a whole tree is gone."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from launching import (
    PATIENCE,
    Attempt,
    alive,
    all_dead,
    both,
    helper_of,
    needs_cgroup2,
    opened,
    run,
    stranger,
    tree,
    unique,
)

from supervisor import open_supervisor
from supervisor._model import Strength
from supervisor._records import Exited
from supervisor.launchers._containment import _proc
from supervisor.launchers._containment._proc import Claim, Seen, Stat, attribute, parse_stat
from supervisor.launchers._containment.base import ContainmentUnavailable
from supervisor.launchers._containment.cgroup import (
    Cgroup2,
    CgroupBox,
    EmptinessWatch,
    find_home,
)
from supervisor.launchers._containment.spare import SpareFds
from supervisor.launchers._spawner import HELPER as HELPER_PROGRAM

# --- a tree of 200 -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("politely", [False, True])
async def test_a_tree_of_two_hundred(containment: str, politely: bool) -> None:
    marker = unique("two-hundred")
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(marker))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        assert len(alive(marker)) == 200
        if politely:
            attempt.job.cancel(None)
            await attempt.job._child.ended.wait()  # type: ignore[attr-defined]
            assert await attempt.survivors()  # some of them ignore SIGTERM
            assert not attempt.ended.is_set()
        attempt.job.kill()
        await attempt.ended.wait()
        assert alive(marker) == []
        assert isinstance(attempt.exit, Exited)
        assert attempt.exit.signal == (signal.SIGTERM if politely else signal.SIGKILL)
        strengths = {"cgroup2": Strength.CERTAIN, "process_group": Strength.BEST_EFFORT}
        assert attempt.exit.proof.strength == strengths[containment]


@both
async def test_a_tree_that_grows_while_it_is_killed(containment: str) -> None:
    # Each process starts its successor and leaves: whoever is named is gone when it is signalled.
    marker = unique("chain")
    script = (
        "import os, sys, time\n"
        "print('up', flush=True)\n"
        "while True:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid(); time.sleep(0.001)\n"
    )
    argv = [sys.executable, "-S", "-c", f"import os\nif os.fork(): os.wait()\n{script}", marker]
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, argv)
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        attempt.job.kill()
        await attempt.ended.wait()
        assert alive(marker) == [] or containment == "process_group"
    assert alive(marker) == []


# --- without cgroups ---------------------------------------------------------------------------


async def test_one_that_shows_nothing_goes_with_the_last_command_that_may_have_started_it() -> None:
    marker = unique("hider")
    async with opened("process_group") as launcher, trio.open_nursery() as nursery:
        first = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(first.run)
        await first.sink.said(b"up")
        exit, _ = await run(launcher, *tree(marker, 2, "hidden", "leave"))
        assert isinstance(exit, Exited)
        assert len(alive(marker)) == 1  # of either command
        first.job.kill()
        await first.ended.wait()
        assert alive(marker) == []


async def test_another_command_of_the_same_helper_is_never_touched() -> None:
    async with opened("process_group") as launcher, trio.open_nursery() as nursery:
        bystander = Attempt(launcher, ["sh", "-c", "sleep 1000 & echo up; wait"])
        nursery.start_soon(bystander.run)
        await bystander.sink.said(b"up")
        for _ in range(5):
            async with trio.open_nursery() as together:
                for _ in range(10):
                    together.start_soon(Attempt(launcher, ["sh", "-c", "sleep 100 &"]).run)
        assert not bystander.ended.is_set()
        bystander.job.cancel(None)
        await bystander.ended.wait()
        assert isinstance(bystander.exit, Exited)
        assert bystander.exit.signal == signal.SIGTERM


async def test_one_that_cannot_be_killed_keeps_the_command_from_ending_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marker = unique("unkillable")
    real = signal.pidfd_send_signal
    async with opened("process_group") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(marker, 2, "setsid"))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")

        def refuse(pidfd: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
        attempt.job.kill()
        await attempt.job._child.ended.wait()  # type: ignore[attr-defined]
        (line,) = await attempt.survivors()
        assert not attempt.ended.is_set()
        assert line.startswith(f"pid {alive(marker)[0]} sleep (state S")
        monkeypatch.setattr(signal, "pidfd_send_signal", real)
        attempt.job.kill()  # tries again
        await attempt.ended.wait()
        assert alive(marker) == []


async def test_ended_leaders_and_orphans_are_reaped() -> None:
    async with opened("process_group") as launcher:
        for _ in range(3):
            await run(launcher, "sh", "-c", "(setsid sleep 1000 &) ; exit 0")
        for _ in range(3):
            await run(launcher, "true")
        helper = helper_of(launcher).pid
        path = trio.Path(f"/proc/{helper}/task/{helper}/children")
        left = (await path.read_text()).split()
    assert len(left) <= 1  # the last leader, if its release is still on the way


async def test_who_shares_only_the_session_is_found() -> None:
    # A group of its own, no cookie, no output, no parent; and another command could be its origin.
    marker = unique("same-session")
    # The leader leaves only when the child has exec'ed: the pipe closes.
    script = (
        "import os, sys\n"
        "ready, going = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setpgid(0, 0)\n"
        "    null = os.open('/dev/null', os.O_RDWR)\n"
        "    for fd in (0, 1, 2): os.dup2(null, fd)\n"
        "    os.execve('/bin/sleep', [sys.argv[1], '1000'], {})\n"
        "os.close(going)\n"
        "os.read(ready, 1)\n"
    )
    async with opened("process_group") as launcher, trio.open_nursery() as nursery:
        other = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(other.run)
        await other.sink.said(b"up")
        exit, _ = await run(launcher, sys.executable, "-S", "-c", script, marker)
        assert isinstance(exit, Exited)
        assert alive(marker) == []
        other.job.kill()


# --- whose a process is (pure) -------------------------------------------------------------------

HELPER = 100


def seen(pid: int, ppid: int = 1, *, sid: int = 0, start: int = 50, **kwargs: object) -> Seen:
    group = sid or pid
    return Seen(Stat(pid, "x", "S", ppid, group, group, start), **kwargs)  # type: ignore[arg-type]


def claim(name: str, leader: int | None = None, start: int = 10, pipe: int = 0) -> Claim:
    return Claim(name.encode(), leader, frozenset({pipe} if pipe else ()), start)


def owned(found: list[Seen], claims: dict[int, Claim], helper: int | None = HELPER) -> object:
    return {
        key: sorted(stat.pid for stat in stats)
        for key, stats in attribute(found, claims, helper).items()
    }


def test_by_session_cookie_and_output() -> None:
    found = [
        seen(201, sid=200),
        seen(202, cookie=b"a"),
        seen(203, pipes=frozenset({7})),
        seen(204),
    ]
    assert owned(found, {1: claim("a", leader=200, pipe=7)}) == {1: [201, 202, 203]}


def test_by_parent_and_by_session_of_a_member() -> None:
    found = [
        seen(300, cookie=b"a"),
        seen(301, ppid=300, sid=301),
        seen(302, ppid=301, sid=302),
        seen(303, sid=302),
        seen(304, sid=999),
    ]
    assert owned(found, {1: claim("a")}) == {1: [300, 301, 302, 303]}


def test_the_leaders_number_counts_only_while_it_is_certain() -> None:
    assert owned([seen(201, sid=200)], {1: claim("a", leader=None)}) == {}


def test_an_orphan_belongs_to_the_only_one_who_can_have_started_it() -> None:
    orphan = seen(400, ppid=HELPER, start=50)
    older, younger = claim("a", start=10), claim("b", start=60)
    assert owned([orphan], {1: older, 2: younger}) == {1: [400]}
    assert owned([orphan], {1: older, 2: claim("b", start=40)}) == {}
    assert owned([orphan], {2: younger}) == {}
    assert owned([orphan], {1: older}, helper=None) == {}
    assert owned([seen(400, ppid=1)], {1: older}) == {}


def test_the_children_of_an_orphan_go_with_it() -> None:
    found = [seen(400, ppid=HELPER), seen(401, ppid=400), seen(402, sid=401)]
    assert owned(found, {1: claim("a")}) == {1: [400, 401, 402]}


def test_a_cookie_is_worth_more_than_a_guess() -> None:
    found = [seen(400, ppid=HELPER, cookie=b"b", start=5)]
    assert owned(found, {1: claim("a", start=1), 2: claim("b", start=4)}) == {2: [400]}


def test_stat_with_an_odd_name() -> None:
    text = "12 (a) S (b) R 1 2 3 " + " ".join(str(n) for n in range(7, 30))
    stat = parse_stat(text)
    assert (stat.pid, stat.comm, stat.state, stat.ppid) == (12, "a) S (b", "R", 1)
    assert (stat.pgid, stat.sid, stat.start) == (2, 3, 22)


def test_own_stat() -> None:
    stat = _proc.stat_of(os.getpid())
    assert stat is not None
    assert (stat.pid, stat.ppid, stat.sid) == (os.getpid(), os.getppid(), os.getsid(0))
    assert stat.start <= _proc.ticks_now()


def test_a_number_that_was_given_to_another_is_not_the_same_process() -> None:
    stat = _proc.stat_of(os.getpid())
    assert stat is not None
    assert _proc.is_same(stat)
    assert not _proc.is_same(attrs.evolve(stat, start=stat.start - 1))


# --- pidfds ------------------------------------------------------------------------------------


def test_a_process_that_is_no_longer_the_one_is_not_signalled() -> None:
    with stranger() as process:
        _proc.signal_process(process.pid, lambda: False, signal.SIGKILL)
        assert process.poll() is None
        _proc.signal_process(process.pid, lambda: True, signal.SIGTERM)
        assert process.wait(PATIENCE) == -signal.SIGTERM
    _proc.signal_process(process.pid, lambda: True, signal.SIGKILL)  # gone: nothing happens


async def test_wait_dead() -> None:
    with stranger() as process:
        stat = _proc.stat_of(process.pid)
        assert stat is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_proc.wait_dead, stat)
            await trio.testing.wait_all_tasks_blocked()
            process.kill()
        await _proc.wait_dead(stat)
        process.wait()
        await _proc.wait_dead(stat)


def test_a_search_that_cannot_look_is_no_empty_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(os, "open", no_more)
    with pytest.raises(OSError, match="too many"):
        _proc.search(0, frozenset())


# --- cgroups -----------------------------------------------------------------------------------

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 - cgroup2 cgroup2 rw
"""
MEMBER = "9:name=systemd:/s\n0::/user.slice/a b\n"


def test_home_in_a_hybrid_layout() -> None:
    assert find_home(HYBRID, MEMBER) == "/sys/fs/cgroup/unified/user.slice/a b"
    assert find_home(HYBRID, "0::/\n") == "/sys/fs/cgroup/unified"


def test_home_below_a_mount_that_shows_a_part() -> None:
    mount = r"41 31 0:38 /user.slice /mnt/c\040g rw - cgroup2 cgroup2 rw"
    assert find_home(mount, MEMBER) == "/mnt/c g/a b"
    assert find_home(mount, "0::/user.slice") == "/mnt/c g"


@pytest.mark.parametrize(
    ("mountinfo", "membership", "words"),
    [
        (HYBRID, "4:memory:/x\n", "in no cgroup of version 2"),
        ("31 23 0:28 / /sys rw - tmpfs tmpfs rw", MEMBER, "no cgroup2 file system"),
        ("41 31 0:38 /other /mnt rw - cgroup2 cgroup2 rw", MEMBER, "shows our own"),
        (HYBRID, "0::/../elsewhere\n", "shows our own"),
    ],
)
def test_no_home(mountinfo: str, membership: str, words: str) -> None:
    with pytest.raises(ContainmentUnavailable, match=words):
        find_home(mountinfo, membership)


def box_of(attempt: Attempt) -> CgroupBox:
    box = attempt.job._box  # type: ignore[attr-defined]
    assert isinstance(box, CgroupBox)
    return box


@needs_cgroup2
async def test_cgroups_that_a_job_makes_in_its_own_go_with_it() -> None:
    async with opened("cgroup2") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        below = f"{box_of(attempt).cgroup}/a/b"
        os.makedirs(below)
        pid = attempt.job._child.pid  # type: ignore[attr-defined]
        Path(below, "cgroup.procs").write_text(str(pid))
        assert len(attempt.job.survivors()) == 1
        attempt.job.cancel(None)
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited) and attempt.exit.signal == signal.SIGTERM
        assert not await trio.Path(box_of(attempt).cgroup).exists()


@needs_cgroup2
async def test_the_frozen_are_killed_too() -> None:
    async with opened("cgroup2") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        Path(box_of(attempt).cgroup, "cgroup.freeze").write_text("1")
        attempt.job.cancel(None)
        attempt.job.kill()
        await attempt.ended.wait()
    assert isinstance(attempt.exit, Exited)


@needs_cgroup2
async def test_a_process_that_was_moved_away_is_not_signalled() -> None:
    async with opened("cgroup2") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        box = box_of(attempt)
        with stranger() as process:
            # As if the number had been given to it between the reading and the signal.
            box._terminate(process.pid)
            process.communicate()
            assert process.returncode == 0  # it ended by itself
        attempt.job.kill()
        await attempt.ended.wait()


@needs_cgroup2
async def test_no_cgroup_bears_the_name_of_a_job() -> None:
    async with opened("cgroup2") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        root, leaf = box_of(attempt).cgroup.rsplit("/", 2)[1:]
        assert root.startswith(f"trio-supervisor-{launcher._uuid}-")
        assert leaf == f"{launcher._uuid}-1"
        attempt.job.kill()


@needs_cgroup2
async def test_the_helper_is_in_no_cgroup_that_is_killed() -> None:
    async with opened("cgroup2") as launcher:
        await run(launcher, "true")
        helper = Path(f"/proc/{helper_of(launcher).pid}/cgroup").read_text()
        assert helper == Path("/proc/self/cgroup").read_text()


@needs_cgroup2
@pytest.mark.parametrize("pid_in_use", [False, True])
def test_a_helper_that_finds_its_supervisor_dead_leaves_no_cgroup(pid_in_use: bool) -> None:
    # As if the supervisor had been killed while the helper started; its number may be another's.
    home = Cgroup2("look")._home
    root = f"{home}/trio-supervisor-{unique('late')}"
    with stranger() as other:
        if not pid_in_use:
            other.kill()
            other.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            argv = [sys.executable, "-I", "-S", "-E", str(HELPER_PROGRAM), str(theirs.fileno())]
            argv += [str(other.pid), f"{home}/cgroup.procs", root]
            done = subprocess.run(argv, pass_fds=[theirs.fileno()], timeout=PATIENCE)
    assert done.returncode == 0
    assert not os.path.exists(root)


# --- descriptors in hand -----------------------------------------------------------------------


def test_a_spare_descriptor_is_given_up_and_taken_back() -> None:
    spare = SpareFds(2)
    calls: list[int] = []

    def act() -> str:
        calls.append(len(spare._fds))
        if len(calls) == 1:
            raise OSError(errno.EMFILE, "too many")
        return "done"

    assert spare.use(act) == "done"
    assert calls == [2, 0]
    assert len(spare._fds) == 2
    spare.close()


def test_other_errors_are_passed_on() -> None:
    spare = SpareFds(1)

    def act() -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        spare.use(act)
    spare.close()
    with pytest.raises(OSError, match="again"):
        spare.use(lambda: (_ for _ in ()).throw(OSError(errno.EMFILE, "again")))


@needs_cgroup2
async def test_events_that_cannot_be_read_end_the_wait_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(events: int) -> bool:
        raise OSError(errno.EIO, "no luck")

    async with opened("cgroup2") as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(unique("unread"), 3, "deaf"))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        attempt.job.cancel(None)
        await attempt.job._child.ended.wait()  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()  # it waits for the rest
        monkeypatch.setattr("supervisor.launchers._containment.cgroup._is_empty", fail)
        attempt.job.kill()
        await attempt.ended.wait()
    assert isinstance(attempt.exit, Exited)


async def test_a_watch_that_fails_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(watch: EmptinessWatch) -> None:
        raise ValueError

    monkeypatch.setattr(EmptinessWatch, "_look", fail)
    spare = SpareFds()
    read_end, write_end = os.pipe()
    os.close(write_end)
    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            watch = EmptinessWatch(spare, nursery)
            watch._epoll.register(read_end)
            watch.begin()
            try:
                await trio.sleep_forever()
            finally:
                await watch.aclose()  # noqa: ASYNC102 - it is shielded
    os.close(read_end)
    spare.close()


async def test_a_supervisor_without_commands_waits_for_no_file() -> None:
    async with open_supervisor():
        await trio.testing.wait_all_tasks_blocked()
        waiting = trio.lowlevel.current_statistics().io_statistics
        assert getattr(waiting, "tasks_waiting_read", 1) == 1  # Trio's own


async def test_all_dead_sees_the_end_of_strangers() -> None:
    marker = unique("me-too")
    # The independent look is itself looked at.
    with stranger(marker) as process:
        assert alive(marker) == [process.pid]
        process.kill()
        await all_dead([process.pid])
        assert process.wait() == -signal.SIGKILL
        assert alive(marker) == []
