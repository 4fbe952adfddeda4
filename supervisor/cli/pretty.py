"""JSON for whoever looks: indented on a terminal, one line elsewhere."""

from __future__ import annotations

import json
import sys
from typing import Any

from .output import is_terminal, print_document, print_text, to_json
from .text import CONTROL

__all__ = ["indented", "print_json"]


def print_json(value: Any, *, as_json: bool) -> None:
    """Print a value: on one line if JSON was asked for, or nobody looks."""
    if as_json or not is_terminal(sys.stdout):
        print_document(value)
    else:
        print_text(indented(value))


def indented(value: Any) -> str:
    """JSON on several lines, where one would be long; safe on a terminal as `to_json` is."""
    line = to_json(value)
    if len(line) <= 80:
        return line
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
