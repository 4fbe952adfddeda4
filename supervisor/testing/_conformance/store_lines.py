"""Rules for stores: log lines."""

from __future__ import annotations

import base64

from ..._model import LogEntry
from .records import EPOCH, wall_time
from .running import Rule
from .store_bench import StoreBench

__all__ = ["LINE_RULES"]

LOOK = 25
"""Lines between two looks at what is still there."""


async def numbers_the_lines_of_each_job(bench: StoreBench) -> None:
    """Lines are numbered from 1 for each job, on through its attempts, and returned."""
    store, notes = bench.store, bench.notes
    for job_id, attempt, number in (("a", 1, 1), ("a", 1, 2), ("b", 1, 1), ("a", 2, 3)):
        entry = store.append_log(job_id, attempt, "stdout", "text", EPOCH)
        notes.instance(entry, LogEntry, "a LogEntry")
        notes.equal(entry.n, number, "its number")
        notes.equal((entry.job_id, entry.attempt), (job_id, attempt), "its job and attempt")


async def keeps_what_a_line_says(bench: StoreBench) -> None:
    """A line is read as it was returned: with stream, wall time (aware) and the text given."""
    store, notes = bench.store, bench.notes
    texts = ("plain", "", "caf\u00e9 \U0001f980", "tab\tand \x00 and \x1b[0m", " x " * 1000)
    given = []
    for number, text in enumerate(texts):
        stream = ("stdout", "stderr", "log")[number % 3]
        entry = store.append_log("a", 1, stream, text, EPOCH + number)
        notes.equal((entry.stream, entry.text), (stream, text), "stream and text")
        notes.equal(entry.time, wall_time(number), "its time")
        notes.equal(entry.base64, None, "base64 of what is text")
        given.append(entry)
    bench.pairs(store.logs("a", 0, 100)[0], given, "the lines")


async def keeps_bytes_that_are_no_text(bench: StoreBench) -> None:
    """Bytes are UTF-8; those that are not are kept as `base64`, and what is shown can be sent."""
    store, notes = bench.store, bench.notes
    entry = store.append_log("a", 1, "stdout", "caf\u00e9".encode(), EPOCH)
    notes.equal((entry.text, entry.base64), ("caf\u00e9", None), "text and base64")
    data = b"\xff\x00broken"
    entry = store.append_log("a", 1, "stdout", data, EPOCH)
    notes.equal(base64.b64decode(entry.base64 or ""), data, "the bytes in base64")
    notes.true("\ufffd" in entry.text, "a text with U+FFFD in it", entry.text)
    entry = store.append_log("a", 1, "log", "a lone \ud800 surrogate", EPOCH)
    sendable = not any("\ud800" <= character <= "\udfff" for character in entry.text)
    notes.true(sendable, "a text that UTF-8 can carry", entry.text)


async def reads_lines_from_a_number_on(bench: StoreBench) -> None:
    """`logs` gives up to `limit` lines numbered above `since`, and counts all, and those gone."""
    store, notes = bench.store, bench.notes
    for number in range(1, 6):
        store.append_log("a", 1, "log", f"line {number}", EPOCH)
    store.append_log("b", 1, "log", "of another job", EPOCH)
    for since, limit, expected in (
        (0, 100, [1, 2, 3, 4, 5]),
        (0, 2, [1, 2]),
        (2, 2, [3, 4]),
        (4, 100, [5]),
        (5, 100, []),
        (99, 100, []),
        (0, 0, []),
    ):
        lines, total, gone = store.logs("a", since, limit)
        notes.equal([line.n for line in lines], expected, "the lines")
        notes.equal((total, gone), (5, 0), "how many there were, how many are gone")
    lines, total, gone = store.logs("nobody", 0, 100)
    notes.equal((list(lines), total, gone), ([], 0, 0))


async def tells_what_lines_cost(bench: StoreBench) -> None:
    """`log_bytes` grows with every line, by no less than its text in UTF-8."""
    store, notes = bench.store, bench.notes
    before = store.log_bytes
    for job_id, text in (("a", "x" * 5_000), ("b", "\u20ac" * 2_000), ("a", "y")):
        store.append_log(job_id, 1, "log", text, EPOCH)
        now = store.log_bytes
        least = before + len(text.encode())
        notes.instance(now, int, "a number")
        notes.true(now >= least, f"{least} or more", now)
        before = now


async def drops_only_the_oldest_lines(bench: StoreBench) -> None:
    """When a bound is reached the oldest lines give way, without holes, and are counted."""
    notes, store = bench.notes, bench.plain

    def add(number: int) -> int | None:
        store.append_log("a", 1, "log", "x" * 100, EPOCH)
        if number % LOOK and number + 1 < bench.reach:
            return None
        lines, total, gone = store.logs("a", 0, number + 1)
        if (total, len(lines)) != (number + 1, number + 1 - gone):
            notes.add(f"logs('a', 0, {number + 1}), after {number + 1} lines")
            notes.equal((total, len(lines)), (number + 1, number + 1 - gone), "counted and given")
        return number + 1 if gone else None

    written = bench.until_full("lines", add)
    for _ in range(10):
        store.append_log("a", 1, "log", "x" * 100, EPOCH)
        written += 1
    notes.add(f"{written} calls of append_log")
    lines, total, gone = bench.store.logs("a", 0, written)
    notes.equal(total, written, "how many there were")
    notes.equal([line.n for line in lines], list(range(gone + 1, written + 1)), "the lines")
    lines, _, _ = bench.store.logs("a", gone + 1, 3)
    notes.equal([line.n for line in lines], list(range(gone + 2, gone + 5))[: len(lines)])
    notes.true(len(lines) == min(3, written - gone - 1), "up to 3 lines", len(lines))


LINE_RULES = (
    Rule(numbers_the_lines_of_each_job),
    Rule(keeps_what_a_line_says),
    Rule(keeps_bytes_that_are_no_text),
    Rule(reads_lines_from_a_number_on),
    Rule(tells_what_lines_cost),
    Rule(drops_only_the_oldest_lines),
)
