"""`top`, `list --watch`, `show --watch`: pictures that follow what happens."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import pytest

ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"


def hang(shell: Any, job_id: str) -> None:
    """A job that is stuck."""
    shell.call("start", "--id", job_id, "--grace", "0.05", "stay")
    assert shell.call("cancel", job_id, "--reason", "not needed").returncode == 1


def test_top_prints_once_without_a_terminal(common: Any) -> None:
    hang(common, "stuck1")
    done = common.call("top")
    assert (done.returncode, done.stderr) == (0, "")
    assert "slots 1 of any number" in done.stdout and "1 stuck" in done.stdout
    (row,) = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("stuck1")]
    assert row[2] == "stuck" and "app.py" in row[4]


def test_top_prints_json_lines_as_things_change(common: Any) -> None:
    top = common.start("top", "--json")
    top.until("statistics")
    common.call("start", "--id", "top1", "count", "to=3")
    top.until('"done": 1')
    top.signal(signal.SIGTERM)
    assert top.end() == 143
    first, *_, last = [json.loads(line) for line in top.out.splitlines()]
    assert set(first) == set(last) == {"statistics", "jobs"}
    assert "top1" in [job["id"] for job in last["jobs"]]
    common.call("cancel", "top1")


def test_top_follows_on_a_terminal_and_gives_it_back(common: Any) -> None:
    top = common.start_on_terminal("top")
    top.until(ALTERNATE)
    common.call("start", "--id", "top2", "count", "to=3")
    top.until("top2")
    top.until("1 of 3 one [bold]")
    hang(common, "stuck2")
    top.until("alive: stay")
    top.press(b"\x03")
    assert top.end() == 130
    assert top.out.index(BACK) > top.out.index("alive: stay")
    assert "\x1b[31mone" not in top.out
    common.call("cancel", "top2")


def test_top_gives_the_terminal_back_when_it_is_terminated(common: Any) -> None:
    top = common.start_on_terminal("top")
    top.until(ALTERNATE)
    top.signal(signal.SIGTERM)
    assert top.end() == 143
    assert BACK in top.out


def test_list_is_a_page_whenever_something_changes(common: Any) -> None:
    listing = common.start("list", "--watch", "--json", "--label", "list=1")
    listing.until('"jobs": []')
    common.call("run", "--id", "list1", "--label", "list=1", "--", "true")
    listing.until('"succeeded"')
    listing.signal(signal.SIGINT)
    assert listing.end() == 130
    pages = [json.loads(line) for line in listing.out.splitlines()]
    assert {frozenset(page) for page in pages} == {frozenset({"jobs", "instance", "seq"})}
    assert [job["id"] for job in pages[-1]["jobs"]] == ["list1"]
    assert listing.err == ""


def test_list_is_drawn_again_on_a_terminal(common: Any) -> None:
    words = ("--watch", "--label", "list=2", "--state", "running")
    listing = common.start_on_terminal("list", *words)
    listing.until("NOTE")
    common.call("start", "--id", "list2", "--label", "list=2", "count", "to=3")
    listing.until("list2")
    assert "\t" not in listing.out and ALTERNATE not in listing.out
    listing.press(b"\x03")
    assert listing.end() == 130
    common.call("cancel", "list2")


def test_show_is_repeated_until_the_job_has_ended(common: Any) -> None:
    common.call("start", "--id", "show1", "count", "to=3")
    showing = common.start("show", "--watch", "--json", "show1")
    showing.until('"running"')
    common.call("cancel", "show1")
    assert showing.end() == 0
    jobs = [json.loads(line)["job"] for line in showing.out.splitlines()]
    assert jobs[0]["state"] == "running"
    assert jobs[-1]["state"] == "cancelled" and jobs[-1]["certificate"]
    plain = common.call("show", "--watch", "show1")
    assert plain.returncode == 0
    assert plain.stdout == common.call("show", "show1").stdout


def test_show_leaves_its_last_picture_on_the_terminal(common: Any) -> None:
    common.call("start", "--id", "show2", "count", "to=3")
    showing = common.start_on_terminal("show", "-w", "show2")
    showing.until("1 of 3")
    common.call("cancel", "show2")
    assert showing.end() == 0
    assert "proof" in showing.out.rpartition(BACK)[2]


# --- widths --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(common: Any) -> Any:
    """A world in which there is something for each column."""
    common.call("start", "--id", "a-rather-long-id-x1", "count", "to=3")
    hang(common, "stuck3")
    words = ("--id", "ended-1", "--name", "a name " * 5, "--", "sh", "-c", "echo hello; exit 3")
    common.call("run", *words)
    return common


TABLES = {
    "list": (["list"], ["ID", "NAME", "STATE", "CREATED", "RAN", "NOTE"]),
    "jobs": (["jobs"], ["NAME", "PARAMETERS", "WHAT IT DOES"]),
    "wait": (["wait", "ended-1"], ["ID", "STATE", "END"]),
    "cancel": (
        ["cancel", "ended-1", "stuck3"],
        ["ID", "OUTCOME", "STATE", "HOW", "DEAD AFTER", "PROOF"],
    ),
}
WIDTHS = pytest.mark.parametrize("columns", [20, 30, 40, 60, 80, 120])


@WIDTHS
@pytest.mark.parametrize("table", TABLES)
def test_tables_fit(wide: Any, table: str, columns: int) -> None:
    words, names = TABLES[table]
    check_fits(shown(wide.call(*words, columns=columns)), names, columns)


@WIDTHS
@pytest.mark.parametrize("table", ["list", "jobs"])
def test_tables_fit_a_real_terminal(wide: Any, table: str, columns: int) -> None:
    words, names = TABLES[table]
    drawing = wide.start_on_terminal(*words, columns=columns, NO_COLOR="1")
    assert drawing.end() == 0
    check_fits(plain(drawing.out), names, columns)


def check_fits(lines: list[str], names: list[str], columns: int) -> None:
    """Whole columns are left out, and the first is the last to be too wide."""
    heads = re.split(" {2,}", lines[0].strip())
    assert heads == [name for name in names if name in heads] and heads[0] == names[0]
    assert len(heads) == 1 or max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [20, 30, 40, 80, 120])
def test_ids_and_states_in_a_list_are_whole(wide: Any, columns: int) -> None:
    lines = shown(wide.call("list", columns=columns))
    (row,) = [line for line in lines if line.startswith("a-rather-long-id-x1")]
    cells = re.split(" {2,}", row)
    assert cells[0] == "a-rather-long-id-x1"
    assert ("running" in cells) == ("STATE" in lines[0]) == (columns >= 30)
    assert ("1 of 3" in row) == (columns >= 40)
    assert ("NAME" in lines[0]) == (columns >= 80)


def test_how_a_job_ended_outlives_its_state(wide: Any) -> None:
    head, _, *lines = shown(wide.call("wait", "ended-1", columns=20))
    assert head.split() == ["ID", "END"]
    assert lines[0].startswith("ended-1  failed")


def shown(done: Any) -> list[str]:
    assert "Traceback" not in done.stderr
    assert done.stdout
    return plain(done.stdout)


def plain(text: str) -> list[str]:
    return re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text).splitlines()


@pytest.mark.parametrize("words", [["top"], ["list", "-w"]])
def test_pictures_are_drawn_on_a_very_narrow_terminal(wide: Any, words: list[str]) -> None:
    drawing = wide.start_on_terminal(*words, columns=20, NO_COLOR="1")
    drawing.until("stuck3")
    drawing.press(b"\x03")
    assert drawing.end() == 130
    assert "Traceback" not in drawing.out
