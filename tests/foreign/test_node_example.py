"""The Node example: it starts, watches over a broken link without gap or duplicate, and cancels."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from foreign_link import Link, open_link
from foreign_node import environment, require_node
from foreign_server import HERE, PATIENCE, ROOT, Served, open_program

pytest.importorskip("websockets", reason="the PyPI package websockets is not here")

PROGRAM = (str(HERE / "foreign_program.py"), "http://nowhere.example", "0.5")
EXAMPLE = ROOT / "examples" / "node"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that sends bookmarks often."""
    require_node(EXAMPLE)
    with open_program(tmp_path_factory.mktemp("quick"), *PROGRAM) as served:
        yield served


class Script:
    """The example, running; its output is read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said: dict[str, str] = {"out": "", "err": ""}

    def until(self, text: str, where: str = "out") -> None:
        """Read until this has been said."""
        while text not in self.said[where]:
            assert self._read(where), f"{text!r} never came: {self.said}"

    def end(self) -> int:
        while self._read("out"):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, where: str) -> bool:
        stream: IO[bytes] | None = getattr(self.process, f"std{where}")
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        assert ready, f"silent for too long: {self.said}"
        data = stream.read1(65536)  # type: ignore[attr-defined]
        self.said[where] += data.decode()
        return bool(data)


@contextmanager
def watching(server: Served, *words: str, **variables: str) -> Iterator[Script]:
    process = subprocess.Popen(
        [require_node(EXAMPLE), str(EXAMPLE / "watch.mjs"), *words],
        env=environment(server) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield Script(process)
        finally:
            process.kill()


def gate(job_id: str) -> tuple[str, ...]:
    """What to run: a job that ends when its gate is opened, also when it is cancelled before."""
    return ("gate", json.dumps({"name": job_id}), job_id)


@contextmanager
def watching_over_a_link(server: Served, job_id: str) -> Iterator[tuple[Link, Script]]:
    """The example, once it watches a job that runs."""
    with (
        open_link(server.port) as link,
        watching(server, *gate(job_id), TRIO_SUPERVISOR_URL=link.url) as script,
    ):
        script.until("job.started")
        yield link, script


def types(said: str) -> list[str]:
    return re.findall(r"^\d+ (job\.\w+)", said, re.MULTILINE)


def test_watches_over_a_broken_link(quick: Served, job_id: str) -> None:
    with watching_over_a_link(quick, job_id) as (link, script):
        link.cut()
        script.until("trying again", "err")
        quick.call("job.cancel", job_id=job_id)
        quick.call("job.run", name="open_gate", args={"name": job_id})
        link.mend()
        assert script.end() == 1
        assert types(script.said["out"]) == [
            "job.starting", "job.started", "job.cancelling", "job.finished",
        ]  # fmt: skip
        assert script.said["out"].endswith("the job is cancelled\n")
        # It said `job.start` again, and that started nothing.
        assert quick.call("job.get", job_id=job_id)["job"]["attempt"] == 1


def test_notices_silence(quick: Served, job_id: str) -> None:
    with watching_over_a_link(quick, job_id) as (link, script):
        link.hush()
        quick.call("job.run", name="open_gate", args={"name": job_id})
        assert script.end() == 0
        assert types(script.said["out"]) == ["job.starting", "job.started", "job.finished"]


def test_a_lost_message_is_noticed(quick: Served, job_id: str) -> None:
    with watching_over_a_link(quick, job_id) as (link, script):
        link.lose('"job.cancelling"')
        quick.call("job.cancel", job_id=job_id)
        quick.call("job.run", name="open_gate", args={"name": job_id})
        assert script.end() == 1
        assert link.losses() == 1
        assert types(script.said["out"]) == [
            "job.starting", "job.started", "job.cancelling", "job.finished",
        ]  # fmt: skip


def test_a_server_started_anew_has_lost_the_job(quick: Served, job_id: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(quick.token)
    with (
        watching_over_a_link(quick, job_id) as (link, script),
        open_program(tmp_path, *PROGRAM) as successor,
    ):
        link.cut()
        link.lead_to(successor.port)
        link.mend()
        script.until("another instance", "err")
        assert script.end() != 0
        # Nobody asked for the job to be run twice.
        assert successor.call("job.list")["jobs"] == []


def test_ctrl_c_cancels_and_waits(quick: Served, job_id: str) -> None:
    with watching(quick, *gate(job_id)) as script:
        script.until("job.started")
        # The connection is ready before the job is: what is asked for now is asked for at once.
        script.process.send_signal(signal.SIGINT)
        script.until("job.cancelling")
        assert "cancelled" not in script.said["out"]
        assert quick.call("job.get", job_id=job_id)["job"]["reason"] == "Ctrl+C"
        quick.call("job.run", name="open_gate", args={"name": job_id})
        assert script.end() == 1
        assert script.said["out"].endswith("job.finished: cancelled\nthe job is cancelled\n")


def test_a_job_that_succeeds(quick: Served) -> None:
    with watching(quick, "nap", '{"seconds": 0}') as script:
        assert script.end() == 0
        assert script.said["out"].endswith("the job is succeeded\n")


@pytest.mark.parametrize(
    ("words", "variables", "complaint"),
    [
        (("nobody",), {}, "no job named 'nobody'"),
        (("nap",), {"TRIO_SUPERVISOR_TOKEN": "wrong"}, "401"),
    ],
)
def test_what_cannot_be_mended_ends_it(
    quick: Served, words: tuple[str, ...], variables: dict[str, str], complaint: str
) -> None:
    with watching(quick, *words, **variables) as script:
        script.until(complaint, "err")
        assert script.end() != 0
        assert "trying again" not in script.said["err"]
