"""`shutdown` waits until the server has left, and shows what holds it up."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from cutting import open_way
from programs import APP


@pytest.fixture
def served(shell: Any) -> Any:
    (shell.directory / "app.py").write_text(APP)
    shell.server = shell.serve("--app", "app:registry", "--stop-timeout", "1000")
    return shell


def test_server_has_left_when_it_returns(served: Any) -> None:
    script = "until [ -e go ]; do sleep 0.02; done"
    served.call("start", "--id", "j1", "--", "sh", "-c", script)
    shutdown = served.start_on_terminal("shutdown", "--drain")
    shutdown.until("1 job left: j1 (running)")
    (served.directory / "go").touch()
    assert shutdown.end() == 0
    assert "the server has left" in shutdown.out
    assert [*(served.runtime / "trio-supervisor").glob("*.endpoint.json")] == []
    assert served.server.started.end() == 0


def test_waiting_may_be_bounded_and_left(served: Any) -> None:
    served.call("start", "--id", "j1", "--grace", "0.05", "stay")
    late = served.call("shutdown", "--timeout", "1")
    assert late.returncode == 5
    assert "job j1 is stuck" in late.stderr and "app.py" in late.stderr
    assert "has not left after 1 s" in late.stderr
    waiting = served.start_on_terminal("shutdown")
    waiting.until("1 job left: j1 (stuck)")
    waiting.press(b"\x03")
    assert waiting.end() == 130
    assert "if the server has been asked, it goes on to end its jobs" in waiting.out
    asked = served.call("shutdown", "--no-wait", "--json")
    assert (asked.returncode, asked.stdout) == (0, '{"ok": true}\n')
    assert served.call("list").returncode == 0


def test_broken_connection_is_not_taken_for_the_servers_end(served: Any) -> None:
    (file,) = (served.runtime / "trio-supervisor").glob("*.endpoint.json")
    told = json.loads(file.read_text())
    script = "until [ -e go ]; do sleep 0.02; done"
    served.call("start", "--id", "j1", "--", "sh", "-c", script)
    with open_way(urlsplit(told["url"]).port or 0) as way:
        url = f"ws://127.0.0.1:{way.port}/ws"
        words = ("--drain", "--url", url, "--token-file", told["token_file"])
        shutdown = served.start_on_terminal("shutdown", *words)
        shutdown.until("1 job left")
        way.cut()
        way.wait_for_another()
        (served.directory / "go").touch()
        assert shutdown.end() == 0
    assert served.server.started.end() == 0
