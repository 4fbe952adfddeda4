"""The page on the control channel shows the tables that the code runs on."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from supervisor._methods import METHODS
from supervisor._wire import CODES, SUBPROTOCOL

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "protocol.md").read_text()
SCRIPT = runpy.run_path(str(DOCS / "draw_methods.py"))


def test_the_tables_are_current() -> None:
    assert SCRIPT["redrawn"](PAGE) == PAGE, "run: python docs/draw_methods.py"


def test_every_method_and_code_is_on_the_page() -> None:
    assert [name for name in METHODS if name not in PAGE] == []
    assert [code for code in CODES.values() if f"| {code} |" not in PAGE] == []
    assert SUBPROTOCOL in PAGE


def test_every_event_type_of_the_lifecycle_is_on_the_page() -> None:
    source = (DOCS.parent / "supervisor" / "_lifecycle.py").read_text()
    source += (DOCS.parent / "supervisor" / "_engine.py").read_text()
    types = set(re.findall(r'"(job\.[a-z_]+)"', source))
    assert types and [type for type in sorted(types) if f"`{type}`" not in PAGE] == []
