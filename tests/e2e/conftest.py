"""The real command line, in a world of its own: real processes, signals, sockets and terminals."""

from __future__ import annotations

import io
import json
import os
import pty
import secrets
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import APP

from supervisor.cli import main
from supervisor.cli.signals import ASKING

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds after which a test that waits has failed; nothing is expected to take that long."""

VARIABLES = (
    "TRIO_SUPERVISOR_URL", "TRIO_SUPERVISOR_TOKEN", "TRIO_SUPERVISOR_CA", "NO_COLOR",
    "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED",
)  # fmt: skip


class Started:
    """A command that runs; what it prints is read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, err: int | None) -> None:
        self.process = process
        self._read = {"out": bytearray(), "err": bytearray()}
        self._open = {out: "out"} | ({} if err is None else {err: "err"})

    @property
    def out(self) -> str:
        return self._read["out"].decode(errors="replace")

    @property
    def err(self) -> str:
        return self._read["err"].decode(errors="replace")

    def until(self, text: str, where: str = "out") -> None:
        """Read until this text has come."""
        self._pump(lambda: text.encode() in self._read[where])
        assert text.encode() in self._read[where], f"{text!r} never came: {self.out!r} {self.err!r}"

    def end(self) -> int:
        """Read to the end and return the exit code."""
        self._pump(lambda: not self._open)
        return self.process.wait(PATIENCE)

    def code(self) -> int:
        """The exit code, without waiting for whoever else holds the output."""
        return self.process.wait(PATIENCE)

    def rest(self) -> None:
        """Read what has been written by now."""
        while self._pump_once(0):
            pass

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close_out(self) -> None:
        """Stop reading its output, as `head` does."""
        for fd, name in [*self._open.items()]:
            if name == "out":
                os.close(fd)
                del self._open[fd]

    def close_all(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open = {}

    def press(self, keys: bytes) -> None:
        """Type at its terminal."""
        (fd,) = self._open
        os.write(fd, keys)

    def _pump(self, enough: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough() and self._open:
            left = deadline - time.monotonic()
            assert left > 0, f"waited too long: {self.out!r} {self.err!r}"
            self._pump_once(left)

    def _pump_once(self, seconds: float) -> bool:
        ready, _, _ = select.select([*self._open], [], [], seconds)
        for fd in ready:
            try:
                data = os.read(fd, 65536)
            except OSError:  # a terminal whose last program has gone
                data = b""
            if data:
                self._read[self._open[fd]] += data
            else:
                os.close(fd)
                del self._open[fd]
        return bool(ready)


class Shell:
    """Runs `trio-supervisor` with directories of its own."""

    python = sys.executable

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = directory / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.env |= {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "TERM": "xterm",
        }
        self._started: list[Started] = []

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return self.execute(*self._argv(words), **env)

    def execute(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run any program to its end in this world."""
        return subprocess.run(
            argv,
            cwd=self.directory,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=PATIENCE,
        )

    def call(
        self, *words: str, columns: int | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end within this process, which is quicker.

        Args:
            words: what to run.
            columns: let it take its output for a terminal of this width.
            env: more of an environment.
        """
        out, err = Captured(columns is not None), Captured(columns is not None)
        if columns is not None:
            env = {"COLUMNS": str(columns), "LINES": "24", "NO_COLOR": "1"} | env
        before = os.environ.copy(), os.getcwd(), sys.stdout, sys.stderr
        handlers = {number: signal.getsignal(number) for number in ASKING}
        os.environ.clear()
        os.environ.update(self.env | env)
        os.chdir(self.directory)
        sys.stdout, sys.stderr = out, err
        try:
            code = main(words)
        except SystemExit as exc:  # what completes for a shell ends like this
            assert isinstance(exc.code, int)
            code = exc.code
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            os.chdir(before[1])
            sys.stdout, sys.stderr = before[2:]
            for number, handler in handlers.items():  # a command ends by ignoring them
                signal.signal(number, handler)
        return subprocess.CompletedProcess(words, code, out.text(), err.text())

    def start(self, *words: str, prefix: tuple[str, ...] = (), **env: str) -> Started:
        """Run a command in the background, with pipes."""
        process = subprocess.Popen(
            [*prefix, *self._argv(words)],
            cwd=self.directory,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stderr is not None
        out, err = os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())
        process.stdout.close()
        process.stderr.close()
        return self._kept(Started(process, out, err))

    def start_on_terminal(self, *words: str, columns: int = 150, **env: str) -> Started:
        """Run a command in the foreground of a terminal of this width."""
        here, there = pty.openpty()
        termios.tcsetwinsize(there, (24, columns))
        process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *self._argv(words)],
            cwd=self.directory,
            env=self.env | env,
            stdin=there,
            stdout=there,
            stderr=there,
            start_new_session=True,
        )
        os.close(there)
        return self._kept(Started(process, here, None))

    def serve(self, *words: str) -> Server:
        """Start a server and wait until it accepts."""
        started = self.start("serve", "--json", *words)
        started.until("\n")
        return Server(started, json.loads(started.out))

    def close(self) -> None:
        """End what a test left running."""
        for started in self._started:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()
            started.close_all()

    def _argv(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "supervisor", *words]

    def _kept(self, started: Started) -> Started:
        self._started.append(started)
        return started


class Captured(io.TextIOWrapper):
    """A stream that keeps what is written."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        """What has been written."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(errors="surrogateescape")


class Server:
    """A server that runs."""

    def __init__(self, started: Started, info: dict[str, str]) -> None:
        self.started = started
        self.info = info


# Makes the terminal on stdin the controlling one (TIOCSCTTY), then becomes the command.
ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Marker:
    """A number for the command lines of a test's processes; `sleep` takes it as seconds."""

    def __init__(self) -> None:
        self.text = str(1_000_000_000 + secrets.randbelow(1_000_000_000))

    def alive(self) -> dict[int, str]:
        """The processes that carry it, but for the command under test; by a look of our own."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                words = (directory / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            text = b" ".join(words).decode(errors="replace")
            if b"supervisor" not in words and self.text in text:
                found[int(directory.name)] = text
        return found

    def kill(self) -> None:
        """End what a failed test left behind."""
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    world = Shell(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A world with a server that all tests of a file share: none of them may end it."""
    world = Shell(tmp_path_factory.mktemp("common"))
    (world.directory / "app.py").write_text(APP)
    server = world.serve("--app", "app:registry", "--stop-timeout", "0.1")
    yield world
    server.started.signal(signal.SIGTERM)  # so that its jobs end with it
    server.started.end()
    world.close()


@pytest.fixture
def marker(shell: Shell) -> Iterator[Marker]:
    mark = Marker()
    yield mark
    mark.kill()
