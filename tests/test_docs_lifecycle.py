"""The page on the life of a job shows the table that the code runs on."""

from __future__ import annotations

import runpy
from pathlib import Path

from supervisor._lifecycle import TRANSITIONS, VERIFY_SECONDS
from supervisor._model import CancelOutcome, ConflictPolicy, How, JobState, ReusePolicy, Rung
from supervisor._policy import DEFAULT_GRACE
from supervisor.stores.memory import TOMBSTONES_KEPT

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "lifecycle.md").read_text()
SCRIPT = runpy.run_path(str(DOCS / "draw_states.py"))


def test_the_diagram_is_current() -> None:
    assert SCRIPT["redrawn"](PAGE) == PAGE, "run: python docs/draw_states.py"


def test_every_change_of_state_is_an_arrow() -> None:
    for source, row in TRANSITIONS.items():
        for cell in row.values():
            for target in cell.leads_to - {source}:
                assert f"{source} --> {target}: " in SCRIPT["draw"]()


def test_the_page_names_every_word() -> None:
    words = [*JobState, *Rung, *How, *ConflictPolicy, *ReusePolicy]
    outcomes = [each for each in CancelOutcome if each is not CancelOutcome.UNREACHABLE]
    assert [word for word in [*words, *outcomes] if f"`{word}`" not in PAGE] == []


def test_the_numbers_on_the_page_are_those_in_the_code() -> None:
    assert f"({DEFAULT_GRACE:g} unless you say otherwise)" in PAGE
    assert f"for {VERIFY_SECONDS:g} seconds at most" in PAGE
    assert f"At most {TOMBSTONES_KEPT:,} such requests" in PAGE
