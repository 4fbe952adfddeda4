"""`cancel` of all jobs that a filter means."""

from __future__ import annotations

import itertools
import json
import signal
import socket
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

NUMBERS = itertools.count(1)


@attrs.frozen
class Three:
    """Three jobs that run; the first two have the label `group`, all have the label `all`."""

    shell: Any
    group: str
    all: str
    ids: tuple[str, str, str]

    def live(self) -> set[str]:
        """The ids of those that run."""
        listed = self.shell.call("list", "--json", "--state", "running", "--label", self.all)
        return {job["id"] for job in json.loads(listed.stdout)["jobs"]}


@pytest.fixture
def three(common: Any) -> Any:
    turn = next(NUMBERS)
    ids = (f"m{turn}-1", f"m{turn}-2", f"m{turn}-3")
    for job_id, group in zip(ids, (1, 1, 2), strict=True):
        labels = ("--label", f"all={turn}", "--label", f"group={turn}-{group}")
        common.call("start", "--id", job_id, *labels, "--", "sleep", "1000")
    return Three(common, f"group={turn}-1", f"all={turn}", ids)


def test_those_that_are_meant_go_and_nothing_else(three: Any) -> None:
    done = three.shell.call("cancel", "--label", three.group, "--yes")
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0][:3] == ["ID", "OUTCOME", "STATE"]
    assert [row[:3] for row in rows[1:]] == [
        [job_id, "cancelling", "cancelled"] for job_id in three.ids[:2]
    ]
    assert three.live() == {three.ids[2]}


def test_json_is_the_answer_of_the_wire(three: Any) -> None:
    words = ("--label", three.all, "--state", "running", "--all", "--yes", "--json")
    done = three.shell.call("cancel", *words)
    results = json.loads(done.stdout)["results"]
    assert [entry["result"]["job"]["state"] for entry in results] == ["cancelled"] * 3
    again = three.shell.call("cancel", *words)
    assert (again.returncode, again.stdout) == (0, '{"results": []}\n')
    assert "no live job is meant" in again.stderr


def test_without_a_terminal_yes_is_needed(three: Any) -> None:
    done = three.shell.call("cancel", "--label", three.all)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this would cancel 3 jobs" in done.stderr
    assert all(job_id in done.stderr for job_id in three.ids)
    assert "--yes" in done.stderr
    assert three.live() == {*three.ids}


def test_on_a_terminal_it_is_asked(three: Any) -> None:
    declined = three.shell.start_on_terminal("cancel", "--label", three.group)
    declined.until("cancel them? [y/N]")
    declined.press(b"n\n")
    assert declined.end() == 130
    assert "nothing was cancelled" in declined.out
    assert three.live() == {*three.ids}
    agreed = three.shell.start_on_terminal("cancel", "--label", three.group)
    agreed.until("cancel them? [y/N]")
    late = ("--id", f"{three.ids[0]}-late", "--label", three.group, "--label", three.all)
    three.shell.call("start", *late, "--", "sleep", "1000")
    agreed.press(b"y\n")
    assert agreed.end() == 0
    # What came after the question was not asked for.
    assert three.live() == {three.ids[2], f"{three.ids[0]}-late"}


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (("cancel", "j1"), "a cancel that has reached the server goes on; trio-supervisor list"),
        (("shutdown",), "if the server has been asked, it goes on to end its jobs, and leaves"),
    ],
)
def test_who_leaves_before_it_was_asked_is_told_nothing_untrue(
    common: Any, verb: Sequence[str], told: str
) -> None:
    (common.directory / "token").write_text("secret\n")
    (common.directory / "token").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}/ws"
        asking = common.start(*verb, "--url", url, "--token-file", "token")
        mute.settimeout(30)
        here, _ = mute.accept()
        with here:
            asking.signal(signal.SIGINT)
            assert asking.end() == 130
    assert asking.err.count("\n") == 1
    assert told in asking.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say which jobs"),
        (["--yes"], "say which jobs"),
        (["x", "--all"], "not both"),
        (["x", "--label", "a=b"], "not both"),
        (["x", "--state", "running"], "not both"),
        (["--all", "--if-unknown", "remember"], "is for an id"),
        (["--state", "succeeded"], "is not one of"),
        (["--label", "ab"], "write it as key=value"),
    ],
)
def test_usage(common: Any, words: list[str], told: str) -> None:
    done = common.call("cancel", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_many_are_summed_up_on_a_terminal(common: Any) -> None:
    for number in range(25):
        words = ("--id", f"s{number}", "--label", "sum=1")
        common.call("start", *words, "count", f"to={number + 1}")
    cancel = common.start_on_terminal("cancel", "--label", "sum=1", "--yes", NO_COLOR="1")
    assert cancel.end() == 0
    (row,) = [line.split() for line in cancel.out.splitlines() if "cancelling" in line]
    assert row[:3] == ["25", "cancelling", "cancelled"]


def test_wait_for_several_takes_the_worst_code(common: Any) -> None:
    for job_id, word in (("w-good", "true"), ("w-bad", "false")):
        common.call("start", "--id", job_id, "--", word)
    assert common.call("wait", "w-good", "w-good").returncode == 0
    done = common.call("wait", "w-good", "w-bad")
    assert done.returncode == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["ID", "w-good", "w-bad"]
    both = json.loads(common.call("wait", "--json", "w-good", "w-bad").stdout)
    assert [job["id"] for job in both["jobs"]] == ["w-good", "w-bad"]
    common.call("start", "--id", "w-long", "--", "sleep", "1000")
    late = common.call("wait", "w-good", "w-bad", "w-long", "--timeout", "0.1")
    assert late.returncode == 5
    assert "job w-long is still running" in late.stderr
    assert len(late.stdout.splitlines()) == 3
    assert common.call("wait", "w-good", "nobody").returncode == 4


def test_wait_shows_what_is_left_on_a_terminal(common: Any) -> None:
    for job_id in ("v-1", "v-2"):
        common.call("start", "--id", job_id, "--", "sleep", "1000")
    wait = common.start_on_terminal("wait", "v-1", "v-2")
    wait.until("0 of 2 jobs ended; still: v-1, v-2")
    common.call("cancel", "v-1")
    wait.until("1 of 2 jobs ended; still: v-2")
    wait.press(b"\x03")
    assert wait.end() == 130
    assert "2 jobs go on" in wait.out
