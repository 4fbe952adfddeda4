"""Draws the tables of docs/protocol.md from the method table and the codes that the code runs on.

python docs/draw_methods.py          put the current tables into the page
python docs/draw_methods.py --check  exit 1 if the page shows others
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs

from supervisor._methods import METHODS
from supervisor._wire import CODES

PAGE = Path(__file__).with_name("protocol.md")


def methods() -> str:
    """Name, parameters, result and scope of every method; `?` marks what may be left out."""
    lines = ["| method | params | result | scope |", "|---|---|---|---|"]
    for method in METHODS.values():
        if method.name == "$/cancelRequest":
            continue
        names = [
            f"`{field.name}{'' if field.default is attrs.NOTHING else '?'}`"
            for field in attrs.fields(method.params)
        ]
        scope = f"`{method.scope}`" if method.scope else ""
        lines.append(
            f"| `{method.name}` | {' '.join(names)} | {fields_of(method.result)} | {scope} |"
        )
    return "\n".join(lines) + "\n"


def fields_of(result: type[Any]) -> str:
    return " ".join(f"`{field.name}`" for field in attrs.fields(result))


def codes() -> str:
    """The number and the kind of every error."""
    lines = ["| code | `data.kind` |", "|---|---|"]
    lines += [f"| {code} | `{kind}` |" for kind, code in CODES.items()]
    return "\n".join(lines) + "\n"


TABLES = {"methods": methods, "codes": codes}


def redrawn(page: str) -> str:
    """The page with the current tables between their marks."""
    for name, draw in TABLES.items():
        begin, end = f"<!-- {name}: drawn by docs/draw_methods.py -->\n", f"<!-- /{name} -->\n"
        before, found, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise SystemExit(f"{PAGE}: the marks {begin.strip()} and {end.strip()} are missing")
        page = f"{before}{begin}\n{draw()}\n{end}{after}"
    return page


def main() -> None:
    page = PAGE.read_text()
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if redrawn(page) == page else f"{PAGE} is out of date: run {__file__}")
    PAGE.write_text(redrawn(page))


if __name__ == "__main__":
    main()
