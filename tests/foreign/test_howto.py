"""docs/howto/other-languages.md: everything on it that can be run is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from foreign_link import open_link
from foreign_node import require_node, run_script
from foreign_pages import open_pages
from foreign_server import HERE, PATIENCE, ROOT, Served, open_served

pytest.importorskip("websockets", reason="the PyPI package websockets is not here")

PAGE = ROOT / "docs" / "howto" / "other-languages.md"
EVENTS = ["job.starting starting", "job.started running", "job.cancelling cancelling"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language: str, holding: str) -> str:
    """The one block with this in it."""
    (found,) = [each for each in blocks(language) if holding in each]
    return found


RUN_HERE = {
    "text": ['"session.hello"', '"job.start"', '"job.cancel"', '"events.subscribe"', '"job.get"'],
    "python": ["websockets.asyncio", "jsonrpc_websocket"],
    "js": ["new WebSocket('ws://127", "json-rpc-2.0", "vscode-ws-jsonrpc"],
}


@pytest.mark.parametrize("language", RUN_HERE)
def test_every_block_is_run_by_one_of_these_tests(language: str) -> None:
    assert len(blocks(language)) == len(RUN_HERE[language])
    for holding in RUN_HERE[language]:
        assert block(language, holding)


def test_each_block_has_a_job_of_its_own() -> None:
    """Whoever follows the page from top to bottom meets no job of another block."""
    ids = [
        set(re.findall(r"\b(?:by|from)-[a-z-]+", text))
        for text in ("".join(blocks("text")), *blocks("python"), *blocks("js"))
    ]
    assert [len(each) for each in ids] == [1] * 6
    assert len(set().union(*ids)) == 6


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """A server without jobs."""
    with open_served(tmp_path) as served:
        yield served


# --- by hand -------------------------------------------------------------------------------------


class Terminal:
    """The terminal that the websockets library brings."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "websockets", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._timer = threading.Timer(PATIENCE, self.process.kill)
        self._timer.start()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next message that is shown."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            _, arrow, message = line.partition("< ")
            if arrow:
                return json.loads(message)
        raise AssertionError("it ended")

    def close(self) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()


def open_terminal(url: str) -> AbstractContextManager[Terminal]:
    return closing(Terminal(url))


def like(actual: Any, shown: Any) -> bool:
    """Whether this is what is shown, which may leave out fields, and values as '...'."""
    if shown == "...":
        return True
    if isinstance(shown, dict):
        return isinstance(actual, dict) and all(
            name in actual and like(actual[name], value) for name, value in shown.items()
        )
    return type(actual) is type(shown) and bool(actual == shown)


def test_by_hand(fresh: Served) -> None:
    with open_terminal(fresh.url) as terminal:
        lines = [line for each in blocks("text") for line in each.splitlines()]
        assert {line[:2] for line in lines} == {"> ", "< "}
        for line in lines:
            if line.startswith("> "):
                said = line[2:].replace("THE-TOKEN", fresh.token)
                terminal.type(said.replace("INSTANCE", fresh.instance))
            else:
                heard, shown = terminal.hear(), json.loads(line[2:])
                assert like(heard, shown), (heard, shown)


# --- Python --------------------------------------------------------------------------------------


@contextmanager
def python(script: str, server: Served, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A script that runs, until the block ends at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | server.environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(2 * PATIENCE, process.kill)
    timer.start()
    with process:
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


IMPATIENT = {"WEBSOCKETS_BACKOFF_INITIAL_DELAY": "0.1"}


def test_websockets_over_a_broken_link(fresh: Served) -> None:
    script = block("python", "websockets.asyncio")
    with (
        open_link(fresh.port) as link,
        python(script, fresh, TRIO_SUPERVISOR_URL=link.url, **IMPATIENT) as process,
    ):
        assert process.stdout is not None and process.stderr is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        link.cut()
        fresh.call("job.cancel", job_id="from-python", wait="finished")
        link.mend()
        rest, errors = process.communicate(timeout=PATIENCE)
        said += rest.splitlines(keepends=True)
        types = [line.split()[1:] for line in said]
        assert types == [each.split() for each in [*EVENTS, "job.finished cancelled"]]
        assert [int(line.split()[0]) for line in said] == [1, 2, 3, 4]
        assert (process.returncode, errors) == (0, "")


def test_websockets_notices_a_lost_message(fresh: Served) -> None:
    script = block("python", "websockets.asyncio")
    with (
        open_link(fresh.port) as link,
        python(script, fresh, TRIO_SUPERVISOR_URL=link.url, **IMPATIENT) as process,
    ):
        assert process.stdout is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        link.lose('"job.cancelling"')
        fresh.call("job.cancel", job_id="from-python", wait="finished")
        rest, errors = process.communicate(timeout=PATIENCE)
        said += rest.splitlines(keepends=True)
        assert [int(line.split()[0]) for line in said] == [1, 2, 3, 4]
        assert (process.returncode, errors, link.losses()) == (0, "", 1)


def test_websockets_and_a_job_that_had_ended(fresh: Served) -> None:
    job = {"name": "crawl", "args": {"site": "example.org"}, "job_id": "from-python"}
    fresh.call("job.start", **job)
    fresh.call("job.cancel", job_id="from-python", wait="finished")
    with python(block("python", "websockets.asyncio"), fresh) as process:
        said, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
        assert said == "from-python had ended already: cancelled\n"


def test_a_job_that_had_ended_by_itself_has_no_certificate(fresh: Served) -> None:
    pytest.importorskip("jsonrpc_websocket", reason="jsonrpc-websocket is not here")
    script = short(block("python", "jsonrpc_websocket"))
    fresh.call("job.run", name="nap", args={"seconds": 0}, job_id="from-jsonrpc-websocket")
    with python(script, fresh) as process:
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 0


def short(script: str) -> str:
    """It starts a job that ends at once."""
    found = re.subn(
        r"""(name\W+|Request.*name: )(['"])crawl\2(, args\W) ?\{.*?\}""",
        r"\1\2nap\2\3{\2seconds\2: 0}",
        script,
    )
    assert found[1] == 1
    return found[0]


PROVEN = [*EVENTS, "job.finished cancelled", "proof: task_exited"]


def test_jsonrpc_websocket(fresh: Served) -> None:
    pytest.importorskip("jsonrpc_websocket", reason="jsonrpc-websocket is not here")
    with python(block("python", "jsonrpc_websocket"), fresh) as process:
        said, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
        assert said.splitlines() == PROVEN


# --- JavaScript ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "also"),
    [("json-rpc-2.0", []), ("vscode-ws-jsonrpc", ["no longer waiting: -32800"])],
)
def test_node(fresh: Served, tmp_path: Path, library: str, also: list[str]) -> None:
    node = require_node(HERE)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    script = tmp_path / "script.mjs"
    script.write_text(block("js", library))
    done = run_script(node, fresh, script)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert [line for line in said if line not in also] == PROVEN
    assert set(also) <= set(said)


@pytest.mark.parametrize(
    ("library", "job_id"), [("json-rpc-2.0", "from-node"), ("vscode-ws-jsonrpc", "from-an-editor")]
)
def test_node_and_a_job_that_had_ended_by_itself(
    fresh: Served, tmp_path: Path, library: str, job_id: str
) -> None:
    node = require_node(HERE)
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    script = tmp_path / "script.mjs"
    script.write_text(short(block("js", library)))
    fresh.call("job.run", name="nap", args={"seconds": 0}, job_id=job_id)
    done = run_script(node, fresh, script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "proof: none, it had ended by itself"


def test_browser(tmp_path: Path, browser: Any) -> None:
    with (
        open_pages() as origin,
        open_served(tmp_path, "--allow-origin", origin) as server,
        browser.open_page(f"{origin}/browser.html") as page,
    ):
        script = block("js", "new WebSocket('ws://127").replace("THE-TOKEN", server.token)
        page.run(f"{{ {script.replace('ws://127.0.0.1:8765/ws', server.url)} }}")
        assert [page.line() for _ in PROVEN] == PROVEN
