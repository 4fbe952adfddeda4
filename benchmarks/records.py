"""What making a record costs: frozen attrs beside frozen `msgspec.Struct`.

This is why the public records are attrs classes, made when somebody asks, and the inner ones,
of which every job makes three, are Structs.
"""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

LOOPS = 20_000
REPEATS = 15


def attrs_class(fields: int, *, frozen: bool) -> type[Any]:
    return attrs.make_class("Record", [f"f{i}" for i in range(fields)], frozen=frozen, slots=True)


def struct_class(fields: int, *, gc: bool = True) -> type[Any]:
    names = [(f"f{i}", Any) for i in range(fields)]
    return msgspec.defstruct("Record", names, frozen=True, gc=gc)


def makers(fields: int) -> dict[str, Callable[[], object]]:
    """One thing to time each, by its label."""
    values = tuple(range(fields))
    frozen, mutable = attrs_class(fields, frozen=True), attrs_class(fields, frozen=False)
    struct, untracked = struct_class(fields), struct_class(fields, gc=False)
    old_attrs, old_struct = frozen(*values), struct(*values)
    return {
        "make, attrs frozen": lambda: frozen(*values),
        "make, attrs mutable": lambda: mutable(*values),
        "make, Struct frozen": lambda: struct(*values),
        "make, Struct frozen, gc=False": lambda: untracked(*values),
        "change, attrs.evolve": lambda: attrs.evolve(old_attrs, f0=1),
        "change, Struct replace": lambda: msgspec.structs.replace(old_struct, f0=1),
    }


def measure(fields: int) -> dict[str, float]:
    """Seconds each, the median of interleaved repeats."""
    timers = {label: timeit.Timer(maker) for label, maker in makers(fields).items()}
    taken: dict[str, list[float]] = {label: [] for label in timers}
    for _ in range(REPEATS):
        for label, timer in timers.items():
            taken[label].append(timer.timeit(LOOPS) / LOOPS)
    return {label: statistics.median(values) for label, values in taken.items()}


def main() -> None:
    columns = {fields: measure(fields) for fields in (3, 8, 20)}
    print(f"{'us each':<32}" + "".join(f"{fields:>4} fields" for fields in columns))
    for label in columns[3]:
        print(f"{label:<32}" + "".join(f"{c[label] * 1e6:>11.2f}" for c in columns.values()))


if __name__ == "__main__":
    main()
