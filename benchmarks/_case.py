"""A case: one thing measured, in a process of its own.

`python -m benchmarks._case NAME N` runs one and prints its figures as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import TypeAlias

Figures: TypeAlias = dict[str, float]
CaseFunction: TypeAlias = Callable[[int], Figures]

MODULES = {
    "record": "benchmarks.base_jobs",
    "ours": "benchmarks.our_jobs",
    "wire": "benchmarks.base_wire",
    "our_wire": "benchmarks.our_wire",
    "fanout": "benchmarks.base_fanout",
    "our_fanout": "benchmarks.our_fanout",
    "tree": "benchmarks.base_tree",
    "our_tree": "benchmarks.our_tree",
    "race": "benchmarks.base_race",
    "our_race": "benchmarks.our_race",
}
"""Where a case is found: `ours.noop` is the function `noop` of `benchmarks.our_jobs`."""


def find(name: str) -> CaseFunction:
    """The function of a case."""
    module, _, function = name.partition(".")
    case: CaseFunction = getattr(importlib.import_module(MODULES[module]), function)
    return case


def main() -> None:
    name, n = sys.argv[1:]
    print(json.dumps(find(name)(int(n))))


if __name__ == "__main__":
    main()
