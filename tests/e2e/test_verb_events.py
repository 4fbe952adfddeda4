"""`events`: what has happened, and what happens."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest


@pytest.fixture(scope="module")
def happened(common: Any) -> Any:
    """A world in which jobs `e1` and `e2` have come to an end."""
    for job_id, label in (("e1", "x=1"), ("e2", "x=2")):
        words = ("--id", job_id, "--label", label, "--name", f"name-{job_id}")
        assert common.call("run", *words, "--", "true").returncode == 0
    return common


def params(text: str) -> list[dict[str, Any]]:
    return [json.loads(line)["params"] for line in text.splitlines()]


def test_all_that_is_kept_is_shown_and_then_it_ends(happened: Any) -> None:
    done = happened.call("events")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1:3] for row in rows[:3]] == [
        ["job.starting", "e1"], ["job.started", "e1"], ["job.finished", "e1"],
    ]  # fmt: skip
    assert rows[0][3] == "name-e1 (command)"
    assert rows[2][3] == "succeeded (exited)"


def test_json_lines_are_those_of_the_wire(happened: Any) -> None:
    done = happened.call("events", "--json")
    assert {json.loads(line)["method"] for line in done.stdout.splitlines()} == {"events.event"}
    seqs = [event["seq"] for event in params(done.stdout)]
    assert seqs == [*range(1, len(seqs) + 1)]
    assert {"instance", "seq", "time", "type", "job_id", "attempt", "state"} <= set(
        params(done.stdout)[0]
    )


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--job", "e2"], {"e2"}),
        (["--job", "e1", "--job", "e2"], {"e1", "e2"}),
        (["--name", "name-e1"], {"e1"}),
        (["--label", "x=2"], {"e2"}),
        (["--label", "x=2", "--name", "name-e1"], set()),
        (["--job", "e1", "--label", "x=2"], set()),
    ],
)
def test_events_are_chosen(happened: Any, words: list[str], ids: set[str]) -> None:
    done = happened.call("events", "--json", *words)
    assert done.returncode == 0
    assert {event["job_id"] for event in params(done.stdout)} == ids


def test_events_after_a_position(happened: Any) -> None:
    first, *rest = params(happened.call("events", "--json").stdout)
    after = params(happened.call("events", "--json", "--since", str(first["seq"])).stdout)
    assert after == rest
    assert happened.call("events", "--since", str(rest[-1]["seq"])).stdout == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "999999"], "the newest event is number"),
        (["--since", "x"], "neither a number nor 'now'"),
        (["--since", "now"], "needs --follow"),
        (["--logs"], "need --follow"),
        (["--progress"], "need --follow"),
    ],
)
def test_usage(happened: Any, words: list[str], told: str) -> None:
    done = happened.call("events", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_unknown_job_is_unknown_unless_it_may_come(happened: Any) -> None:
    assert happened.call("events", "--job", "nobody").returncode == 4
    several = happened.call("events", "-f", "--job", "e")
    assert several.returncode == 4
    assert "is the beginning of" in several.stderr
    following = happened.start("events", "-f", "--job", "later1", "--since", "now")
    following.until("later1 is known yet", "err")
    happened.call("run", "--id", "later1", "--", "true")
    following.until("job.finished")
    following.signal(signal.SIGINT)
    assert following.end() == 130


def test_following_shows_lines_and_progress_until_ctrl_c(happened: Any) -> None:
    words = ("--since", "now", "--logs", "--progress", "--json")
    following = happened.start_on_terminal("events", "-f", *words)
    following.until("watching")
    happened.call("run", "--id", "e3", "--", "echo", "hello")
    happened.call("start", "--id", "e4", "count", "to=3")
    following.until("events.progress")
    following.press(b"\x03")
    assert following.end() == 130
    assert '"text": "hello"' in following.out
    assert '"job_id": "e1"' not in following.out
    assert "the jobs go on" in following.out
    happened.call("cancel", "e4")


def test_terminal_gets_colours_and_no_control_characters_of_a_job(happened: Any) -> None:
    following = happened.start_on_terminal("events", "-f", "--since", "now", "--progress")
    following.until("watching")
    happened.call("start", "--id", "e5", "count", "to=3")
    following.until("1 of 3 one [bold]")
    happened.call("cancel", "e5", "--reason", "no\x1b[31m longer")
    following.until("job.finished")
    following.until("no longer")
    following.press(b"\x03")
    assert following.end() == 130
    assert "\x1b[35m" in following.out  # of ours: a job that was cancelled
    assert "\x1b[31m" not in following.out
