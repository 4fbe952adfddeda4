"""Tables: what is copied from them is whole, and they fit as far as that allows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Unpack

import pytest

from supervisor.cli.output import Fit, draw_table, print_table
from supervisor.cli.text import strength_of

Draw = Callable[..., list[str]]


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "40"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)

    def draw(
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        shows: Sequence[str] = (),
        **fit: Unpack[Fit],
    ) -> list[str]:
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", terminal)
            print_table(columns, rows, **fit)
        text = re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue())
        header, rule, *lines = text.splitlines()
        assert header.split() == list(shows or columns) and set(rule) == {"─"}
        return lines

    return draw


def test_note_is_cut_to_fit_and_nothing_else(draw: Draw) -> None:
    (row,) = draw(("ID", "STATE", "NOTE"), [("x" * 15, "running", "note " * 20)], cut=["NOTE"])
    assert row.startswith(f"{'x' * 15}  running  note")
    assert row.endswith("…") and len(row) == 40


def test_second_column_gives_way_once_the_first_is_narrow(draw: Draw) -> None:
    rows = [("n" * 30, "i" * 15, "-" * 30)]
    (row,) = draw(("NAME", "ID", "NOTE"), rows, cut=["NOTE", "NAME"])
    assert row == f"{'n' * 12}…  {'i' * 15}  {'-' * 7}…"


def test_ids_that_are_too_long_for_the_terminal_are_whole_and_alone(draw: Draw) -> None:
    rows = [("x" * 60, "note " * 20), ("y", "")]
    assert draw(("ID", "NOTE"), rows, shows=["ID"], cut=["NOTE"]) == ["x" * 60, "y"]


def test_details_are_left_out_only_where_there_is_no_room(draw: Draw) -> None:
    proof = "cgroup_empty (certain)"
    for job_id, shown in (("x" * 10, proof), ("x" * 20, "certain")):
        rows = draw(("ID", "PROOF"), [(job_id, proof)], shorten={"PROOF": strength_of})
        assert rows == [f"{job_id}  {shown}"]


def test_what_wraps_is_not_lost(draw: Draw) -> None:
    rows = draw(("NAME", "TEXT"), [("n", "word " * 20)], wrap=["TEXT"])
    assert "".join(rows).count("word") == 20
    assert all(len(row) <= 40 for row in rows)


def test_wide_characters_take_two_columns(draw: Draw) -> None:
    (row,) = draw(("ID", "NOTE"), [("x" * 20, "漢" * 20)], cut=["NOTE"])
    assert row == f"{'x' * 20}  {'漢' * 8} …"


def test_columns_leave_in_the_order_they_are_named_in_and_then_from_the_right(draw: Draw) -> None:
    columns, row = ("ID", "A", "B", "C", "D"), ["x" * 10] * 5
    for left, names in {3: ["ID", "A", "C"], 2: ["ID", "A"], 1: ["ID"]}.items():
        row[0] = "x" * (40 - 12 * (left - 1))
        assert draw(columns, [row], shows=names, drop=["B", "D"]) == ["  ".join(row[:left])]


def test_columns_are_left_out_where_cutting_does_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("ID", "AGE", "STATE", "NOTE")
    rows = [("x" * 20, "5 s ago", "running", "note " * 5)]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", Terminal())
    table = draw_table(columns, rows, cut=["NOTE"], drop=["AGE", "NOTE"])
    header, _, row = re.sub("\x1b\\[[0-9;]*m", "", table).splitlines()
    assert header.split() == ["ID", "STATE", "NOTE"]
    assert row.startswith(f"{'x' * 20}  running  note") and len(row) <= 40


@pytest.mark.parametrize("width", ["1", "20", "40", "80", "150"])
def test_ids_are_whole_at_any_width(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", Terminal())
    columns = ("ID", "NAME", "STATE", "NOTE")
    table = draw_table(
        columns, [("x" * 30, "n" * 30, "running", "note " * 30)],
        cut=["NOTE", "NAME"], drop=["NAME", "STATE", "NOTE"],
    )  # fmt: skip
    assert any(line.startswith("x" * 30) for line in table.splitlines())
