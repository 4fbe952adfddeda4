"""Draws the state diagram of docs/lifecycle.md from the table that the code runs on.

python docs/draw_states.py          put the current diagram into the page
python docs/draw_states.py --check  exit 1 if the page shows another one
"""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor._lifecycle import TRANSITIONS
from supervisor._model import FINAL_STATES, JobState

PAGE = Path(__file__).with_name("lifecycle.md")
BEGIN = "<!-- states: drawn by docs/draw_states.py -->\n"
END = "<!-- /states -->\n"


def draw() -> str:
    """The table as a Mermaid state diagram; arrows between the same two states share a line."""
    lines = ["stateDiagram-v2", "    [*] --> pending", "    [*] --> starting"]
    for (source, target), inputs in arrows().items():
        lines.append(f"    {source} --> {target}: {', '.join(inputs)}")
    lines += [f"    {state} --> [*]" for state in JobState if state in FINAL_STATES]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def arrows() -> dict[tuple[JobState, JobState], list[str]]:
    """Which inputs lead from one state to another; those that stay are left out."""
    found: dict[tuple[JobState, JobState], list[str]] = {}
    for source, row in TRANSITIONS.items():
        for input, cell in row.items():
            for target in JobState:
                if target in cell.leads_to and target is not source:
                    found.setdefault((source, target), []).append(input.__name__)
    return found


def redrawn(page: str) -> str:
    """The page with the current diagram between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE}: the marks {BEGIN.strip()} and {END.strip()} are missing")
    return before + BEGIN + draw() + END + after


def main() -> None:
    page = PAGE.read_text()
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if redrawn(page) == page else f"{PAGE} is out of date: run {__file__}")
    PAGE.write_text(redrawn(page))


if __name__ == "__main__":
    main()
