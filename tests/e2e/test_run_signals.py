"""Signals that come thick and fast: the prompt returns, with 130, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

PATIENCE = 60
RUN = [sys.executable, "-m", "supervisor", "run", "--embedded"]


def run_of(script: str, tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RUN, "--grace", "0.2", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path)),
    )


@pytest.mark.parametrize("turn", range(6))
def test_a_second_ctrl_c_at_any_moment_does_not_tear_the_closing(turn: int, tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    with run_of(f": {marker}; while :; do echo x; sleep 0.01; done", tmp_path) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline() == "x\n"
        run.send_signal(signal.SIGINT)
        if turn % 2:  # the second one when the end is told, the closing still to come
            while "cancelled" not in (line := run.stderr.readline()):
                assert line, "it ended without a word"
        run.send_signal(signal.SIGINT)
        _, talk = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert "Traceback" not in talk
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if marker in read(path)]
    assert left == []


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_all_signals_may_be_ignored_from_the_start(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT TERM HUP; exec "$@"', "sh", *RUN, "--", "echo", "done"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path)),
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
