"""What is left behind in this process since a first look."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from supervisor.testing._cancelling import leaks
from supervisor.testing._cancelling.leaks import Leak, left_since, snapshot

FOREVER = [sys.executable, "-c", "print(flush=True); input()"]
"""Says when it has begun: before that it may not have its own command line yet."""


@contextmanager
def child(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def thread_that_waits(name: str) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name=name)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


def kinds(left: tuple[Leak, ...]) -> list[str]:
    return [each.kind for each in left]


def test_nothing_is_left_of_nothing() -> None:
    assert left_since(snapshot()) == ()
    assert snapshot().unseen == ()


def test_what_was_there_before_is_not_left(tmp_path: Path) -> None:
    with (
        thread_that_waits("old"),
        child(FOREVER),
        open(tmp_path / "old", "w"),
        socket.socket(),
    ):
        assert left_since(snapshot(), patience=0) == ()


# --- threads --------------------------------------------------------------------------------------


def test_a_thread_is_left_until_it_ends() -> None:
    before = snapshot()
    with thread_that_waits("new"):
        assert left_since(before, patience=0) == (Leak("thread", "'new'"),)
    assert left_since(before) == ()


def test_a_thread_that_is_about_to_end_gets_its_time() -> None:
    before = snapshot()
    with thread_that_waits("new") as stop:
        threading.Timer(0.05, stop.set).start()
        assert left_since(before, patience=60) == ()


def test_the_thread_that_looks_does_not_wait_for_itself() -> None:
    before = snapshot()
    found: list[tuple[Leak, ...]] = []
    thread = threading.Thread(target=lambda: found.append(left_since(before)), name="looks")
    thread.start()
    thread.join(30)
    assert found == [(Leak("thread", "'looks'"),)]


def test_the_idle_threads_of_trio_are_not_left() -> None:
    before = snapshot()
    trio.run(trio.to_thread.run_sync, threading.get_ident)
    assert left_since(before, patience=0) == ()


def test_a_thread_of_trio_that_works_is_left() -> None:
    begun, stop = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        stop.wait()

    async def main() -> None:
        with trio.move_on_after(0.01):
            await trio.to_thread.run_sync(wait, abandon_on_cancel=True)

    trio.run(trio.to_thread.run_sync, threading.get_ident)  # there is an idle one before
    before = snapshot()
    try:
        trio.run(main)
        begun.wait(60)
        (left,) = left_since(before, patience=0)
        assert left.kind == "thread"
        assert "wait" in left.what
    finally:
        stop.set()
    assert left_since(before, patience=60) == ()


def test_without_its_private_name_the_idle_threads_are_known_by_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = snapshot()
    trio.run(trio.to_thread.run_sync, threading.get_ident)
    monkeypatch.setitem(sys.modules, "trio._core._thread_cache", None)
    assert left_since(before, patience=0) == ()
    with thread_that_waits("new"):
        assert left_since(before, patience=0) == (Leak("thread", "'new'"),)


# --- processes ------------------------------------------------------------------------------------


def test_a_child_is_left_until_it_was_waited_for() -> None:
    before = snapshot()
    with child(FOREVER) as process:
        (left,) = left_since(before, patience=0)[:1]
        assert (left.kind, left.number) == ("process", process.pid)
        assert sys.executable[:20] in str(left)
        assert "has ended" not in str(left)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        (left,) = left_since(before, patience=0)[:1]
        assert (left.kind, left.number) == ("process", process.pid)
        assert str(left).endswith("which has ended, but nobody waited for it")
    assert left_since(before) == ()


def test_a_new_child_beside_an_old_one() -> None:
    with child(FOREVER):
        before = snapshot()
        with child(FOREVER) as process:
            numbers = [each.number for each in left_since(before) if each.kind == "process"]
            assert numbers == [process.pid]


def test_a_long_command_line_is_shortened() -> None:
    before = snapshot()
    with child([*FOREVER, "x" * 500]):
        assert "…)" in left_since(before)[0].what
        assert len(left_since(before)[0].what) < 100


def test_the_helper_of_multiprocessing_is_not_left() -> None:
    code = (
        "from multiprocessing import resource_tracker\n"
        "from supervisor.testing._cancelling.leaks import left_since, snapshot\n"
        "before = snapshot()\n"
        "resource_tracker.ensure_running()\n"
        "assert resource_tracker._resource_tracker._pid\n"
        "print(left_since(before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("()\n", "")


def test_where_children_cannot_be_seen_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: "/proc" not in path and exists(path))
    before = snapshot()
    assert before.unseen == ("child processes: there is no /proc that lists them",)
    with child(FOREVER):
        assert "process" not in kinds(left_since(before))


# --- descriptors ----------------------------------------------------------------------------------


def test_files_sockets_and_pipes_are_left(tmp_path: Path) -> None:
    before = snapshot()
    with open(tmp_path / "new", "w") as file, socket.socket() as sock, select.epoll():
        ends = os.pipe()
        left = left_since(before)
        assert kinds(left) == ["file", "socket", "descriptor", "pipe", "pipe"]
        assert [each.number for each in left][:2] == [file.fileno(), sock.fileno()]
        assert str(left[0]) == f"file {tmp_path}/new (descriptor {file.fileno()})"
        for end in ends:
            os.close(end)
    assert left_since(before) == ()


def test_a_file_that_is_removed_is_still_the_same(tmp_path: Path) -> None:
    with open(tmp_path / "old", "w"):
        before = snapshot()
        os.remove(tmp_path / "old")
        assert left_since(before) == ()


def test_a_descriptor_that_is_another_file_now_is_left(tmp_path: Path) -> None:
    with open(tmp_path / "old", "w") as file, open(tmp_path / "new", "w") as other:
        before = snapshot()
        os.dup2(other.fileno(), file.fileno())
        assert [each.number for each in left_since(before)] == [file.fileno()]


def test_descriptors_need_not_be_looked_at(tmp_path: Path) -> None:
    before = snapshot(descriptors=False)
    with open(tmp_path / "new", "w"):
        assert left_since(before) == ()
    assert before.unseen == ()


def test_elsewhere_they_are_listed_in_another_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leaks, "DESCRIPTORS", ("/proc/no/such", "/dev/fd"))
    monkeypatch.setattr(os, "readlink", lambda path: os.stat(tmp_path / "none"))
    before = snapshot()
    with open(tmp_path / "new", "w") as file:
        assert str(left_since(before)[0]) == f"file with descriptor {file.fileno()}"


def test_where_they_cannot_be_seen_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leaks, "DESCRIPTORS", ("/proc/no/such",))
    before = snapshot()
    assert before.unseen == ("files and sockets: there is no /proc/self/fd or /dev/fd",)
    with open(tmp_path / "new", "w"):
        assert left_since(before) == ()
