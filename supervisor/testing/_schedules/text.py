"""Replay texts: a schedule in one line that can be pasted.

    race1 cache.refill_twice 3+1 0+2
    |     |                  |
    |     |                  deviations: choice points since the last one + option taken there
    |     the scenario, if the schedule is one of a certain scenario
    version of the meaning of all this
"""

from __future__ import annotations

import re

from ..errors import ReplayMismatch
from .choosing import Deviations

VERSION = "race1"
"""Another number says that the same deviations mean another run."""

NOBODY = "-"

_DEVIATION = re.compile(r"(\d{1,9})\+(\d{1,9})")


def write(scenario: str | None, deviations: Deviations) -> str:
    """The replay text of a schedule."""
    parts = (f"{gap}+{option}" for gap, option in deviations)
    return " ".join([VERSION, scenario or NOBODY, *parts])


def read(text: str) -> tuple[str | None, Deviations]:
    """The scenario's name, if there is one, and the deviations.

    Raises:
        ReplayMismatch: this is no replay text, or one of another version.
    """
    if not isinstance(text, str):
        raise ReplayMismatch(f"a replay text is a str such as '{VERSION} name 3+1', not {text!r}")
    version, *rest = text.split() or [""]
    if not re.fullmatch(r"race\d+", version) or not rest:
        raise ReplayMismatch(
            f"{text!r} is no replay text; it looks like '{VERSION} name 3+1 0+2', as str(schedule) "
            f"and the message of RaceFound have it"
        )
    if version != VERSION:
        raise ReplayMismatch(
            f"{text!r} was written by another version of the kit ({version}; this one reads "
            f"{VERSION}): explore the scenario again"
        )
    name, *deviations = rest
    return (None if name == NOBODY else name), tuple(_read_one(each, text) for each in deviations)


def _read_one(part: str, text: str) -> tuple[int, int]:
    match = _DEVIATION.fullmatch(part)
    if match is None or not int(match[2]):
        raise ReplayMismatch(
            f"{part!r} in {text!r} is no deviation; one looks like 3+1: choice points passed, "
            f"then the option taken (1 or more)"
        )
    return int(match[1]), int(match[2])
