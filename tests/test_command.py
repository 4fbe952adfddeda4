"""Commands, with real processes: how they end, what they say and get, and what goes wrong."""

from __future__ import annotations

import errno
import marshal
import os
import resource
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    cgroups_of,
    children,
    helper_of,
    needs_cgroup2,
    open_fds,
    opened,
    opened_with_a_job,
    run,
    tree,
    unique,
)
from server_kit import Refused, open_peer, open_world

from supervisor._errors import LaunchError
from supervisor._model import Command, Strength
from supervisor._records import Exited, NeverStarted, Vanished
from supervisor.launchers import _exec_helper
from supervisor.launchers._containment._proc import stat_of
from supervisor.launchers._containment.cgroup import EmptinessWatch
from supervisor.launchers._output import PipeReader
from supervisor.launchers._spawner import Helper, Request, Spawner
from supervisor.launchers.command import CommandAttempt, CommandLauncher

PY = [sys.executable, "-I", "-S", "-c"]
ROOT = Path(__file__).resolve().parent.parent


# --- how it ends ---------------------------------------------------------------------------------


@both
async def test_exit_code(containment: str) -> None:
    async with opened(containment) as launcher:
        exit, sink = await run(launcher, "sh", "-c", "exit 3")
    assert isinstance(exit, Exited)
    assert (exit.code, exit.signal, sink.starts) == (3, None, 1)


@both
async def test_signal(containment: str) -> None:
    async with opened(containment) as launcher:
        exit, _ = await run(launcher, "sh", "-c", "kill -USR1 $$")
    assert isinstance(exit, Exited)
    assert (exit.code, exit.signal) == (None, signal.SIGUSR1)


async def test_accepts_commands_only() -> None:
    launcher = CommandLauncher()
    assert launcher.accepts(Command(["true"]))
    assert not launcher.accepts("true")


@both
async def test_what_a_leader_leaves_running_is_killed_when_it_ends(containment: str) -> None:
    marker = unique("left-behind")
    async with opened(containment) as launcher:
        exit, _ = await run(launcher, *tree(marker, 20, "plain,setsid,deaf", "leave"))
    assert isinstance(exit, Exited) and exit.code == 0
    assert alive(marker) == []


@needs_cgroup2
async def test_proof_of_a_cgroup_is_certain() -> None:
    async with opened("cgroup2") as launcher:
        exit, _ = await run(launcher, "true")
    assert (exit.proof.means, exit.proof.strength) == ("cgroup_empty", Strength.CERTAIN)


async def test_proof_of_a_process_group_is_best_effort() -> None:
    async with opened("process_group") as launcher:
        exit, _ = await run(launcher, "true")
    assert (exit.proof.means, exit.proof.strength) == ("process_group_gone", Strength.BEST_EFFORT)
    assert launcher.why_not_cgroup2 is not None


# --- what it says --------------------------------------------------------------------------------


@both
async def test_stdout_and_stderr_are_told_apart_and_the_last_line_needs_no_end(
    containment: str,
) -> None:
    script = r"printf 'a\nb\r\n\nlast'; printf 'x\ny' >&2"
    async with opened(containment) as launcher:
        _, sink = await run(launcher, "sh", "-c", script)
    assert sink.of("stdout") == [b"a", b"b", b"", b"last"]
    assert sink.of("stderr") == [b"x", b"y"]


async def test_a_long_line_comes_in_pieces() -> None:
    script = "import sys; sys.stdout.write('x' * 200_000 + '\\nend\\n')"
    async with opened() as launcher:
        _, sink = await run(launcher, *PY, script)
    assert [len(line) for line in sink.of("stdout")] == [65536, 65536, 65536, 3392, 3]


async def test_all_output_arrives_before_the_end_however_much_it_is() -> None:
    script = "import os\nfor n in range(50_000): os.write(1, b'%d\\n' % n)"
    async with opened() as launcher:
        exit, sink = await run(launcher, *PY, script)
    assert exit.code == 0
    assert sink.of("stdout") == [b"%d" % n for n in range(50_000)]


@both
async def test_stdin_is_the_null_device(containment: str) -> None:
    async with opened(containment) as launcher:
        _, sink = await run(launcher, "sh", "-c", "readlink /proc/self/fd/0; wc -c")
    assert sink.of("stdout") == [b"/dev/null", b"0"]


async def test_only_the_three_standard_descriptors_are_inherited() -> None:
    async with opened() as launcher:
        inheritable = os.dup(0)
        os.set_inheritable(inheritable, True)
        try:
            _, sink = await run(launcher, *PY, "import os; print(os.listdir('/proc/self/fd'))")
        finally:
            os.close(inheritable)
    assert sink.of("stdout") == [b"['0', '1', '2', '3']"]  # 3 is the directory being listed


async def test_a_stranger_who_holds_the_pipe_does_not_delay_the_end() -> None:
    # The write end is handed to this very process, so no kill can make it go away.
    script = """
        import os, socket, sys
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1])
        socket.send_fds(sock, [b"x"], [1])
        sock.recv(1)
        print("said at last", flush=True)
    """
    async with opened() as launcher:
        address = f"/tmp/trio-supervisor-test-{os.getpid()}"
        with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as listener:
            await listener.bind(address)
            try:
                listener.listen(1)
                attempt = Attempt(
                    launcher, [sys.executable, "-c", textwrap.dedent(script), address]
                )
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(attempt.run)
                    peer, _ = await listener.accept()
                    _, ancillary, _, _ = await peer.recvmsg(1, 64)
                    held = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
                    await peer.send(b"go")
            finally:
                os.unlink(address)
        peer.close()
    assert attempt.sink.of("stdout") == [b"said at last"]
    with pytest.raises(BrokenPipeError):  # nobody reads it any more
        os.write(held, b"too late")
    os.close(held)


async def test_a_command_that_writes_without_end_does_not_hog_the_loop() -> None:
    async with opened() as launcher:
        attempt = Attempt(launcher, ["yes"])
        attempt.sink.log_line = lambda stream, data: None  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            for _ in range(10):
                await run(launcher, "true")  # each needs the loop to come round several times
            attempt.job.kill()
    assert isinstance(attempt.exit, Exited) and attempt.exit.signal == signal.SIGKILL


# --- what it gets --------------------------------------------------------------------------------


@needs_cgroup2
async def test_the_environment_arrives_byte_for_byte() -> None:
    env = {
        b"app.name": b"dotted",
        b"BASH_FUNC_x%%": b"() { :; }",
        b"bytes\xff\xfe": b"\x80\xff\n=",
        "text": "\u00e9\udcff",
        "EMPTY": "",
    }
    async with opened("cgroup2") as launcher:
        # cat, not a shell: shells change environments.
        _, sink = await run(launcher, "/bin/cat", "/proc/self/environ", env=env)
    got = b"\n".join(sink.of("stdout")).rstrip(b"\0").split(b"\0")
    assert sorted(got) == sorted(
        [
            b"app.name=dotted",
            b"BASH_FUNC_x%%=() { :; }",
            b"bytes\xff\xfe=\x80\xff\n=",
            b"text=\xc3\xa9\xff",
            b"EMPTY=",
        ]
    )


async def test_without_cgroups_one_cookie_is_added() -> None:
    async with opened("process_group") as launcher:
        _, sink = await run(launcher, "/bin/cat", "/proc/self/environ", env={"A": "1"})
    names = [entry.partition(b"=")[0] for entry in sink.of("stdout")[0].split(b"\0") if entry]
    assert names == [b"A", b"TRIO_SUPERVISOR_COOKIE"]


async def test_env_none_inherits_but_for_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as launcher:
        monkeypatch.setenv("TRIO_SUPERVISOR_TOKEN", "secret")
        monkeypatch.setenv("SET_LATER", "yes")
        _, sink = await run(launcher, "env")
        helper = Path(f"/proc/{helper_of(launcher).pid}/environ").read_bytes()
    assert b"SET_LATER=yes" in sink.of("stdout")
    assert b"secret" not in b"".join(sink.of("stdout")) + helper


async def test_a_large_environment_travels_whole() -> None:
    env = {f"N{n}": "x" * 1000 for n in range(500)}
    async with opened() as launcher:
        _, sink = await run(launcher, *PY, "import os; print(len(os.environ['N499']))", env=env)
    assert sink.of("stdout") == [b"1000"]


async def test_arguments_are_bytes(tmp_path: Path) -> None:
    async with opened() as launcher:
        _, sink = await run(launcher, b"printf", b"%s|", b"\xff\xfe", "\u00e9", "")
    assert sink.of("stdout") == [b"\xff\xfe|\xc3\xa9||"]


async def test_signals_are_at_their_defaults_and_unblocked() -> None:
    async with opened() as launcher:
        _, sink = await run(launcher, "cat", "/proc/self/status")
    internal = 0b11 << 31  # 32 and 33 are glibc's own; its posix_spawn leaves them ignored
    status = dict(line.split(b":\t", 1) for line in sink.of("stdout"))
    masks = [int(status[name], 16) & ~internal for name in (b"SigBlk", b"SigIgn", b"SigCgt")]
    assert masks == [0, 0, 0]


async def test_a_command_leads_a_session_of_its_own() -> None:
    async with opened() as launcher:
        script = "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))"
        _, sink = await run(launcher, *PY, script)
    assert sink.of("stdout") == [b"True"]


async def test_cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    async with opened() as launcher:
        _, absolute = await run(launcher, "pwd", "-P", cwd=str(tmp_path))
        monkeypatch.chdir(tmp_path)  # after the helper was started
        _, none = await run(launcher, "pwd", "-P")
        _, relative = await run(launcher, "pwd", "-P", cwd="below")
    assert absolute.of("stdout") == none.of("stdout") == [os.fsencode(tmp_path)]
    assert relative.of("stdout") == [os.fsencode(tmp_path / "below")]


async def test_a_program_is_looked_up_in_the_path_of_its_own_environment(tmp_path: Path) -> None:
    denied = tmp_path / "denied"
    found = tmp_path / "found"
    for directory, mode in ((denied, 0o644), (found, 0o755)):
        directory.mkdir()
        (directory / "prog").write_text("#!/bin/sh\necho $0\n")
        (directory / "prog").chmod(mode)
    env = {"PATH": f"/nowhere:/etc/passwd:{denied}:{found}"}
    async with opened() as launcher:
        _, sink = await run(launcher, "prog", env=env)
        never, _ = await run(launcher, "prog", env={"PATH": str(denied)})
        _, default = await run(launcher, "true", env={})
    assert sink.of("stdout") == [os.fsencode(found / "prog")]
    assert never.error.type == "PermissionError"
    assert default.starts == 1


# --- what goes wrong -----------------------------------------------------------------------------


def never_started(exit: object) -> tuple[str, str]:
    assert isinstance(exit, NeverStarted) and exit.error is not None
    assert (exit.proof.means, exit.proof.strength) == ("never_started", Strength.CERTAIN)
    return exit.error.type, exit.error.message


@both
async def test_a_missing_program_is_no_exit_code(containment: str) -> None:
    async with opened(containment) as launcher:
        by_name, sink = await run(launcher, "no-such-program", env={"PATH": "/bin"})
        by_path, _ = await run(launcher, "/no/such/program")
        exit_127, _ = await run(launcher, "sh", "-c", "exit 127")
        assert sink.starts == 0
        if containment == "cgroup2":
            assert leaves(launcher) == []
    assert never_started(by_name) == (
        "FileNotFoundError",
        "program 'no-such-program' was not found (PATH is '/bin')",
    )
    assert never_started(by_path)[1] == "program '/no/such/program' does not exist"
    assert isinstance(exit_127, Exited) and exit_127.code == 127


def leaves(launcher: CommandLauncher) -> list[str]:
    root = Path(launcher._ways[0].containment._root)  # type: ignore[attr-defined]
    return [entry.name for entry in root.iterdir() if entry.is_dir()]


@both
async def test_a_cwd_that_is_gone(containment: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    async with opened(containment) as launcher:
        missing, _ = await run(launcher, "true", cwd=gone)
        file, _ = await run(launcher, "true", cwd="/etc/passwd")
        after, _ = await run(launcher, "true")
    assert never_started(missing) == (
        "FileNotFoundError",
        f"the working directory {gone!r} does not exist",
    )
    assert never_started(file)[0] == "NotADirectoryError"
    assert isinstance(after, Exited)


async def test_programs_that_cannot_be_executed(tmp_path: Path) -> None:
    cases = {
        "plain": ("echo", 0o644, "PermissionError", "not executable"),
        "bare": ("echo hi\n", 0o755, "OSError", "#! line"),
        "lost": ("#!/no/such/shell\n", 0o755, "FileNotFoundError", "interpreter"),
    }
    async with opened() as launcher:
        for name, (text, mode, kind, words) in cases.items():
            path = tmp_path / name
            path.write_text(text)
            path.chmod(mode)
            error = never_started((await run(launcher, str(path)))[0])
            assert error[0] == kind and words in error[1], error


async def test_arguments_that_are_too_long() -> None:
    async with opened() as launcher:
        exit, _ = await run(launcher, "true", "x" * 3_000_000)
        after, _ = await run(launcher, "true")
    assert "too long" in never_started(exit)[1]
    assert isinstance(after, Exited)


@contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """Keep `pid` from starting processes."""
    if os.geteuid():
        old = resource.prlimit(pid, resource.RLIMIT_NPROC, (0, resource.RLIM_INFINITY))
        yield
        resource.prlimit(pid, resource.RLIMIT_NPROC, old)
        return
    controller = Path("/sys/fs/cgroup/pids")  # limits by RLIMIT_NPROC do not hold for root
    place = controller / f"trio-supervisor-test-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"as root this needs the pids controller of cgroup v1: {error}")
    home = f"{controller}{own_cgroup('pids')}"
    (place / "pids.max").write_text("1")
    (place / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        Path(home, "cgroup.procs").write_text(str(pid))
        place.rmdir()


def own_cgroup(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.rstrip("/")
    pytest.skip(f"no cgroup v1 controller {controller}")


@both
async def test_too_many_processes(containment: str) -> None:
    async with opened(containment) as launcher:
        await run(launcher, "true")
        with no_more_processes(helper_of(launcher).pid):
            exit, sink = await run(launcher, "true")
        after, _ = await run(launcher, "true")
    assert "too many processes" in never_started(exit)[1]
    assert sink.starts == 0
    assert isinstance(after, Exited)


async def test_a_launcher_that_is_not_open_says_so() -> None:
    launcher = CommandLauncher()
    exit, _ = await run(launcher, "true")
    assert never_started(exit) == ("LaunchError", "the command launcher is not open")


async def test_no_interpreter_to_run_the_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as launcher:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        exit, _ = await run(launcher, "true")
        monkeypatch.setattr(sys, "executable", "/bin/false")
        ended, _ = await run(launcher, "true")
    assert "cannot be started" in never_started(exit)[1]
    assert "exit code 1 as it started" in never_started(ended)[1]


@needs_cgroup2
async def test_what_cannot_be_placed_is_not_started(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    async with opened("cgroup2") as launcher:
        await run(launcher, "true")
        containment = launcher._ways[0].containment
        made = containment.box

        def vanishing() -> object:
            box = made()
            os.rmdir(box.cgroup)
            return box

        containment.box = vanishing  # type: ignore[method-assign, assignment]
        exit, sink = await run(launcher, "touch", str(proof))
    assert "cgroup" in never_started(exit)[1]
    assert sink.starts == 0 and not proof.exists()


# --- cancel and kill -----------------------------------------------------------------------------


@both
async def test_cancel_and_kill_before_run_start_nothing(containment: str) -> None:
    async with opened(containment) as launcher:
        for ask in ("cancel", "kill"):
            attempt = Attempt(launcher, ["true"])
            attempt.job.cancel(None) if ask == "cancel" else attempt.job.kill()
            exit = await attempt.run()
            assert isinstance(exit, NeverStarted) and exit.error is None
            assert attempt.sink.starts == 0
        assert launcher._ways[0].spawner.current is None  # not even the helper


@both
async def test_cancel_while_the_helper_starts_starts_nothing(containment: str) -> None:
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["true"])
        async with launcher._ways[0].spawner._starting:
            nursery.start_soon(attempt.run)
            await trio.testing.wait_all_tasks_blocked()
            attempt.job.cancel("no more")
        await attempt.ended.wait()
        assert isinstance(attempt.exit, NeverStarted) and attempt.exit.error is None
        assert attempt.sink.starts == 0


@both
@pytest.mark.parametrize(("ask", "number"), [("cancel", 15), ("kill", 9)])
async def test_a_stop_while_the_spawn_is_under_way_takes_effect_at_once(
    containment: str, ask: str, number: int
) -> None:
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        await run(launcher, "true")
        helper = helper_of(launcher).pid
        os.kill(helper, signal.SIGSTOP)
        attempt = Attempt(launcher, ["sleep", "1000"])
        nursery.start_soon(attempt.run)
        await trio.testing.wait_all_tasks_blocked()
        assert "has not answered" in attempt.job.survivors()[-1]
        attempt.job.cancel(None) if ask == "cancel" else attempt.job.kill()
        os.kill(helper, signal.SIGCONT)
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited)
        assert attempt.exit.signal == number


@both
async def test_cancel_reaches_everyone_with_sigterm(containment: str) -> None:
    marker = unique("polite")
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(marker, 30, "plain,setsid,daemon"))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        assert len(alive(marker)) == 30
        attempt.job.cancel(None)
        attempt.job.cancel(None)
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited) and attempt.exit.signal == signal.SIGTERM
        assert alive(marker) == []


@both
async def test_cancel_reaches_the_stopped(containment: str) -> None:
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", "echo up; exec sleep 1000"])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        pid = attempt.job._child.pid  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGSTOP)
        while (stat := stat_of(pid)) is not None and stat.state != "T":
            await trio.testing.wait_all_tasks_blocked()
        attempt.job.cancel(None)
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited) and attempt.exit.signal == signal.SIGTERM


@both
async def test_after_a_cancel_the_rest_of_the_tree_may_use_its_grace(containment: str) -> None:
    # The leader leaves on SIGTERM; its child, which ignores it, is left until it is killed.
    script = "trap 'exit 7' TERM; (trap '' TERM; echo up; exec sleep 1000) & wait"
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, ["sh", "-c", script])
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        attempt.job.cancel(None)
        await attempt.job._child.ended.wait()  # type: ignore[attr-defined]
        assert len(await attempt.survivors()) == 1
        assert not attempt.ended.is_set()
        attempt.job.kill()
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited) and attempt.exit.code == 7


@both
async def test_who_ignores_sigterm_is_ended_by_kill(containment: str) -> None:
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(
            launcher, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]
        )
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        attempt.job.cancel(None)
        await trio.testing.wait_all_tasks_blocked()
        assert not attempt.ended.is_set()
        assert any(" sh " in line for line in attempt.job.survivors())
        attempt.job.kill()
        attempt.job.kill()
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Exited) and attempt.exit.signal == signal.SIGKILL
        attempt.job.kill()
        attempt.job.cancel(None)
        assert attempt.job.survivors() == ()


@both
async def test_a_cancelled_run_kills_and_proves_before_it_lets_go(containment: str) -> None:
    marker = unique("let-go")
    async with opened(containment) as launcher:
        attempt = Attempt(launcher, tree(marker, 20, "plain,setsid,deaf"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            await attempt.sink.said(b"up")
            nursery.cancel_scope.cancel()
        assert attempt.exit is None  # Cancelled went through
        assert alive(marker) == []


@both
async def test_jobs_end_although_everything_around_the_launcher_is_cancelled(
    containment: str,
) -> None:
    launcher = CommandLauncher(containment=containment)  # type: ignore[arg-type]
    with trio.CancelScope() as scope:
        async with launcher.open(), trio.open_nursery() as nursery:
            nursery.cancel_scope.shield = True
            attempt = Attempt(launcher, ["sh", "-c", "echo up; sleep 1000"])
            nursery.start_soon(attempt.run)
            await attempt.sink.said(b"up")
            scope.cancel()
            attempt.job.kill()
    assert isinstance(attempt.exit, Exited)


# --- the helper ----------------------------------------------------------------------------------


@both
async def test_a_killed_helper_takes_its_commands_along_and_is_replaced(containment: str) -> None:
    marker = unique("helperless")
    async with opened(containment) as launcher:
        attempt = Attempt(launcher, tree(marker, 20, "plain,setsid,deaf"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt.run)
            await attempt.sink.said(b"up")
            first = helper_of(launcher).pid
            os.kill(first, signal.SIGKILL)
        assert alive(marker) == []
        assert isinstance(attempt.exit, Vanished)
        assert "was killed by SIGKILL" in attempt.exit.error.message
        exit, _ = await run(launcher, "true")
        assert isinstance(exit, Exited)
        assert helper_of(launcher).pid != first


@both
async def test_a_helper_killed_while_its_command_uses_its_grace(containment: str) -> None:
    marker = unique("graceless")
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(marker, 10, "deaf"))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        os.kill(attempt.job._child.pid, signal.SIGSTOP)  # type: ignore[attr-defined]
        helper = helper_of(launcher).pid
        os.kill(helper, signal.SIGSTOP)
        attempt.job.cancel(None)
        os.kill(helper, signal.SIGKILL)
        await attempt.ended.wait()  # nobody calls kill()
        assert isinstance(attempt.exit, Vanished)
        assert alive(marker) == []


@both
async def test_a_request_that_cannot_be_sent_leaves_nothing(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Helper, child: object, request: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    async with opened(containment) as launcher:
        await run(launcher, "true")
        before = open_fds()
        monkeypatch.setattr(Helper, "spawn", fail)
        exit, _ = await run(launcher, "true")
        assert open_fds() == before
        if containment == "cgroup2":
            assert leaves(launcher) == []
        else:
            assert launcher._ways[0].containment.boxes == {}  # type: ignore[attr-defined]
    assert never_started(exit) == ("OSError", "no memory")


@both
async def test_a_helper_killed_with_a_spawn_under_way(containment: str) -> None:
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        await run(launcher, "true")
        helper = helper_of(launcher).pid
        os.kill(helper, signal.SIGSTOP)
        attempt = Attempt(launcher, ["sleep", "1000"])
        nursery.start_soon(attempt.run)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(helper, signal.SIGKILL)
        await attempt.ended.wait()
        assert isinstance(attempt.exit, Vanished)


async def test_the_helper_is_deaf_to_signals_meant_for_others() -> None:
    async with opened() as launcher:
        await run(launcher, "true")
        helper = helper_of(launcher).pid
        assert os.getsid(helper) == helper  # out of reach of the terminal's Ctrl+C
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(helper, number)
        exit, _ = await run(launcher, "true")
        assert isinstance(exit, Exited)
        assert helper_of(launcher).pid == helper


@both
@pytest.mark.parametrize("forked", [False, True])
async def test_nothing_is_left_when_the_supervisor_is_killed(
    containment: str, forked: bool
) -> None:
    # A fork of the supervisor may live on and hold the socket to the helper.
    marker = unique("orphaned")
    script = f"""
        import os, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
        import trio
        from launching import Attempt, opened, tree

        async def main():
            async with opened({containment!r}) as launcher, trio.open_nursery() as nursery:
                attempt = Attempt(launcher, tree({marker!r}, 60))
                nursery.start_soon(attempt.run)
                await attempt.sink.said(b"up")
                fork = os.fork() if {forked} else 0
                if {forked} and not fork:
                    os.read(0, 1)  # until the test closes the other end
                    os._exit(0)
                os.write(1, f"{{launcher._uuid}} {{fork}}".encode())
                await trio.sleep_forever()

        trio.run(main)
    """
    with trio.fail_after(PATIENCE):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", textwrap.dedent(script)], stdin=-1, stdout=-1
        )
        assert process.stdin is not None and process.stdout is not None
        async with process.stdin, process.stdout:
            uuid, fork = (await process.stdout.receive_some(100)).decode().split()
            helpers = children_of(process.pid)
            pids = alive(marker)
            assert len(pids) == 60
            process.kill()
            await process.wait()
            await all_dead(pids)
            await all_dead(helper for helper in helpers if helper != int(fork))
    assert alive(marker) == []
    assert [name for name in cgroup_names() if uuid in name] == []


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def cgroup_names() -> list[str]:
    from supervisor.launchers._containment.base import ContainmentUnavailable
    from supervisor.launchers._containment.cgroup import Cgroup2

    try:
        return os.listdir(Cgroup2("look")._home)
    except ContainmentUnavailable:
        return []


# --- many, and what is left ----------------------------------------------------------------------


@both
async def test_nothing_is_left_when_the_launcher_is_closed(containment: str) -> None:
    before, offspring = open_fds(), children()
    launcher = CommandLauncher(containment=containment)  # type: ignore[arg-type]
    with trio.fail_after(PATIENCE):
        async with launcher.open():
            jobs = [Attempt(launcher, ["sh", "-c", "sleep 1000 & echo x"]) for _ in range(10)]
            jobs += [Attempt(launcher, ["no-such-program"]) for _ in range(10)]
            jobs += [Attempt(launcher, ["sleep", "1000"]) for _ in range(10)]
            async with trio.open_nursery() as nursery:
                for attempt in jobs:
                    nursery.start_soon(attempt.run)
                for attempt in jobs[-10:]:
                    await attempt.sink.has_started()
                    attempt.job.cancel(None)
    assert all(attempt.exit is not None for attempt in jobs)
    assert open_fds() == before
    assert children() == offspring
    assert cgroups_of(launcher) == []


@both
async def test_five_hundred_at_once_under_the_usual_limit_of_descriptors(containment: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened(containment) as launcher:
        await run(launcher, "true")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft) + len(open_fds()), hard))
        try:
            jobs = [Attempt(launcher, ["sleep", "1000"]) for _ in range(500)]
            async with trio.open_nursery() as nursery:
                for attempt in jobs:
                    nursery.start_soon(attempt.run)
                for attempt in jobs:
                    await attempt.sink.has_started()
                for attempt in jobs:
                    attempt.job.cancel(None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {getattr(attempt.exit, "signal", None) for attempt in jobs} == {signal.SIGTERM}


@both
async def test_when_descriptors_run_out_starting_fails_and_ending_does_not(
    containment: str,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with opened(containment) as launcher:
        await run(launcher, "true")
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(open_fds()) + 25, hard))
        held: list[int] = []
        try:
            # Leaders that leave on SIGTERM and a child that does not: the end needs a descriptor.
            script = "trap 'exit 0' TERM; (trap '' TERM; echo up; exec sleep 1000) & wait"
            jobs = [Attempt(launcher, ["sh", "-c", script]) for _ in range(20)]
            async with trio.open_nursery() as nursery:
                for attempt in jobs:
                    nursery.start_soon(attempt.run)
                for attempt in jobs:
                    await attempt.up_or_ended()
                failed = [attempt for attempt in jobs if attempt.exit is not None]
                lived = [attempt for attempt in jobs if attempt.exit is None]
                assert failed and lived
                while True:
                    try:
                        held.append(os.dup(0))
                    except OSError:
                        break
                for attempt in lived:
                    attempt.job.cancel(None)
                await trio.testing.wait_all_tasks_blocked()
                for attempt in lived:
                    attempt.job.kill()
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        after, _ = await run(launcher, "true")
    assert isinstance(after, Exited)
    assert all(isinstance(attempt.exit, Exited) for attempt in lived)
    assert [attempt.job._trouble for attempt in lived if attempt.job._trouble] == []  # type: ignore[attr-defined]
    assert {never_started(attempt.exit)[1] for attempt in failed} == {
        "the supervisor has too many open files (see `ulimit -n`)"
    }


# --- the choice ----------------------------------------------------------------------------------


async def test_cgroups_that_are_demanded_and_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deny_cgroups(monkeypatch)
    with pytest.RaisesGroup(pytest.RaisesExc(LaunchError, match="cannot be contained in cgroups")):
        async with CommandLauncher(containment="cgroup2").open():
            pass


async def test_auto_falls_back_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    deny_cgroups(monkeypatch)
    async with opened("auto") as launcher:
        assert (launcher.containment, launcher.why_not_cgroup2) == ("process_group", "not today")
        exit, _ = await run(launcher, "true")
    assert isinstance(exit, Exited) and exit.proof.means == "process_group_gone"


def deny_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor.launchers._containment import base, cgroup

    def denied() -> str:
        raise base.ContainmentUnavailable("not today")

    monkeypatch.setattr(cgroup, "_own_home", denied)


@needs_cgroup2
async def test_auto_falls_back_when_the_real_try_fails() -> None:
    async with opened("auto") as launcher:
        assert launcher.containment == "cgroup2"
        # A home that one cannot come back to.
        launcher._ways[0].spawner._home = "/proc/self"
        exit, _ = await run(launcher, "true")
        assert launcher.containment == "process_group"
        assert "cannot be placed" in (launcher.why_not_cgroup2 or "")
    assert isinstance(exit, Exited) and exit.proof.means == "process_group_gone"


def test_a_containment_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="containment is"):
        CommandLauncher(containment="jail")  # type: ignore[arg-type]


# --- odd commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"argv": [""]}, ValueError, "argv[0] is empty"),
        ({"argv": ["a\0b"]}, ValueError, r"argv item 'a\x00b' holds a NUL"),
        ({"argv": ["true", b"a\0"]}, ValueError, "holds a NUL"),
        ({"argv": ["true", "\ud800"]}, ValueError, r"argv item '\ud800' holds a lone surrogate"),
        ({"argv": ["true", 5]}, TypeError, "argv items are str or bytes, not int"),
        ({"argv": ["true"], "cwd": ""}, ValueError, "cwd is empty"),
        ({"argv": ["true"], "cwd": "a\0b"}, ValueError, r"cwd 'a\x00b' holds a NUL"),
        ({"argv": ["true"], "cwd": "\ud800"}, ValueError, "cwd '\\ud800' holds a lone surrogate"),
        ({"argv": ["true"], "cwd": "\u00e4" * 2048}, ValueError, "cwd has 4096 bytes"),
        ({"argv": ["true"], "cwd": 5}, TypeError, "cwd is a str, not int"),
        ({"argv": ["true"], "cwd": b"/"}, TypeError, "cwd is a str, not bytes"),
        ({"argv": ["true"], "env": {"A": "\ud800"}}, ValueError, "env entry 'A' holds a lone"),
        ({"argv": ["true"], "env": {"A": "\0"}}, ValueError, "env entry 'A' holds a NUL"),
        ({"argv": ["true"], "env": {"A": 5}}, TypeError, "env holds str or bytes, not int"),
        ({"argv": ["true"], "env": ["A=B"]}, TypeError, "env is a mapping"),
    ],
)
def test_a_command_that_no_program_can_be_given(
    arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        Command(**arguments)
    assert type(caught.value) is kind and words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"argv": [""]}, "$.params.command"),
        ({"argv": ["true"], "cwd": "a\0b"}, "$.params.command"),
        ({"argv": ["true"], "cwd": ""}, "$.params.command.cwd"),
        ({"argv": ["true"], "cwd": "x" * 4096}, "$.params.command"),
        ({"argv": ["true"], "cwd": "x" * 70_000}, "$.params.command.cwd"),
        ({"argv": ["true"], "env": {"": ""}}, "$.params.command"),
    ],
)
async def test_over_the_wire_it_is_refused_by_path(arguments: dict[str, Any], path: str) -> None:
    async with open_world() as world, open_peer(world) as peer:
        with pytest.raises(Refused) as refused:
            await peer.call("job.start", command=arguments)
        assert world.jobs() == {}
    assert (refused.value.code, refused.value.path) == (-32602, path)


def test_the_longest_commands_that_there_are_are_not_refused() -> None:
    command = Command(["x" * 300_000, b"\xff", "\udcff"], cwd="x" * 4095, env={b"\xff": ""})
    assert len(command.argv) == 3


@both
@pytest.mark.parametrize("length", [70_000, 300_000])
async def test_a_name_of_any_length_is_the_trouble_of_its_own_command(
    containment: str, length: int
) -> None:
    async with opened_with_a_job(containment) as (launcher, other):
        helper = helper_of(launcher).pid
        by_name, _ = await run(launcher, "x" * length, env={"PATH": "/bin:" + "y" * length})
        by_path, _ = await run(launcher, "/" + "x" * length)
        assert helper_of(launcher).pid == helper and other.exit is None
        other.job.kill()
    for exit in (by_name, by_path):
        assert len(never_started(exit)[1]) < 3000
    assert isinstance(other.exit, Exited)


@both
@pytest.mark.parametrize(
    "request_of",
    [
        pytest.param(lambda good: attrs.evolve(good, argv=[]), id="no argv"),
        pytest.param(lambda good: attrs.evolve(good, argv=[b""]), id="empty name"),
        pytest.param(lambda good: attrs.evolve(good, argv=[b"/bin/true", b"\0"]), id="NUL"),
        pytest.param(lambda good: attrs.evolve(good, argv=[b"/bin/true", 5]), id="no bytes"),
        pytest.param(lambda good: attrs.evolve(good, cwd=b"a\0b"), id="NUL in cwd"),
        pytest.param(lambda good: attrs.evolve(good, cwd=b"x" * 70_000), id="long cwd"),
        pytest.param(lambda good: attrs.evolve(good, env={b"A=": b""}), id="odd variable"),
    ],
)
async def test_whatever_goes_wrong_in_the_helper_is_the_trouble_of_one_command(
    containment: str,
    request_of: Callable[[Request], Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = CommandAttempt._request
    async with opened_with_a_job(containment) as (launcher, other):
        helper = helper_of(launcher).pid
        with monkeypatch.context() as patch:
            patch.setattr(CommandAttempt, "_request", lambda *args: request_of(real(*args)))
            odd, _ = await run(launcher, "true")
        after, _ = await run(launcher, "true")
        assert helper_of(launcher).pid == helper and other.exit is None
        other.job.kill()
    assert never_started(odd)[1]
    assert isinstance(after, Exited) and after.code == 0


async def test_what_the_locale_cannot_encode_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> Request:
        "\u20ac".encode("latin-1")
        raise AssertionError

    async with opened() as launcher:
        monkeypatch.setattr(CommandAttempt, "_request", refuse)
        exit, _ = await run(launcher, "true")
    kind, message = never_started(exit)
    assert kind == "UnicodeEncodeError" and "latin-1" in message


# --- a helper that cannot be understood ----------------------------------------------------------


@both
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(marshal.dumps(("failed", 1, "exec", 2, b"x" * 99))[:-9], id="cut"),
        pytest.param(marshal.dumps(("ended", 12345, 0, None)), id="nobody's"),
        pytest.param(marshal.dumps(("hello",)), id="unknown"),
        pytest.param(marshal.dumps(5), id="no tuple"),
    ],
)
async def test_a_helper_that_makes_no_sense_is_replaced(
    containment: str, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = marshal.loads
    async with opened_with_a_job(containment) as (launcher, attempt):
        first = helper_of(launcher).pid
        with monkeypatch.context() as patch:
            patch.setattr("supervisor.launchers._spawner.marshal.loads", lambda _: real(answer))
            await run(launcher, "true")
        await attempt.ended.wait()
        exit, _ = await run(launcher, "true")
        assert helper_of(launcher).pid != first
    assert isinstance(attempt.exit, Vanished)
    assert "its answer could not be read" in attempt.exit.error.message
    assert isinstance(exit, Exited)


def test_an_answer_that_is_too_long_does_not_mean_that_the_supervisor_is_gone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        helper = _exec_helper.Helper(theirs, "", -1)
        with ours, pytest.raises(OSError, match="too long") as caught:
            helper.reply("failed", b"x" * 1_000_000)
        assert caught.value.errno == errno.EMSGSIZE
        with pytest.raises(_exec_helper.SupervisorGone):
            helper.reply("failed")


def test_a_helper_that_finds_no_way_home_ends() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here = os.open(".", os.O_PATH)
    helper = _exec_helper.Helper(theirs, "/cgroup", -1)
    body = marshal.dumps(([b"/no/such/program"], {}, None))
    message = marshal.dumps(("spawn", 1, "/cgroup/job", body))
    fds = [os.dup(1), os.dup(2), here]
    with ours, theirs, pytest.raises(_exec_helper.Stranded, match="no way back from /cgroup/job"):
        helper.handle(message, fds, False)


async def test_a_helper_that_cannot_be_told_to_kill_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*args: object) -> None:
        raise OSError(errno.ENOBUFS, "no buffers")

    async with opened_with_a_job("process_group") as (_, attempt):
        with monkeypatch.context() as patch:
            patch.setattr(Helper, "_send_nowait", lambda *_: False)
            patch.setattr(Helper, "_send", fail)
            attempt.job.kill()
            await attempt.ended.wait()
    assert isinstance(attempt.exit, Vanished)
    assert "no buffers" in attempt.exit.error.message


# --- Ctrl+C --------------------------------------------------------------------------------------


@both
def test_an_interrupted_close_takes_every_step(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for the helper's end is interrupted, as Ctrl+C in the main task does."""
    real = Helper.aclose

    async def interrupted(self: Helper) -> None:
        await real(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Helper, "aclose", interrupted)
    before = open_fds()
    launcher = CommandLauncher(containment=containment)  # type: ignore[arg-type]

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with launcher.open():
                await run(launcher, "true")

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        trio.run(main)
    assert cgroups_of(launcher) == []
    assert open_fds() == before


@both
def test_ctrl_c_while_the_launcher_closes(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper is stopped: it does not end by itself, and has to be killed all the same."""
    monkeypatch.setattr("supervisor.launchers._spawner.CLOSE_SECONDS", 0.1)
    launcher = CommandLauncher(containment=containment)  # type: ignore[arg-type]

    @trio.lowlevel.enable_ki_protection  # it is for the main task
    async def interrupt() -> None:
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery, launcher.open():
                await run(launcher, "true")
                os.kill(helper_of(launcher).pid, signal.SIGSTOP)
                nursery.start_soon(interrupt)

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        trio.run(main)
    assert cgroups_of(launcher) == []


BACKGROUND = [
    (Helper, "_handle"),
    (Helper, "_send_nowait"),
    (Helper, "_finish"),
    (PipeReader, "_read"),
    (CommandAttempt, "_spawn"),
    (CommandAttempt, "_live"),
    (Spawner, "aclose"),
]


@both
async def test_what_runs_in_the_background_is_safe_from_ctrl_c(
    containment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for the application's own code to be interrupted; ours would take all jobs down."""
    protected: dict[str, set[bool]] = {}

    def watch(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def watched(*args: Any) -> Any:
            protected.setdefault(name, set()).add(trio.lowlevel.currently_ki_protected())
            return real(*args)

        monkeypatch.setattr(kind, name, watched)

    look = [(EmptinessWatch, "_look")] if containment == "cgroup2" else []
    for kind, name in BACKGROUND + look:
        watch(kind, name)
    async with opened(containment) as launcher, trio.open_nursery() as nursery:
        attempt = Attempt(launcher, tree(unique("protected"), 3, "deaf"))
        nursery.start_soon(attempt.run)
        await attempt.sink.said(b"up")
        attempt.job.cancel(None)
        await attempt.job._child.ended.wait()  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()
        attempt.job.kill()
    assert protected == {name: {True} for _, name in BACKGROUND + look}
