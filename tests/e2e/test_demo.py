"""The demo as a newcomer sees it."""

from __future__ import annotations

import json
import re
import signal
from typing import Any


def test_demo_shows_that_nothing_is_left(shell: Any) -> None:
    done = shell.run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    *rows, last = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0] == ["JOB", "STATE", "HOW", "DEAD AFTER", "PROOF"]
    assert last == ["survivors, by a look at all processes: 0"]
    ends = {row[0]: row[1:3] for row in rows}
    assert ends["ends by itself"] == ["succeeded", "exited"]
    assert ends["fails (exit 3)"] == ["failed", "exited"]
    assert ends["1,000 async jobs"] == ["cancelled", "cooperative"]
    assert ends["ignores SIGTERM"] == ["cancelled", "forced"]
    assert ends["cancelled early"] == ["cancelled", "never_started"]
    assert "sh, daemon" in ends or "left out" in done.stderr


def test_demo_on_a_terminal(shell: Any) -> None:
    demo = shell.start_on_terminal("demo", columns=80, NO_COLOR="1")
    assert demo.end() == 0
    assert re.search(r"cancelling \d+ jobs over the websocket .*1,?0\d\d/1,?0\d\d", demo.out)
    rows = demo.out.partition("─\r\n")[2].splitlines()
    assert [row for row in rows if len(row) > 80] == []
    assert all(len(row.split("  ")) > 2 for row in rows[:-1])
    assert demo.out.splitlines()[-1] == "survivors, by a look at all processes: 0"


def test_demo_as_json_is_one_document(shell: Any) -> None:
    told = json.loads(shell.run("demo", "--json").stdout)
    assert all(row["ok"] for row in told["jobs"])
    assert told["survivors"] == []
    (many,) = [row for row in told["jobs"] if row["job"] == "1,000 async jobs"]
    assert many["request_to_dead"] > 0


def test_ctrl_c_in_the_demo_leaves_nothing(shell: Any, marker: Any) -> None:
    demo = shell.start("demo")
    demo.until("processes that carry", "err")
    demo.until("\n", "err")
    marker.text = re.findall(r"that carry (\d+)", demo.err)[0]
    demo.signal(signal.SIGINT)
    assert demo.end() in (0, 130)  # it may have got through before
    assert not marker.alive()
    assert "Traceback" not in demo.err
