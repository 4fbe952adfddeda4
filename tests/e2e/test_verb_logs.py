"""`logs`: what a job has written, and what it writes until its end."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

SCRIPT = "echo one; echo bad >&2; echo two; echo three"


@pytest.fixture(scope="module")
def written(common: Any) -> Any:
    """A world in which job `w1` has written four lines and has ended."""
    assert common.call("run", "--id", "w1", "--", "sh", "-c", SCRIPT).returncode == 0
    return common


def lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_lines_go_to_stdout(written: Any) -> None:
    done = written.call("logs", "w1")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["bad", "one", "three", "two"]


@pytest.mark.parametrize("follow", [[], ["-f"]])
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--stream", "stdout"], "one\ntwo\nthree\n"),
        (["--stream", "stdout", "-n", "2"], "two\nthree\n"),
        (["--stream", "stderr", "--lines", "7"], "bad\n"),
        (["--stream", "log"], ""),
        (["-n", "0"], ""),
        (["--since", "4"], ""),
    ],
)
def test_lines_are_chosen(written: Any, follow: list[str], words: list[str], shown: str) -> None:
    done = written.call("logs", "w1", *words, *follow)
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_last_lines_and_lines_after_a_number(written: Any, follow: list[str]) -> None:
    everything = written.call("logs", "w1").stdout.splitlines()
    for words in (["-n", "2"], ["--since", "2"], ["--since", "2", "-n", "3"]):
        assert written.call("logs", "w1", *words, *follow).stdout.splitlines() == everything[2:]
    done = written.call("logs", "w1", "--since", "3", "-n", "2", *follow)
    assert done.stdout.splitlines() == everything[3:]


def test_timestamps(written: Any) -> None:
    for line in written.call("logs", "w1", "-t", "--stream", "stdout").stdout.splitlines():
        day, clock, text = line.split()
        assert day.count("-") == 2 and clock.count(":") >= 2
        assert text in ("one", "two", "three")


def test_json_is_the_answer_of_the_wire(written: Any) -> None:
    (page,) = lines(written.call("logs", "--json", "w1"))
    assert set(page) == {"entries", "next", "eof"}
    assert [entry["n"] for entry in page["entries"]] == [1, 2, 3, 4]
    assert (page["next"], page["eof"]) == (4, True)
    (last,) = lines(written.call("logs", "--json", "w1", "--stream", "stdout", "-n", "1"))
    assert [entry["text"] for entry in last["entries"]] == ["three"]


def test_json_lines_while_following(written: Any) -> None:
    items = lines(written.call("logs", "--json", "-f", "w1", "--stream", "stdout"))
    assert {item["method"] for item in items} == {"events.log"}
    assert [item["params"]["text"] for item in items] == ["one", "two", "three"]


def test_lines_that_are_gone_are_told(common: Any) -> None:
    script = "i=0; while [ $i -lt 10500 ]; do echo $i; i=$((i+1)); done"
    common.call("start", "--id", "many", "--", "sh", "-c", script)
    common.call("wait", "many")
    for words in ([], ["-f"], ["--json"]):
        done = common.call("logs", "many", *words)
        assert "500 lines no longer kept: 1 to 500" in done.stderr
    assert common.call("logs", "many", "--since", "500").stderr == ""
    assert common.call("logs", "many").stdout.split() == [str(n) for n in range(500, 10500)]


def test_following_ends_with_the_job_and_misses_nothing(common: Any) -> None:
    (common.directory / "go").unlink(missing_ok=True)
    script = "echo before; until [ -e go ]; do sleep 0.05; done; echo after; exit 3"
    common.call("start", "--id", "f1", "--", "sh", "-c", script)
    following = common.start("logs", "-f", "f1")
    following.until("before")
    (common.directory / "go").touch()
    assert following.end() == 0
    assert following.out == "before\nafter\n"
    assert following.err == ""


def test_ctrl_c_leaves_and_the_job_goes_on(common: Any) -> None:
    common.call("start", "--id", "g1", "--", "sh", "-c", "echo up; exec sleep 1000")
    following = common.start("logs", "-f", "g1", "--stream", "stdout", "-n", "1")
    following.until("up")
    following.signal(signal.SIGINT)
    assert following.end() == 130
    assert "job g1 goes on" in following.err
    assert not json.loads(common.call("show", "--json", "g1").stdout)["job"]["cancel_requested"]


def test_reader_that_leaves_ends_it(common: Any) -> None:
    common.call("start", "--id", "h1", "--", "sh", "-c", "while :; do echo x; sleep 0.01; done")
    following = common.start("logs", "-f", "h1")
    following.until("x")
    following.close_out()
    assert following.end() == 141
    assert following.err == ""
    common.call("cancel", "h1")


@pytest.mark.parametrize("words", [["nobody"], ["nobody", "-f"], ["nobody", "--json"]])
def test_nobody_writes(common: Any, words: list[str]) -> None:
    done = common.call("logs", *words)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1
