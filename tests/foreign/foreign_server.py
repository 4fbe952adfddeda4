"""`trio-supervisor serve` in a process of its own, as foreign clients meet it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE = 30.0
"""Seconds after which a test that waits has failed; nothing is expected to take that long."""

CODE_AFTER_TERM = 143


@attrs.frozen
class Served:
    """A server that accepts."""

    url: str
    http_url: str
    instance: str
    token: str = attrs.field(repr=False)
    process: subprocess.Popen[bytes] = attrs.field(repr=False)

    @property
    def port(self) -> int:
        return int(self.http_url.rpartition(":")[2])

    @property
    def header(self) -> dict[str, str]:
        """What programs send to be let in."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def environment(self) -> dict[str, str]:
        """For the programs that speak to it."""
        return {"TRIO_SUPERVISOR_URL": self.url, "TRIO_SUPERVISOR_TOKEN": self.token}

    def call(self, method: str, /, **params: Any) -> Any:
        """What somebody asks of it beside those programs; needs the PyPI package websockets."""
        from websockets.sync.client import connect

        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with connect(self.url, additional_headers=self.header) as socket:
            socket.send(json.dumps(request))
            return json.loads(socket.recv(PATIENCE))["result"]


SERVE = ("-m", "supervisor", "serve", "--json", "--app", "foreign_jobs:registry")


@contextmanager
def open_served(directory: Path, *options: str) -> Iterator[Served]:
    """`trio-supervisor serve` until the block ends; then it has to leave as told."""
    with open_program(directory, *SERVE, "--token-file", "token", *options) as served:
        yield served
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(PATIENCE) == CODE_AFTER_TERM


@contextmanager
def open_program(directory: Path, *command: str) -> Iterator[Served]:
    """A program in Python that serves, until the block ends; it has to have no complaints."""
    (directory / "runtime").mkdir(mode=0o700)
    errors = directory / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=directory,
            env=os.environ
            | {
                "XDG_RUNTIME_DIR": str(directory / "runtime"),
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE))),
                "PYTHONWARNINGS": "error",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert process.stdout is not None
    try:
        line = first_line(process)
        assert line, f"no server: {errors.read_text()}"
        told = json.loads(line)
        token = (directory / "token").read_text().strip()
        yield Served(told["url"], told["http_url"], told["instance"], token, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    said = errors.read_text()
    assert "Traceback" not in said and "ERROR" not in said, said


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    """The first line that a program prints; nothing if it has ended."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    assert ready, "nothing was said in time"
    return process.stdout.readline()
