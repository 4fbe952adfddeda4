"""Every example runs, by itself and with nothing else, and says what it promises to say."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import supervisor

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PATIENCE = 120.0

SAYS = {
    "embedding.py": [
        "short returned 3",
        "long is cancelled: cooperative, proof task_exited (certain)",
        "build is cancelled",
    ],
    "websocket_client.py": [
        "refused: ",
        "job.cancelling",
        "job.finished",
        "the job is cancelled because: wrong picture",
    ],
    "cancel_before_start.py": [
        "cancel first: recorded",
        "then start: cancelled never_started because: wrong address",
        "started again: sent in attempt 2",
    ],
    "build_command.py": [
        "compiling part 1",
        "compiling part 3",
        "sh: succeeded after ",
    ],
    "find_a_race.py": [
        "100 ordinary runs find nothing",
        "a_price_changes fails: AssertionError: the old price is still there",
        "with 1 preemption",
        "get was put off at find_a_race.py:",
        "run it again: replay(",
        "mended: ",
        "all schedules with up to 2 preemptions",
    ],
    "cancel_a_job_everywhere.py": [
        "hasty is not safe when a scope around it cancels it at checkpoint 1",
        "cleanup was cut short at cancel_a_job_everywhere.py:",
        "still locked by hasty",
        "safe after ",
    ],
}

BY_THEMSELVES = {"watcher_with_resume.py"}
"""Those that need something else beside, and have a test of their own."""


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS) | BY_THEMSELVES


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    at = 0
    for text in SAYS[name]:
        at = done.stdout.index(text, at)
    assert "never printed" not in done.stdout


# --- those that run until something happens ---------------------------------------------------


class Running:
    """A program whose lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, text: str) -> str:
        """Read up to the line with this in it, and return that."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if text in line:
                return line.rstrip("\n")
        raise AssertionError(f"{text!r} was not said, but {self.said}")

    def end(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stdout is not None
        self.said += self.process.stdout.read().splitlines()
        return self.process.wait(PATIENCE)


@contextmanager
def running(*argv: str, cwd: Path, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Run it; at the latest when the test has waited too long it is killed."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(PATIENCE, process.kill)
    late.start()
    try:
        yield Running(process)
    finally:
        late.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that is only waited for by init has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_ctrl_c_ends_the_whole_build(tmp_path: Path) -> None:
    build = "sleep 3600 & echo child $!; wait"
    example = str(EXAMPLES / "build_command.py")
    with running(sys.executable, "-u", example, "sh", "-c", build, cwd=tmp_path) as builder:
        child = int(builder.until("child ").split()[1])
        builder.process.send_signal(signal.SIGINT)
        assert builder.end() == 130
        assert "stopping; once more to kill it" in builder.said
        assert "sh: cancelled, cooperative" in builder.said[-2]
        assert builder.said[-1].startswith("proof: ")
        assert not is_running(child)


def test_the_exit_code_of_a_build_is_its_own(tmp_path: Path) -> None:
    example = str(EXAMPLES / "build_command.py")
    with running(
        sys.executable, example, "sh", "-c", "echo no >&2; exit 3", cwd=tmp_path
    ) as builder:
        assert builder.end() == 3
    assert "sh: failed after " in builder.said[-1]


class Place:
    """A server that can be started again where it was, and a watcher of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.listen = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"ws://{self.listen}/ws"
        (home / "run").mkdir(mode=0o700)
        self.environment = {"XDG_RUNTIME_DIR": str(home / "run")}

    @contextmanager
    def server(self) -> Iterator[Running]:
        serve = [sys.executable, "-m", "supervisor", "serve", "--listen", self.listen]
        serve += ["--token-file", "token"]
        with running(*serve, cwd=self.home, environment=self.environment) as server:
            server.until("serving at")
            yield server
            server.process.terminate()
            assert server.end() == 143

    @contextmanager
    def watcher(self) -> Iterator[Running]:
        example = str(EXAMPLES / "watcher_with_resume.py")
        argv = [sys.executable, "-W", "error", example, self.url, "token", "position"]
        with running(*argv, cwd=self.home) as watcher:
            yield watcher

    def job(self, job_id: str) -> None:
        """Run a short command as a job, to its end."""

        async def run() -> None:
            token = (self.home / "token").read_text()
            async with supervisor.connect(self.url, token=token) as client:
                job = await client.start(supervisor.Command(["true"]), job_id=job_id)
                await job.result()

        trio.run(run)


def test_the_watcher_survives_its_own_end_and_the_servers(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.server():
        with place.watcher() as watcher:
            assert watcher.until("watching") == "watching from 0"
            place.job("one")
            assert watcher.until("one") == "one has succeeded"
            watcher.process.kill()
        place.job("two")
        with place.watcher() as watcher:
            watcher.until("two has succeeded")
            assert "one" not in "".join(watcher.said)  # told already
            watcher.process.kill()
    with place.watcher() as watcher:
        watcher.until("is the server running?")
        with place.server():
            watcher.until("connected")
            watcher.until("were lost: this is another server")
            place.job("three")
            watcher.until("three has succeeded")
        watcher.until("waiting for the server")
        with place.server():
            place.job("four")
            watcher.until("were lost")
            watcher.until("four")
            place.job("five")
            watcher.until("five has succeeded")


def test_a_watcher_that_was_away_for_too_long_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.server():
        with place.watcher() as watcher:
            watcher.until("watching from 0")
            place.job("one")
            watcher.until("one has succeeded")
        position = tmp_path / "position"
        # Of this server, but it has no such event: as if too many had come since.
        position.write_text(position.read_text().replace('"seq": ', '"seq": 9'))
        with place.watcher() as watcher:
            watcher.until("events were lost: ")
            assert watcher.until("one") == "one is succeeded"
            place.job("two")
            watcher.until("two has succeeded")
