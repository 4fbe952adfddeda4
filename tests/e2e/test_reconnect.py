"""A connection that breaks: it is told, and what takes long goes on, or ends in time."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from cutting import Way, open_way


@pytest.fixture
def way(common: Any) -> Iterator[Way]:
    """A way to the server that can be cut."""
    port = urlsplit(endpoint(common)["url"]).port
    assert port is not None
    with open_way(port) as found:
        yield found


def endpoint(shell: Any) -> dict[str, Any]:
    (file,) = (shell.runtime / "trio-supervisor").glob("*.endpoint.json")
    told: dict[str, Any] = json.loads(file.read_text())
    return told


def along(shell: Any, way: Way, *words: str, terminal: bool = False) -> Any:
    """Start a command that takes this way."""
    url = f"ws://127.0.0.1:{way.port}/ws"
    verb, *rest = words
    start = shell.start_on_terminal if terminal else shell.start
    return start(verb, "--url", url, "--token-file", endpoint(shell)["token_file"], *rest)


def begin(shell: Any, job_id: str) -> str:
    """A job that says `up`, and `down` when the file of its name is there."""
    script = f"echo up; until [ -e {job_id} ]; do sleep 0.02; done; echo down"
    assert shell.call("start", "--id", job_id, "--", "sh", "-c", script).returncode == 0
    return job_id


def end(shell: Any, job_id: str) -> None:
    (shell.directory / job_id).touch()
    assert shell.call("wait", job_id).returncode == 0


def test_logs_go_on_where_they_were(common: Any, way: Way) -> None:
    begin(common, "r1")
    following = along(common, way, "logs", "-f", "r1")
    following.until("up")
    way.cut(stay=True)
    following.until("lost the connection", "err")
    end(common, "r1")
    way.mend()
    assert following.end() == 0, following.err
    assert following.out == "up\ndown\n"
    assert "connected again" in following.err


def test_events_go_on_where_they_were(common: Any, way: Way) -> None:
    begin(common, "r2")
    following = along(common, way, "events", "-f", "--json", "--job", "r2")
    following.until("job.started")
    way.cut(stay=True)
    following.until("lost the connection", "err")
    end(common, "r2")
    way.mend()
    following.until("job.finished")
    following.signal(signal.SIGINT)
    assert following.end() == 130
    items = [json.loads(line)["params"] for line in following.out.splitlines()]
    assert [item["type"] for item in items] == ["job.starting", "job.started", "job.finished"]


def test_wait_goes_on(common: Any, way: Way) -> None:
    begin(common, "r3")
    waiting = along(common, way, "wait", "r3", terminal=True)
    waiting.until("waiting for job r3")
    way.cut()
    waiting.until("connected again")
    end(common, "r3")
    assert waiting.end() == 0
    assert "succeeded" in waiting.out


def test_run_goes_on_and_its_job_lives(common: Any, way: Way) -> None:
    script = "echo up; until [ -e r4 ]; do sleep 0.02; done; echo down; exit 7"
    run = along(common, way, "run", "--id", "r4", "--", "sh", "-c", script)
    run.until("up")
    way.cut()
    run.until("connected again", "err")
    (common.directory / "r4").touch()
    assert run.end() == 1
    assert run.out == "up\ndown\n"
    assert "exit code 7" in run.err


def test_top_goes_on(common: Any, way: Way) -> None:
    top = along(common, way, "top", "--json")
    top.until("statistics")
    way.cut()
    top.until("connected again", "err")
    begin(common, "r5")
    top.until('"r5"')
    top.signal(signal.SIGINT)
    assert top.end() == 130
    end(common, "r5")


def test_another_server_in_its_place_is_told(shell: Any) -> None:
    first, second = (shell.serve("--token-file", "token") for _ in range(2))
    with open_way(urlsplit(first.info["url"]).port or 0) as way:
        address = ("--url", f"ws://127.0.0.1:{way.port}/ws", "--token-file", "token")
        run = shell.start("run", *address, "--id", "j1", "--", "sh", "-c", "echo up; sleep 1000")
        run.until("up")
        following = shell.start("events", *address, "-f", "--json")
        following.until("job.started")
        way.cut(stay=True)
        way.mend(urlsplit(second.info["url"]).port)
        assert run.end() == 69
        assert "replaced by another one" in run.err or "no job" in run.err
        assert "trio-supervisor show j1" in run.err
        following.until("events after 2 were lost", "err")
        following.until("replay_gone")
        shell.call("run", "--url", second.info["url"], "--id", "j2", "--", "true")
        following.until('"j2"')
        following.signal(signal.SIGTERM)
        assert following.end() == 143


@pytest.mark.parametrize("words", [["wait"], ["logs", "-f"]])
def test_server_that_is_killed_is_not_waited_for(shell: Any, words: list[str]) -> None:
    server = shell.serve()
    begin(shell, "j1")
    watching = shell.start_on_terminal(*words, "j1")
    watching.until("waiting" if words == ["wait"] else "up")
    server.started.process.kill()
    assert watching.end() == 69
    assert f"the server at {server.info['url']} is gone" in watching.out
